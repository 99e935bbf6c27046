import * as format from '../format';
import { NodeCards } from '../parts/node_cards';
import { Requests } from '../parts/requests';
import { Figure } from '../parts/sparkline';
import { TopologyGraph } from '../parts/topology';
import { hasSeries, latest, topology } from '../store';

export function ClusterView() {
  const count = topology.value!.nodes.length;
  return (
    <>
      <h1 class="unseen">Cluster</h1>
      {hasSeries.value && <Figures />}
      <section class={`machines ${count > 4 ? 'many' : ''}`} aria-label="Nodes">
        {count > 1 && (
          <div class="card">
            <header>
              <h2>Topology</h2>
              <span class="dim small">ring: processors in use</span>
            </header>
            <TopologyGraph />
          </div>
        )}
        <NodeCards />
      </section>
      <Requests />
    </>
  );
}

function Figures() {
  const waiting = latest('waiting') ?? 0;
  return (
    <section class="figures-strip card" aria-label="Now">
      <Figure label="Generated" column="generated_tokens_per_s" format={(value) => `${format.number(value)} tok/s`} />
      <Figure label="Prompts" mean={10} note="mean of 10 s" column="prompt_tokens_per_s" format={(value) => `${format.number(value)} tok/s`} />
      <Figure label="First token, p50" column="time_to_first_token_p50_s" format={format.seconds} />
      <Figure label="Between tokens, p95" column="inter_token_p95_s" format={format.seconds} />
      <Figure label="Running" column="running" format={format.number} note={waiting > 0 ? `${waiting} waiting` : 'none waiting'} />
      <Figure label="KV pages in use" column="kv_used" format={format.percent} of={1} />
    </section>
  );
}
