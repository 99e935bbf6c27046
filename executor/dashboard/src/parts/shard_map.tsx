// The shard map: a column per block, in the order of the computation, cut into the shares of the ranks that hold it. The map is
// a slider for keyboards: arrows move from block to block.
import { useSignal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import type { Shards } from '../contract';
import * as format from '../format';
import { type Rank, ranks } from '../ranks';
import { type Column, columnsOf, runsOf, shortName, stepsOf, trafficOf } from '../shard_layout';
import { useWidth } from './use_width';
import { hideTip, showTip } from './tooltip';

const kHeight = 300, kTop = 6, kWires = 30, kAxis = 22;

interface Props {
  shards: Shards;
  selected: number;
  onSelect: (block: number) => void;
}

export function ShardMap({ shards, selected, onSelect }: Props) {
  const [holder, width] = useWidth<HTMLDivElement>();
  const all = ranks.value;
  const scale = useSignal<'share' | 'bytes'>(all.length > 1 ? 'share' : 'bytes'); // one node has all shares
  const columns = useMemo(() => columnsOf(shards), [shards]);
  const runs = useMemo(() => runsOf(columns), [columns]);
  const wires = useMemo(() => columns.map((column) => wiresOf(shards, column.index)), [shards, columns]);
  const largest = Math.max(...columns.map((column) => column.bytes));
  const step = width / columns.length;
  const gap = step > 6 ? 1.5 : step > 3 ? 0.75 : 0;
  const heightOf = (column: Column) => (scale.value === 'share' ? kHeight : (kHeight * column.bytes) / largest);
  const topWire = Math.max(...wires.map((wire) => wire.bytes), 1);

  const onKeyDown = (event: KeyboardEvent) => {
    const moves: Record<string, number> = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10, Home: -columns.length, End: columns.length };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    onSelect(Math.min(columns.length - 1, Math.max(0, selected + move)));
  };
  const blockAt = (event: MouseEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    return Math.min(columns.length - 1, Math.max(0, Math.floor((event.clientX - box.left) / step)));
  };
  const onMove = (event: MouseEvent) => {
    const column = columns[blockAt(event)]!;
    showTip(event, <BlockTip column={column} all={all} wires={wires[column.index]!} />);
  };
  const current = columns[selected]!;

  return (
    <div class="shard-map" data-testid="shard-map">
      <div class="segmented" role="group" aria-label="Height of a block">
        {(['share', 'bytes'] as const).map((one) => (
          <button type="button" key={one} aria-pressed={scale.value === one} onClick={() => (scale.value = one)}>
            {one === 'share' ? 'Shares' : 'Bytes'}
          </button>
        ))}
      </div>
      <div
        ref={holder}
        class="map-canvas"
        role="slider"
        tabIndex={0}
        aria-label="Block of the model"
        aria-valuemin={0}
        aria-valuemax={columns.length - 1}
        aria-valuenow={selected}
        aria-valuetext={describe(current, all)}
        onKeyDown={onKeyDown}
      >
        {width > 0 && (
          <svg width={width} height={kTop + kHeight + kWires + kAxis} aria-hidden="true" onMouseMove={onMove} onMouseLeave={hideTip} onClick={(event) => onSelect(blockAt(event))}>
            {columns.map((column) => {
              let y = kTop + kHeight;
              return column.parts.map((part) => {
                const height = part.share * heightOf(column);
                y -= height;
                return <rect key={`${column.index}.${part.rank}`} data-rank={part.rank} data-block={column.name} x={column.index * step} y={y} width={Math.max(step - gap, 0.5)} height={Math.max(height - 1, 0.5)} rx={step > 10 ? 2 : 0} fill={all[part.rank]?.color} />;
              });
            })}
            {scale.value === 'share' && runs.map((run) => <RunLabels key={run.first} parts={run.parts} x={run.first * step} width={(run.end - run.first) * step} all={all} />)}
            {wires.map((wire, index) => (
              <g key={index}>
                {wire.bytes > 0 && <rect class="wire" x={index * step} y={kTop + kHeight + 6} width={Math.max(step - gap, 0.5)} height={4 + (kWires - 14) * (wire.bytes / topWire)} />}
                {wire.sends && <path class="handover" d={`M ${(index + 1) * step - gap / 2} ${kTop - 4} V ${kTop + kHeight + kWires}`} />}
              </g>
            ))}
            <rect class="selected" x={selected * step - 1} y={kTop - 3} width={step - gap + 2} height={kHeight + 6} rx={2} />
            {axisMarks(columns, step).map((mark) => (
              <text key={mark.index} class="axis" x={(mark.index + 0.5) * step} y={kTop + kHeight + kWires + 15} text-anchor={mark.anchor}>
                {mark.text}
              </text>
            ))}
          </svg>
        )}
      </div>
      <p class="caption">
        Each column is a block, from embedding to head; its height is divided as the block's {scale.value === 'share' ? 'bytes are' : 'bytes are, and as high as they are many'}. Below: what its collectives send per token.
      </p>
    </div>
  );
}

interface Wires {
  bytes: number;
  sends: boolean;
  lines: string[];
}

function wiresOf(shards: Shards, block: number): Wires {
  const steps = stepsOf(shards, block).flatMap((step) => (step.kind === 'collective' && step.collective.operation !== 'recv' ? [step] : []));
  return {
    bytes: trafficOf(shards, block),
    sends: steps.some((step) => step.collective.operation === 'send'),
    lines: steps.map((step) => `${step.collective.operation} · ${format.bytes(step.collective.bytes)} per ${step.collective.per} · ${step.ranks.length} ranks`),
  };
}

function describe(column: Column, all: Rank[]): string {
  const parts = column.parts.map((part) => `${all[part.rank]?.name} ${format.percent(part.share)}`).join(', ');
  return `${column.name}: ${format.bytes(column.bytes)}, ${parts}`;
}

function BlockTip({ column, all, wires }: { column: Column; all: Rank[]; wires: Wires }) {
  return (
    <>
      <strong>{column.name}</strong> <span class="dim">{format.bytes(column.bytes)}</span>
      <ul class="tip-list">
        {column.parts.map((part) => (
          <li key={part.rank}>
            <i class="swatch" style={{ background: all[part.rank]?.color }} /> {all[part.rank]?.name}
            <span class="num">{format.bytes(part.bytes)}</span>
            <span class="num dim">{format.percent(part.share)}</span>
          </li>
        ))}
      </ul>
      {wires.lines.map((line) => (
        <div class="dim" key={line}>
          {line}
        </div>
      ))}
    </>
  );
}

function RunLabels({ parts, x, width, all }: { parts: Column['parts']; x: number; width: number; all: Rank[] }) {
  let y = kTop + kHeight;
  return (
    <g class="run">
      {parts.map((part) => {
        const height = part.share * kHeight;
        y -= height;
        const name = all[part.rank]?.name ?? '';
        const share = format.percent(part.share);
        const text = width > (name.length + share.length + 2) * 7 + 16 ? `${name}  ${share}` : width > name.length * 7 + 12 ? name : '';
        return height > 14 && text ? (
          <text key={part.rank} x={x + width / 2} y={y + height / 2 + 4} text-anchor="middle">
            {text}
          </text>
        ) : null;
      })}
    </g>
  );
}

/** The names that are no numbers, and as many numbers as there is room for. */
function axisMarks(columns: Column[], step: number): { index: number; text: string; anchor: 'start' | 'middle' | 'end' }[] {
  const every = [1, 2, 4, 5, 8, 10, 16, 20, 25, 50].find((n) => n * step >= 30) ?? 100;
  return columns.flatMap((column) => {
    const short = shortName(column.name);
    const numbered = short !== column.name;
    const first = column.index === 0, last = column.index === columns.length - 1;
    if (numbered && (Number(short) % every !== 0 || (column.index * step < 52) || (columns.length - 1 - column.index) * step < 44)) return [];
    return [{ index: column.index, text: short, anchor: first && step < 40 ? ('start' as const) : last && step < 40 ? ('end' as const) : ('middle' as const) }];
  });
}
