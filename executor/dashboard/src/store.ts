// What the server tells, as signals: one per key of its state, so that a change redraws only who reads it.
import { computed, signal, type Signal } from '@preact/signals';
import { call, needsKey } from './api';
import type { Change, Sample, Series, State } from './contract';
import { events } from './sse';

type Key = 'engine' | 'model' | 'plan' | 'topology' | 'shards' | 'nodes' | 'links' | 'requests' | 'totals' | 'sample';

export const engine = signal<State['engine']>(undefined);
export const model = signal<State['model'] | undefined>(undefined);
export const plan = signal<State['plan'] | undefined>(undefined);
export const topology = signal<State['topology'] | undefined>(undefined);
export const shards = signal<State['shards'] | undefined>(undefined);
export const nodes = signal<State['nodes']>(undefined);
export const links = signal<State['links']>(undefined);
export const requests = signal<State['requests']>(undefined);
export const totals = signal<State['totals']>(undefined);
export const sample = signal<State['sample']>(undefined);

const keyed: Record<Key, Signal<unknown>> = { engine, model, plan, topology, shards, nodes, links, requests, totals, sample };

/** Where the line to the server stands. */
export const line = signal<'connecting' | 'open' | 'lost'>('connecting');

export type Columns = Series['columns'];
const kRows = 900;
export const columns = signal<Columns>({ time: [] });
export const hasSeries = computed(() => columns.value.time.length > 0);

/** The newest value of a column; null where there is none. */
export function latest(column: string): number | null {
  return sample.value?.[column] ?? null;
}

function take(change: Change): void {
  for (const key of Object.keys(keyed) as Key[]) if (key in change) keyed[key].value = change[key];
  if (change.sample) append(change.sample);
}

function append(row: Sample): void {
  const old = columns.value;
  if (old.time.length > 0 && row.time <= old.time[old.time.length - 1]!) return;
  const next: Columns = { time: [...old.time.slice(1 - kRows), row.time] };
  for (const name of Object.keys(row)) {
    if (name === 'time') continue;
    const before = old[name] ?? old.time.map(() => null);
    next[name] = [...before.slice(1 - kRows), row[name] ?? null];
  }
  columns.value = next;
}

async function loadSeries(): Promise<void> {
  const series: Series = await (await call('/v1/cluster/series?since=0')).json();
  columns.value = series.columns;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function follow(lastId: { value: string }): Promise<void> {
  const headers: Record<string, string> = lastId.value ? { 'Last-Event-ID': lastId.value } : {};
  const response = await call('/v1/cluster/events', { headers });
  await loadSeries(); // after the stream stands: nothing is lost in between
  line.value = 'open';
  for await (const event of events(response.body!)) {
    take(JSON.parse(event.data));
    if (event.id) lastId.value = event.id;
  }
}

/** Follows the server for the page's life; a lost line is tried again, ever more seldom up to 10 s. */
export async function connect(): Promise<never> {
  const lastId = { value: '' };
  let pause = 500;
  for (;;) {
    try {
      await follow(lastId);
      pause = 500;
    } catch {
      // The pill in the header says so; what was known stays on the page.
    }
    line.value = 'lost';
    await sleep(pause);
    while (needsKey.value) await sleep(200);
    pause = Math.min(pause * 2, 10_000);
  }
}
