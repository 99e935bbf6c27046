// Means over the seconds before: prompts are counted when they are done, and come in bursts.

type Value = number | null;

/** Each value the mean of itself and those before it, `seconds` in all; null only where all of them are. */
export function smooth(values: Value[], seconds: number): Value[] {
  if (seconds <= 1) return values;
  return values.map((_, end) => {
    const known = values.slice(Math.max(0, end + 1 - seconds), end + 1).filter((value) => value !== null);
    return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
  });
}
