// Ranks as people see them: a name, a colour, a place in the pipeline.
import { computed } from '@preact/signals';
import { plan, topology } from './store';

export interface Rank {
  rank: number;
  name: string;
  stage: number;
  color: string;
}

const kHues = [262, 185, 75, 22, 315, 135];

/** Few ranks have hues that go together; many are as far apart on the circle as can be, in turns lighter and darker. Black text is
 * readable on all. */
function color(rank: number, of: number): string {
  if (of <= kHues.length) return `oklch(${rank === 0 ? 0.72 : 0.79} 0.12 ${kHues[rank]})`;
  return `oklch(${rank % 2 ? 0.84 : 0.73} 0.115 ${((262 + (rank * 360) / of) % 360).toFixed(0)})`;
}

export const ranks = computed<Rank[]>(() => {
  const world = plan.value?.world_size ?? 0;
  const sizes = plan.value?.stage_sizes ?? [];
  const names = new Map(topology.value?.nodes.map((node) => [node.rank, node.name]));
  let stage = 0;
  let end = sizes[0] ?? world;
  return Array.from({ length: world }, (_, rank) => {
    while (rank >= end && stage + 1 < sizes.length) end += sizes[++stage]!;
    return { rank, name: names.get(rank) ?? `rank ${rank}`, stage, color: color(rank, world) };
  });
});

export const rankByName = computed(() => new Map(ranks.value.map((rank) => [rank.name, rank])));
