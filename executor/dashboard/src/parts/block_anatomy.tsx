// One block, opened: every weight as a bar cut where the ranks' pieces meet, KV heads one by one, and the collectives between.
import { useMemo } from 'preact/hooks';
import type { Shards } from '../contract';
import * as format from '../format';
import { type Rank, ranks } from '../ranks';
import { type BlockStep, cellOf, type Segment, stepsOf } from '../shard_layout';
import { hideTip, showTip } from './tooltip';

export function BlockAnatomy({ shards, block }: { shards: Shards; block: number }) {
  const steps = useMemo(() => stepsOf(shards, block), [shards, block]);
  const all = ranks.value;
  const held = all.map((rank) => cellOf(shards, block, rank.rank)).filter((cell) => cell !== null);
  const weightBytes = held.reduce((sum, cell) => sum + cell.weight_bytes, 0);
  const kvBytes = held.reduce((sum, cell) => sum + cell.kv_bytes, 0);
  return (
    <section class="card anatomy" aria-label={`Inside ${shards.blocks[block]!.name}`} data-testid="block-anatomy">
      <header>
        <h2>
          Inside <code>{shards.blocks[block]!.name}</code>
        </h2>
        <span class="dim small">
          {format.bytes(weightBytes)} of weights{kvBytes > 0 && `, ${format.bytes(kvBytes)} of KV cache`}, on {held.length} {held.length === 1 ? 'node' : 'nodes'}
        </span>
      </header>
      <ol class="steps">
        {steps.map((step) => (
          <li key={`${step.kind}${step.name}${step.kind === 'collective' ? step.collective.operation : ''}`} class={`step ${step.kind}`}>
            {step.kind === 'weight' ? <Weight step={step} all={all} /> : step.kind === 'cache' ? <Heads step={step} all={all} shards={shards} block={block} /> : <Wire step={step} all={all} />}
          </li>
        ))}
      </ol>
    </section>
  );
}

type Of<K extends BlockStep['kind']> = Extract<BlockStep, { kind: K }>;

function Weight({ step, all }: { step: Of<'weight'>; all: Rank[] }) {
  const { weight } = step;
  const lanes = Math.max(...step.segments.map((segment) => segment.lane)) + 1;
  const shape = weight.rows === 1 ? `${weight.columns}` : `${weight.rows} × ${weight.columns}`;
  const everywhere = step.split === 'none' && step.segments.length > 1;
  return (
    <>
      <div class="what">
        <code>{step.name}</code>
        <span class="dim">
          {weight.matrices > 1 && `${weight.matrices} × `}
          {shape} {weight.encoding}
        </span>
      </div>
      {everywhere ? (
        <div class="bar whole" onMouseMove={(event) => showTip(event, `${step.name}: all of it on every node, ${format.bytes(weight.bytes)} each`)} onMouseLeave={hideTip}>
          on each of {step.segments.length} nodes · {format.bytes(weight.bytes)}
        </div>
      ) : (
        <div class={`bar lanes-${Math.min(lanes, 4)}`} data-split={step.split}>
          {step.segments.map((segment) => (
            <Piece key={segment.rank} segment={segment} lanes={lanes} rank={all[segment.rank]!} step={step} />
          ))}
        </div>
      )}
      <span class="by dim">{step.split === 'rows' ? 'by rows' : step.split === 'columns' ? <>by columns<span class="more">: partial sums</span></> : everywhere ? 'not split' : 'whole'}</span>
    </>
  );
}

function Piece({ segment, lanes, rank, step }: { segment: Segment; lanes: number; rank: Rank; step: Of<'weight'> }) {
  const share = (segment.end - segment.begin) / segment.of;
  const unit = step.split === 'columns' ? 'columns' : 'rows';
  const text = `${rank.name}: ${unit} ${segment.begin} to ${segment.end - 1} of ${segment.of} (${format.percent(share)}), ${format.bytes(segment.bytes)}`;
  return (
    <i
      class="piece"
      style={{ left: `${(100 * segment.begin) / segment.of}%`, width: `${100 * share}%`, top: `${(100 * segment.lane) / lanes}%`, height: `${100 / lanes}%`, background: rank.color }}
      onMouseMove={(event) => showTip(event, text)}
      onMouseLeave={hideTip}
    >
      {lanes === 1 && share > 0.13 && <span>{format.percent(share)}</span>}
    </i>
  );
}

/** Which KV heads a rank holds follows from the rows of the key projection; without one only how many is known. */
function firstHead(shards: Shards, block: number, rank: number, keyDim: number): number | null {
  const key = cellOf(shards, block, rank)?.steps.find((step) => step.kind === 'weight' && step.name.endsWith('k_proj'));
  return key?.kind === 'weight' ? key.row_begin / keyDim : null;
}

function Heads({ step, all, shards, block }: { step: Of<'cache'>; all: Rank[]; shards: Shards; block: number }) {
  const { cache } = step.caches[0]!;
  return (
    <>
      <div class="what">
        <code>KV cache</code>
        <span class="dim">
          {cache.key_dim} + {cache.value_dim} {cache.encoding}
        </span>
      </div>
      <div class="heads">
        {step.caches.map(({ rank, cache: own }) => {
          const first = firstHead(shards, block, rank, own.key_dim);
          const text = `${all[rank]!.name}: ${own.kv_heads} KV ${own.kv_heads === 1 ? 'head' : 'heads'}${first === null ? '' : ` from ${first}`}, ${format.bytes(own.bytes)}`;
          return (
            <span class="head-group" key={rank} onMouseMove={(event) => showTip(event, text)} onMouseLeave={hideTip}>
              {Array.from({ length: own.kv_heads }, (_, head) => (
                <i key={head} class="head" style={{ background: all[rank]!.color }}>
                  {first === null ? '' : first + head}
                </i>
              ))}
            </span>
          );
        })}
      </div>
      <span class="by dim">by KV head</span>
    </>
  );
}

const kMeaning: Record<string, string> = {
  all_reduce: 'partial sums, added up',
  all_gather: 'pieces, put together',
  top_k_merge: 'best tokens of all parts',
  send: 'on to the next stage',
  recv: 'from the stage before',
};

function Wire({ step, all }: { step: Of<'collective'>; all: Rank[] }) {
  const { collective } = step;
  return (
    <>
      <div class="what">
        <code>{collective.operation}</code>
        <span class="dim">
          {format.bytes(collective.bytes)} per {collective.per}
        </span>
      </div>
      <div class="bus">
        {step.ranks.map((rank) => (
          <i key={rank} class="stop" style={{ background: all[rank]?.color }} title={all[rank]?.name} />
        ))}
      </div>
      <span class="by dim">{kMeaning[collective.operation]}</span>
    </>
  );
}
