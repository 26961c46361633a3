/** What a line is drawn from: positions and values of one length, in the order written. */
export interface Columns {
  x: ArrayLike<number>;
  y: ArrayLike<number>;
}

/**
 * Indices in [from, to) to draw so that the line looks the same in `buckets` columns of pixels:
 * ends, the extremes of each column, and one value of each gap. Every index when there are few.
 */
export function extremes(y: ArrayLike<number>, buckets: number, from = 0, to = y.length): number[] {
  const n = to - from;
  if (n <= 2 * buckets) return Array.from({ length: Math.max(0, n) }, (_, i) => from + i);
  const kept: number[] = [from];
  const put = (i: number): void => {
    if (i > kept[kept.length - 1]!) kept.push(i);
  };
  const per = n / buckets;
  for (let bucket = 0; bucket < buckets; bucket++) {
    const end = from + Math.floor((bucket + 1) * per);
    let low = -1;
    let high = -1;
    let gap = -1;
    for (let i = from + Math.floor(bucket * per); i < end; i++) {
      const value = y[i]!;
      if (value - value !== 0) gap = gap < 0 ? i : gap;
      else {
        if (low < 0 || value < y[low]!) low = i;
        if (high < 0 || value > y[high]!) high = i;
      }
    }
    // In their order; -1 for none is below every index kept.
    const first = low < high ? low : high;
    const second = low < high ? high : low;
    if (gap < first) put(gap);
    put(first);
    if (gap > first && gap < second) put(gap);
    put(second);
    if (gap > second) put(gap);
  }
  put(to - 1);
  return kept;
}

/** Index in [from, to) of the position nearest to `at` where positions do not fall; -1 for none. */
export function nearest(x: ArrayLike<number>, at: number, from = 0, to = x.length): number {
  let low = from;
  let high = to - 1;
  if (high < low) return -1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x[middle]! <= at) low = middle;
    else high = middle;
  }
  return at - x[low]! <= x[high]! - at ? low : high;
}

/** Indices where positions go back: a resumed training begins another segment there. */
export function breaksOf(steps: ArrayLike<number>): number[] {
  const found: number[] = [];
  for (let i = 1; i < steps.length; i++) if (steps[i]! < steps[i - 1]!) found.push(i);
  return found;
}

/** Segments [from, to) between breaks. */
export function segmentsOf(length: number, breaks: readonly number[]): [number, number][] {
  if (!length) return [];
  const ends = [0, ...breaks.filter((each) => each > 0 && each < length), length];
  return ends.slice(1).map((to, i) => [ends[i]!, to]);
}

/** Indices of the points that no later segment wrote again: those below its first step. */
export function notOverwritten(steps: ArrayLike<number>, breaks: readonly number[]): number[] {
  const kept: number[] = [];
  let limit = Infinity;
  for (const [from, to] of segmentsOf(steps.length, breaks).reverse()) {
    for (let i = to - 1; i >= from; i--) if (steps[i]! < limit) kept.push(i);
    limit = Math.min(limit, steps[from]!);
  }
  return kept.reverse();
}

/**
 * The range of what is usual: the middle nine tenths and half as much again at each side, never
 * beyond the values. A curve without outliers keeps its whole range.
 */
export function usualRange(values: number[]): [number, number] | null {
  if (values.length < 5) return null;
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))]!;
  const low = at(0.05);
  const high = at(0.95);
  const room = (high - low) / 2;
  const found: [number, number] = [Math.max(sorted[0]!, low - room), Math.min(sorted.at(-1)!, high + room)];
  return found[0] < found[1] ? found : null;
}
