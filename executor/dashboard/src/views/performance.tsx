import { useSignal } from '@preact/signals';
import * as format from '../format';
import { Plot } from '../parts/plot';
import { ranks } from '../ranks';
import { columns, hasSeries } from '../store';

const kWindow = 15; // seconds that "where time goes" looks back

export function PerformanceView() {
  const minutes = useSignal(5);
  if (!hasSeries.value) return <p class="dim empty">The server has no figures yet.</p>;
  return (
    <>
      <div class="title-row">
        <h1>Performance</h1>
        <div class="segmented" role="group" aria-label="Minutes shown">
          {[1, 5, 15].map((one) => (
            <button type="button" key={one} aria-pressed={minutes.value === one} onClick={() => (minutes.value = one)}>
              {one} min
            </button>
          ))}
        </div>
      </div>
      <WhereTimeGoes />
      <div class="plots">
        <Plot title="Throughput" minutes={minutes.value} format={format.number} lines={[{ column: 'generated_tokens_per_s', label: 'generated tok/s', color: '--series-1', fill: true }, { column: 'prompt_tokens_per_s', label: 'prompt tok/s, mean of 10 s', color: '--series-2', smooth: 10 }]} />
        <Plot title="Time to first token" minutes={minutes.value} format={format.seconds} lines={[{ column: 'time_to_first_token_p50_s', label: 'p50', color: '--series-1' }, { column: 'time_to_first_token_p95_s', label: 'p95', color: '--series-3' }]} />
        <Plot title="Between tokens" minutes={minutes.value} format={format.seconds} lines={[{ column: 'inter_token_p50_s', label: 'p50', color: '--series-1' }, { column: 'inter_token_p95_s', label: 'p95', color: '--series-3' }]} />
        <Plot title="Batch and queue" whole minutes={minutes.value} format={format.number} lines={[{ column: 'step_sequences', label: 'sequences per step', color: '--series-1', fill: true }, { column: 'waiting', label: 'waiting', color: '--series-3' }]} />
        <Plot title="Time of a step" minutes={minutes.value} format={format.seconds} lines={[{ column: 'step_s', label: 'mean', color: '--series-4', fill: true }]} />
        <Plot title="KV cache pages" minutes={minutes.value} format={format.percent} most={1} lines={[{ column: 'kv_used', label: 'in use', color: '--series-1', fill: true }, { column: 'kv_cached', label: 'kept for prefixes', color: '--series-2' }]} />
      </div>
    </>
  );
}

function mean(column: string): number {
  const values = (columns.value[column] ?? []).slice(-kWindow).filter((value) => value !== null);
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Rank 0's last seconds. What it counts are steps and its waits for peers; the rest of a step is its own work and sending. */
function WhereTimeGoes() {
  const peers = ranks.value.slice(1).filter((rank) => `peer_wait.${rank.rank}` in columns.value);
  if (peers.length === 0) return null;
  const busy = mean('busy');
  const waits = peers.map((rank) => ({ rank, share: mean(`peer_wait.${rank.rank}`) }));
  const waited = waits.reduce((sum, wait) => sum + wait.share, 0);
  const own = Math.max(0, busy - waited);
  const parts = [
    { key: 'own', name: `${ranks.value[0]!.name} computes and sends`, share: own, color: ranks.value[0]!.color },
    ...waits.map(({ rank, share }) => ({ key: String(rank.rank), name: `waits for ${rank.name}`, share, color: rank.color })),
    { key: 'idle', name: 'no step', share: Math.max(0, 1 - busy), color: 'var(--track)' },
  ];
  return (
    <section class="card" aria-labelledby="time-title" data-testid="where-time-goes">
      <header>
        <h2 id="time-title">Where time goes</h2>
        <span class="dim small">
          on rank 0, mean of the last {kWindow} s
        </span>
      </header>
      <div class="stack" role="img" aria-label={parts.map((part) => `${part.name} ${format.percent(part.share)}`).join(', ')}>
        {parts.map((part) => (
          <i key={part.key} class={part.key !== 'own' && part.key !== 'idle' ? 'waits' : ''} style={{ width: `${part.share * 100}%`, backgroundColor: part.color }} />
        ))}
      </div>
      <ul class="legend">
        {parts.map((part) => (
          <li key={part.key}>
            <i class={`swatch ${part.key !== 'own' && part.key !== 'idle' ? 'waits' : ''}`} style={{ backgroundColor: part.color }} /> {part.name} <strong>{format.percent(part.share)}</strong>
          </li>
        ))}
      </ul>
    </section>
  );
}
