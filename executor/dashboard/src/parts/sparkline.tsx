// A figure with the minutes behind it.
import { smooth } from '../smooth';
import { columns } from '../store';

const kWide = 120, kHigh = 30, kPoints = 180;

interface Props {
  label: string;
  column: string;
  format: (value: number) => string;
  of?: number; // the top of the curve; without it the most there was
  note?: string;
  mean?: number; // seconds
}

export function Figure({ label, column, format, of, note, mean = 1 }: Props) {
  const values = smooth((columns.value[column] ?? []).slice(-kPoints), mean);
  const value = values.at(-1) ?? null;
  return (
    <div class="figure" data-testid={`figure-${column}`}>
      <span class="label">{label}</span>
      <span class="value">{value === null ? '–' : format(value)}</span>
      {note && <span class="note dim">{note}</span>}
      <Sparkline values={values} top={of} />
    </div>
  );
}

function Sparkline({ values, top }: { values: (number | null)[]; top: number | undefined }) {
  const shown = values;
  const most = top ?? Math.max(...shown.map((value) => value ?? 0), 1e-9);
  let path = '';
  shown.forEach((value, i) => {
    if (value === null) return;
    const x = kWide - ((shown.length - 1 - i) * kWide) / (kPoints - 1);
    const y = kHigh - 2 - (kHigh - 4) * Math.min(1, value / most);
    path += `${path && shown[i - 1] !== null ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return (
    <svg class="sparkline" viewBox={`0 0 ${kWide} ${kHigh}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}
