// "tp[2,1]pp2 on desk, workstation | mini" and "one node on desk": the planner's names, taken apart.

export interface Arrangement {
  how: string;
  stages: string[][];
}

export function arrangement(name: string): Arrangement {
  const on = name.indexOf(' on ');
  if (on < 0) return { how: name, stages: [] };
  return { how: name.slice(0, on), stages: name.slice(on + 4).split(' | ').map((stage) => stage.split(', ')) };
}

/** The same in words. */
export function inWords({ how, stages }: Arrangement): string {
  const count = stages.flat().length;
  if (count === 1) return 'one node';
  if (stages.length === 1) return `every layer split over ${count} nodes`;
  if (count === stages.length) return `layers passed on through ${count} nodes`;
  return stages.length ? `${stages.length} stages, layers split inside, on ${count} nodes` : how;
}
