// A plot over time. uPlot draws; it is made anew when theme or lines change and else only given data.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { smooth } from '../smooth';
import { columns } from '../store';
import { isDark, styleValue } from '../theme';
import { useWidth } from './use_width';

export interface Line {
  column: string;
  label: string;
  color: string; // a custom property of the style sheet
  fill?: boolean;
  smooth?: number; // seconds that a point is the mean of
}

interface Props {
  title: string;
  lines: Line[];
  minutes: number;
  format: (value: number) => string;
  most?: number;
  whole?: boolean; // counts: no tick between two of them
}

const kHeight = 170;
const kMinutesPerTick: Record<number, number> = { 1: 0.25, 5: 1, 15: 5 };
const kWhole = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

const ago = (s: number) => (s < 1 ? 'now' : s % 60 === 0 ? `−${s / 60} min` : `−${s} s`);

export function Plot({ title, lines, minutes, format, most, whole }: Props) {
  const [holder, width] = useWidth<HTMLDivElement>();
  const plot = useRef<uPlot | null>(null);
  const dark = isDark.value;
  const data = columns.value;
  const now = data.time.at(-1) ?? 0;
  const begin = data.time.findIndex((time) => time >= now - minutes * 60);

  useEffect(() => {
    if (!holder.current || width === 0) return;
    const text = styleValue('--dim'), grid = styleValue('--line');
    const axis = { stroke: text, font: `11px ${styleValue('--font')}`, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const made = new uPlot(
      {
        width,
        height: kHeight,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        scales: { x: { range: (_, __, end) => [end - minutes * 60, end] }, y: { range: (_, __, high) => [0, most ?? Math.max(high * 1.1, 1e-6)] } },
        axes: [
          {
            ...axis,
            size: 30,
            splits: (u) => {
              const end = u.data[0]!.at(-1) ?? 0;
              return Array.from({ length: minutes / kMinutesPerTick[minutes]! + 1 }, (_, i) => end - 60 * (minutes - i * kMinutesPerTick[minutes]!));
            },
            values: (u, ticks) => ticks.map((tick) => ago(Math.round((u.data[0]!.at(-1) ?? 0) - tick))),
          },
          { ...axis, size: 58, ...(whole ? { incrs: kWhole } : {}), values: (_, ticks) => ticks.map((tick) => format(tick)) },
        ],
        series: [{}, ...lines.map((line) => ({ label: line.label, stroke: styleValue(line.color), width: 1.6, fill: line.fill ? `color-mix(in srgb, ${styleValue(line.color)} 18%, transparent)` : undefined, points: { show: false } }))],
      } as uPlot.Options,
      [[]],
      holder.current,
    );
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [width, dark, minutes, lines.map((line) => line.column).join(), most]);

  useEffect(() => {
    plot.current?.setData([data.time.slice(begin), ...lines.map((line) => smooth(data[line.column] ?? [], line.smooth ?? 1).slice(begin))] as uPlot.AlignedData);
  });

  return (
    <figure class="card plot" data-testid="plot">
      <figcaption>
        <h2>{title}</h2>
        <ul class="legend">
          {lines.map((line) => {
            const value = smooth((data[line.column] ?? []).slice(-(line.smooth ?? 1)), line.smooth ?? 1).at(-1) ?? null;
            return (
              <li key={line.column}>
                <i class="swatch" style={{ background: `var(${line.color})` }} /> {line.label} <strong>{value === null ? '–' : format(value)}</strong>
              </li>
            );
          })}
        </ul>
      </figcaption>
      <div ref={holder} />
    </figure>
  );
}
