// The plan: the shard map, a block opened, memory per node, the prediction and what else was considered.
import { useSignal } from '@preact/signals';
import { lazyDefault } from '../default_block';
import * as format from '../format';
import { BlockAnatomy } from '../parts/block_anatomy';
import { Placement } from '../parts/placement';
import { RankTable } from '../parts/rank_table';
import { ShardMap } from '../parts/shard_map';
import { arrangement, inWords } from '../placement_name';
import { plan, shards } from '../store';

export function PlanView() {
  const map = shards.value!;
  const current = plan.value!;
  const selected = useSignal(lazyDefault(map));
  const block = Math.min(selected.value, map.blocks.length - 1);
  return (
    <>
      <div class="title-row">
        <h1>Plan</h1>
        <p class="dim">
          {current.model} · {current.quantization} · context {format.number(current.max_context)}
          {current.report && ` · ${inWords(arrangement(current.report.plan))}`}
        </p>
      </div>
      {map.blocks.length > 0 && (
        <>
          <section class="card" aria-labelledby="map-title">
            <header>
              <h2 id="map-title">Who holds what</h2>
              <span class="dim small">click a column, or use the arrow keys</span>
            </header>
            <ShardMap shards={map} selected={block} onSelect={(index) => (selected.value = index)} />
            <RankTable shards={map} report={current.report} />
          </section>
          <BlockAnatomy shards={map} block={block} />
        </>
      )}
      {current.report && <Placement report={current.report} />}
    </>
  );
}
