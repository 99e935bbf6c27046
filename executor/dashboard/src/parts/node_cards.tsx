// A card per node: what it is, how busy, and what its memory holds.
import type { NodeStatus, TopologyNode } from '../contract';
import * as format from '../format';
import { rankByName } from '../ranks';
import { nodes, plan, topology } from '../store';

export function NodeCards() {
  const live = new Map(nodes.value?.map((node) => [node.name, node]));
  return (
    <ul class="node-cards">
      {topology.value!.nodes.map((node) => (
        <NodeCard key={node.name} node={node} status={live.get(node.name) ?? null} />
      ))}
    </ul>
  );
}

function NodeCard({ node, status }: { node: TopologyNode; status: NodeStatus | null }) {
  const rank = rankByName.value.get(node.name);
  const reading = status?.reading ?? null;
  const stages = plan.value!.stage_sizes.length;
  const state = status?.state ?? (node.rank === null ? 'left out' : null);
  const figures = [
    reading?.temperature_c != null && `${reading.temperature_c.toFixed(0)} °C`,
    reading?.power_w != null && `${reading.power_w.toFixed(0)} W`,
    node.read_gb_per_s !== null && `${format.number(node.read_gb_per_s)} GB/s read`,
    node.int8_gop_per_s !== null && `${format.number(node.int8_gop_per_s)} GOP/s int8`,
  ].filter((one) => one !== false);
  return (
    <li class={`card node ${node.rank === null ? 'out' : ''}`} data-testid="node-card" style={{ '--rank-color': rank?.color ?? 'var(--line)' }}>
      <header>
        <h2>{node.name}</h2>
        {state && <span class={`pill ${state.replace(' ', '-')}`}>{state}</span>}
      </header>
      <p class="dim small">
        {node.rank === null ? 'the plan is no better with it' : `rank ${node.rank}${stages > 1 && rank ? ` · stage ${rank.stage + 1} of ${stages}` : ''}`}
        {reading?.processor && ` · ${reading.processor}`}
        {node.address && !reading?.processor && ` · ${node.address}`}
      </p>
      {status?.loading && (
        <label class="load">
          loading {format.bytes(status.loading.done_bytes)} of {format.bytes(status.loading.total_bytes)}
          <progress max={status.loading.total_bytes} value={status.loading.done_bytes} />
        </label>
      )}
      {reading?.processor_share != null && (
        <div class="meter">
          <span>Processors</span>
          <span class="track" role="meter" aria-label={`Processors of ${node.name}`} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(reading.processor_share * 100)}>
            <i style={{ width: `${reading.processor_share * 100}%` }} />
          </span>
          <span class="num">{format.percent(reading.processor_share)}</span>
        </div>
      )}
      {status && <MemoryMeter node={node} status={status} />}
      {figures.length > 0 && <p class="figures small">{figures.join(' · ')}</p>}
    </li>
  );
}

interface Part {
  name: string;
  bytes: number;
  kind: string;
}

function MemoryMeter({ node, status }: { node: TopologyNode; status: NodeStatus }) {
  const total = status.reading?.memory_bytes || node.memory_bytes;
  const memory = status.memory;
  if (!memory && !status.reading) return null;
  const parts: Part[] = memory
    ? [
        { name: 'weights', bytes: memory.weights, kind: 'weights' },
        { name: 'KV cache', bytes: memory.kv, kind: 'kv' },
        { name: 'buffers', bytes: memory.arena + memory.scratch, kind: 'buffers' },
      ]
    : [];
  const ours = parts.reduce((sum, part) => sum + part.bytes, 0);
  if (status.reading && total) parts.push({ name: 'others', bytes: Math.max(0, total - status.reading.available_bytes - ours), kind: 'others' });
  const whole = Math.max(total ?? 0, parts.reduce((sum, part) => sum + part.bytes, 0));
  return (
    <>
      <div class="meter">
        <span>Memory</span>
        <span class="track" role="img" aria-label={parts.map((part) => `${part.name} ${format.bytes(part.bytes)}`).join(', ')}>
          {parts.map((part) => (
            <i key={part.kind} class={`memory-${part.kind}`} style={{ width: `${(100 * part.bytes) / whole}%` }} />
          ))}
        </span>
        <span class="num">{total ? format.bytes(total) : format.bytes(ours)}</span>
      </div>
      <p class="memory-key small">
        {parts.map((part) => (
          <span key={part.kind}>
            <i class={`swatch memory-${part.kind}`} /> {part.name} {format.bytes(part.bytes)}
          </span>
        ))}
      </p>
    </>
  );
}
