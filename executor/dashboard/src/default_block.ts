// Which block is open at first: the first decoder layer, which shows most.
import type { Shards } from './contract';

export function lazyDefault(shards: Shards): number {
  return Math.max(0, shards.blocks.findIndex((block) => block.name.startsWith('layers.')));
}
