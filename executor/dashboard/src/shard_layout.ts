// The shard map as geometry: plain functions from the server's blocks and cells to what is drawn.
import type { ShardCache, ShardCell, ShardCollective, Shards, ShardWeight } from './contract';

export interface Part {
  rank: number;
  bytes: number;
  share: number; // of what all ranks hold of the block
}

export interface Column {
  name: string;
  index: number;
  bytes: number;
  parts: Part[]; // by rank, those that hold anything
}

export function cellOf(shards: Shards, block: number, rank: number): ShardCell | null {
  const index = shards.blocks[block]?.cells[rank];
  return index === null || index === undefined ? null : shards.cells[index]!;
}

export function columnsOf(shards: Shards): Column[] {
  return shards.blocks.map((block, index) => {
    const parts: Part[] = [];
    block.cells.forEach((_, rank) => {
      const cell = cellOf(shards, index, rank);
      const bytes = cell ? cell.weight_bytes + cell.kv_bytes : 0;
      if (bytes > 0) parts.push({ rank, bytes, share: 0 });
    });
    const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
    for (const part of parts) part.share = part.bytes / bytes;
    return { name: block.name, index, bytes, parts };
  });
}

/** Neighbouring columns of the same ranks and shares: one band to label. */
export interface Run {
  first: number;
  end: number;
  parts: Part[];
}

export function runsOf(columns: Column[]): Run[] {
  const runs: Run[] = [];
  for (const column of columns) {
    const last = runs.at(-1);
    const same = last && last.parts.length === column.parts.length && last.parts.every((part, i) => part.rank === column.parts[i]!.rank && Math.abs(part.share - column.parts[i]!.share) < 0.005);
    if (same) last.end = column.index + 1;
    else runs.push({ first: column.index, end: column.index + 1, parts: column.parts });
  }
  return runs;
}

/** One step of a block with what every rank does in it. */
export type BlockStep =
  | { kind: 'weight'; name: string; weight: ShardWeight; segments: Segment[]; split: 'rows' | 'columns' | 'none' }
  | { kind: 'cache'; name: string; caches: { rank: number; cache: ShardCache }[] }
  | { kind: 'collective'; name: string; collective: ShardCollective; ranks: number[] };

export interface Segment {
  rank: number;
  bytes: number;
  begin: number; // of the dimension that is split
  end: number;
  of: number;
  lane: number;
}

type Dimension = 'rows' | 'columns';
const range = (weight: ShardWeight, by: Dimension): [number, number, number] =>
  by === 'rows' ? [weight.row_begin, weight.row_end, weight.rows] : [weight.column_begin, weight.column_end, weight.columns];

function splitOf(weights: ShardWeight[]): 'rows' | 'columns' | 'none' {
  const partial = (by: Dimension) => weights.some((weight) => range(weight, by)[1] - range(weight, by)[0] < range(weight, by)[2]);
  return partial('rows') ? 'rows' : partial('columns') ? 'columns' : 'none';
}

/** Pieces that overlap (KV heads that several ranks hold) lie in lanes. */
function intoLanes(segments: Segment[]): Segment[] {
  const ends: number[] = [];
  for (const segment of segments) {
    const free = ends.findIndex((end) => end <= segment.begin);
    segment.lane = free < 0 ? ends.length : free;
    ends[segment.lane] = segment.end;
  }
  return segments;
}

function weightStep(name: string, held: { rank: number; weight: ShardWeight }[]): BlockStep {
  const split = splitOf(held.map((one) => one.weight));
  const segments = held
    .map(({ rank, weight }) => {
      const [begin, end, of] = range(weight, split === 'columns' ? 'columns' : 'rows');
      return { rank, bytes: weight.bytes, begin, end, of, lane: 0 };
    })
    .sort((a, b) => a.begin - b.begin || a.rank - b.rank);
  return { kind: 'weight', name, weight: held[0]!.weight, segments: split === 'none' ? segments : intoLanes(segments), split };
}

/** The steps of a block in the order of the computation, those of all ranks together. */
export function stepsOf(shards: Shards, block: number): BlockStep[] {
  const byName = new Map<string, { rank: number; step: ShardCell['steps'][number] }[]>();
  shards.blocks[block]!.cells.forEach((_, rank) => {
    for (const step of cellOf(shards, block, rank)?.steps ?? []) {
      const key = step.kind === 'collective' && (step.operation === 'send' || step.operation === 'recv') ? `${step.kind} ${step.operation} ${step.name}` : `${step.kind} ${step.name}`;
      byName.set(key, [...(byName.get(key) ?? []), { rank, step }]);
    }
  });
  return [...byName.values()].map((held) => {
    const first = held[0]!.step;
    if (first.kind === 'weight') return weightStep(first.name, held.map(({ rank, step }) => ({ rank, weight: step as ShardWeight })));
    if (first.kind === 'cache') return { kind: 'cache', name: first.name, caches: held.map(({ rank, step }) => ({ rank, cache: step as ShardCache })) };
    const all = new Set(held.flatMap(({ step }) => (step as ShardCollective).ranks));
    return { kind: 'collective', name: first.name, collective: first, ranks: [...all].sort((a, b) => a - b) };
  });
}

/** Bytes that the ranks of a block give to others per token, once each. */
export function trafficOf(shards: Shards, block: number): number {
  let sum = 0;
  for (const step of stepsOf(shards, block)) if (step.kind === 'collective' && step.collective.operation !== 'recv' && step.collective.per === 'token') sum += step.collective.bytes * (step.collective.operation === 'send' ? 1 : step.ranks.length);
  return sum;
}

/** "layers.12" → "12"; others keep their name. */
export function shortName(block: string): string {
  return block.startsWith('layers.') ? block.slice('layers.'.length) : block;
}
