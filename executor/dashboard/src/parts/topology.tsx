// The machines and what connects them. d3-force lays them out once per topology; live figures only recolour.
import { forceCenter, forceCollide, forceLink, forceManyBody, forceSimulation, forceX, forceY, type SimulationLinkDatum, type SimulationNodeDatum } from 'd3-force';
import { useMemo } from 'preact/hooks';
import { useSignal } from '@preact/signals';
import type { Topology as Machines } from '../contract';
import * as format from '../format';
import { rankByName } from '../ranks';
import { links, nodes, topology } from '../store';
import { useWidth } from './use_width';
import { hideTip, showTip } from './tooltip';

interface Edge {
  from: string;
  to: string;
  transport: string;
  latency_us: number | null;
  bandwidth: number | null;
  used: boolean;
  why: string | null;
  sent: number | null;
}

/** One edge per pair: the link in use if there is one, with what was measured of the pair. */
function edgesOf(machines: Machines): Edge[] {
  const edges = new Map<string, Edge>();
  const key = (a: string, b: string) => [a, b].sort().join('\0');
  for (const link of machines.links) {
    const before = edges.get(key(link.from, link.to));
    if (before && (before.bandwidth ?? 0) >= (link.bandwidth_gbit_per_s ?? 0)) continue;
    edges.set(key(link.from, link.to), { from: link.from, to: link.to, transport: link.transport, latency_us: link.latency_us, bandwidth: link.bandwidth_gbit_per_s, used: false, why: null, sent: null });
  }
  for (const link of links.value ?? []) {
    const measured = machines.links.find((one) => key(one.from, one.to) === key(link.from, link.to) && (one.transport === link.transport || (one.transport === 'rdma' && link.transport === 'verbs')));
    edges.set(key(link.from, link.to), { from: link.from, to: link.to, transport: link.transport, latency_us: measured?.latency_us ?? null, bandwidth: measured?.bandwidth_gbit_per_s ?? null, used: true, why: link.why, sent: link.sent_bytes_per_s });
  }
  return [...edges.values()];
}

interface Spot extends SimulationNodeDatum {
  name: string;
}

interface Pull extends SimulationLinkDatum<Spot> {
  near: boolean; // by what is faster than a network's ordinary way: one rack, one host
}

/** Positions in [-1, 1]², the same for the same machines. */
function layout(machines: Machines): Map<string, [number, number]> {
  const spots: Spot[] = machines.nodes.map(({ name }) => ({ name }));
  const index = new Map(spots.map((spot, i) => [spot.name, i]));
  const pull = machines.links.filter((link) => index.has(link.from) && index.has(link.to)).map((link) => ({ source: index.get(link.from)!, target: index.get(link.to)!, near: link.transport !== 'tcp' }));
  forceSimulation(spots)
    .force('charge', forceManyBody().strength(-220))
    .force('link', forceLink<Spot, Pull>(pull).distance((link) => (link.near ? 45 : 110)).strength((link) => (link.near ? 0.7 : 0.04)))
    .force('apart', forceCollide(26))
    .force('x', forceX(0).strength(0.04))
    .force('y', forceY(0).strength(0.09))
    .force('centre', forceCenter(0, 0))
    .stop()
    .tick(240);
  const along = (of: 'x' | 'y') => {
    const all = spots.map((spot) => spot[of] ?? 0);
    const low = Math.min(...all), span = Math.max(1, Math.max(...all) - low);
    return (spot: Spot) => (all.length === 1 ? 0 : (2 * ((spot[of] ?? 0) - low)) / span - 1);
  };
  const [x, y] = [along('x'), along('y')];
  return new Map(spots.map((spot) => [spot.name, [x(spot), y(spot)]]));
}

const kRing = 2 * Math.PI * 17;

export function TopologyGraph() {
  const [holder, width] = useWidth<HTMLDivElement>();
  const hovered = useSignal<string | null>(null);
  const machines = topology.value!;
  const spots = useMemo(() => layout(machines), [machines]);
  const edges = edgesOf(machines);
  const live = new Map(nodes.value?.map((node) => [node.name, node]));
  const height = Math.min(380, Math.max(210, machines.nodes.length * 36));
  const at = (name: string): [number, number] => {
    const [x, y] = spots.get(name) ?? [0, 0];
    return [width / 2 + x * (width / 2 - 64), height / 2 - 4 + y * (height / 2 - 44)];
  };
  const fewEdges = edges.length <= 6 && width > 420;
  return (
    <div ref={holder} class="topology" data-testid="topology">
      {width > 0 && (
        <svg class={edges.length > 12 ? 'many' : ''} width={width} height={height} role="img" aria-label={`${machines.nodes.length} nodes, ${edges.length} links`}>
          {edges.map((edge) => {
            const [x1, y1] = at(edge.from), [x2, y2] = at(edge.to);
            const shown = hovered.value === edge.from || hovered.value === edge.to;
            return (
              <g key={`${edge.from}\0${edge.to}`} class={`edge ${edge.used ? 'used' : ''} ${shown ? 'shown' : ''}`} onMouseMove={(event) => showTip(event, <EdgeTip edge={edge} />)} onMouseLeave={hideTip}>
                <line class="reach" x1={x1} y1={y1} x2={x2} y2={y2} />
                <line x1={x1} y1={y1} x2={x2} y2={y2} />
                {(fewEdges || (shown && machines.nodes.length < 8)) && edge.latency_us !== null && (
                  <text x={(x1 + x2) / 2} y={(y1 + y2) / 2 - 5} text-anchor="middle">
                    {edge.transport} · {edge.latency_us} µs{edge.bandwidth !== null && ` · ${edge.bandwidth} Gbit/s`}
                  </text>
                )}
              </g>
            );
          })}
          {machines.nodes.map((node) => {
            const [x, y] = at(node.name);
            const share = live.get(node.name)?.reading?.processor_share ?? null;
            const rank = rankByName.value.get(node.name);
            const state = live.get(node.name)?.state ?? (node.rank === null ? 'left out' : 'not joined');
            return (
              <g key={node.name} class={`machine ${node.rank === null ? 'out' : ''}`} data-testid="topology-node" transform={`translate(${x} ${y})`} onMouseEnter={() => (hovered.value = node.name)} onMouseLeave={() => (hovered.value = null)}>
                <circle r={17} fill={rank?.color ?? 'transparent'} />
                {share !== null && <circle class="ring" r={17} stroke-dasharray={`${share * kRing} ${kRing}`} transform="rotate(-90)" />}
                <text class="rank" y={4} text-anchor="middle">
                  {node.rank ?? '–'}
                </text>
                <text y={33} text-anchor="middle">
                  {node.name}
                </text>
                <title>{`${node.name}: ${state}${share === null ? '' : `, processors ${format.percent(share)}`}`}</title>
              </g>
            );
          })}
        </svg>
      )}
    </div>
  );
}

function EdgeTip({ edge }: { edge: Edge }) {
  return (
    <>
      <strong>
        {edge.from} – {edge.to}
      </strong>
      <div>
        {edge.transport} {edge.used ? '' : '(measured, no link of the running plan)'}
      </div>
      {edge.latency_us !== null && <div>latency {edge.latency_us} µs</div>}
      {edge.bandwidth !== null && <div>{edge.bandwidth} Gbit/s</div>}
      {edge.sent !== null && <div>now {format.bytes(edge.sent)}/s</div>}
      {edge.why && <div class="dim">{edge.why}</div>}
    </>
  );
}
