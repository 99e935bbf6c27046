// Legend of the shard map and memory plan in one: a row per rank.
import type { Report, Shards } from '../contract';
import * as format from '../format';
import { ranks } from '../ranks';
import { cellOf } from '../shard_layout';
import { topology } from '../store';

function blocksOf(shards: Shards, rank: number): string {
  const held = shards.blocks.map((_, index) => index).filter((index) => (cellOf(shards, index, rank)?.weight_bytes ?? 0) > 0);
  if (held.length === 0) return '–';
  const [first, last] = [shards.blocks[held[0]!]!.name, shards.blocks[held.at(-1)!]!.name];
  return first === last ? first : `${first} … ${last}`;
}

export function RankTable({ shards, report }: { shards: Shards; report: Report | null }) {
  const memory = new Map(topology.value?.nodes.map((node) => [node.rank, node.memory_bytes]));
  const sum = shards.ranks.reduce((total, rank) => total + rank.weight_bytes, 0);
  const predicted = new Map(report?.ranks.map((rank) => [rank.rank, rank]));
  const largest = Math.max(...shards.ranks.map((rank) => rank.weight_bytes + rank.kv_bytes + rank.arena_bytes));
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="Ranks, table">
      <table data-testid="ranks">
        <thead>
          <tr>
            <th scope="col">Node</th>
            <th scope="col">Blocks</th>
            <th scope="col" class="num">
              Share
            </th>
            <th scope="col" class="num">
              Weights
            </th>
            <th scope="col" class="num">
              KV cache
            </th>
            <th scope="col" class="num">
              Buffers
            </th>
            <th scope="col" class="wide">
              Of its memory
            </th>
            {report && (
              <th scope="col" class="num">
                Works
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {ranks.value.map((rank) => {
            const held = shards.ranks[rank.rank]!;
            const buffers = held.arena_bytes + (predicted.get(rank.rank)?.memory_bytes.communication ?? 0);
            const all = held.weight_bytes + held.kv_bytes + buffers;
            const has = memory.get(rank.rank) ?? null;
            const whole = has ?? largest;
            return (
              <tr key={rank.rank}>
                <th scope="row">
                  <i class="swatch" style={{ background: rank.color }} /> {rank.name}
                </th>
                <td class="dim">{blocksOf(shards, rank.rank)}</td>
                <td class="num">{format.percent(held.weight_bytes / sum)}</td>
                <td class="num">{format.bytes(held.weight_bytes)}</td>
                <td class="num">{format.bytes(held.kv_bytes)}</td>
                <td class="num">{format.bytes(buffers)}</td>
                <td class="wide">
                  <span class="meter-cell">
                    <span class="track">
                      <i class="memory-weights" style={{ width: `${(100 * held.weight_bytes) / whole}%` }} />
                      <i class="memory-kv" style={{ width: `${(100 * held.kv_bytes) / whole}%` }} />
                      <i class="memory-buffers" style={{ width: `${(100 * buffers) / whole}%` }} />
                    </span>
                    <span class="num dim">{has ? `${format.percent(all / has)} of ${format.bytes(has)}` : format.bytes(all)}</span>
                  </span>
                </td>
                {report && <td class="num">{predicted.has(rank.rank) ? format.percent(predicted.get(rank.rank)!.busy) : ''}</td>}
              </tr>
            );
          })}
        </tbody>
      </table>
      <p class="memory-key small">
        <span>
          <i class="swatch memory-weights" /> weights
        </span>
        <span>
          <i class="swatch memory-kv" /> KV cache
        </span>
        <span>
          <i class="swatch memory-buffers" /> activations and buffers
        </span>
        {report && <span>Works: predicted part of a decode step in which the node computes rather than waits</span>}
      </p>
    </div>
  );
}
