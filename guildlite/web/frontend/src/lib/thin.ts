/** What a line is drawn from: positions and values of one length, in the order written. */
export interface Columns {
  x: ArrayLike<number>;
  y: ArrayLike<number>;
}

/**
 * Indices to draw so that the line looks the same in `buckets` columns of pixels: ends, and the
 * extremes of each column. Every index when there are few. Positions must not fall.
 */
export function extremes(line: Columns, buckets: number): number[] {
  const n = line.x.length;
  if (n <= 2 * buckets) return Array.from({ length: n }, (_, i) => i);
  const kept: number[] = [0];
  const put = (i: number): void => {
    if (i > kept[kept.length - 1]!) kept.push(i);
  };
  const per = n / buckets;
  for (let bucket = 0; bucket < buckets; bucket++) {
    const from = Math.floor(bucket * per);
    const to = Math.floor((bucket + 1) * per);
    let low = from;
    let high = from;
    for (let i = from; i < to; i++) {
      if (line.y[i]! < line.y[low]!) low = i;
      if (line.y[i]! > line.y[high]!) high = i;
    }
    put(Math.min(low, high));
    put(Math.max(low, high));
  }
  put(n - 1);
  return kept;
}

/** Index of the position nearest to `at` in positions that do not fall; -1 when there are none. */
export function nearest(x: ArrayLike<number>, at: number): number {
  let low = 0;
  let high = x.length - 1;
  if (high < 0) return -1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x[middle]! <= at) low = middle;
    else high = middle;
  }
  return at - x[low]! <= x[high]! - at ? low : high;
}

/** Stretches [from, to) of positions that do not fall: a resumed training goes back. */
export function strokes(x: ArrayLike<number>): [number, number][] {
  const found: [number, number][] = [];
  let from = 0;
  for (let i = 1; i <= x.length; i++) {
    if (i === x.length || x[i]! < x[i - 1]!) {
      found.push([from, i]);
      from = i;
    }
  }
  return x.length ? found : [];
}

/** The range that holds all but the most extreme twentieth at each end, for "ignore outliers". */
export function middleRange(values: number[]): [number, number] | null {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length < 5) return null;
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))]!;
  const low = at(0.05);
  const high = at(0.95);
  return low < high ? [low, high] : null;
}
