/** How two columns go together, over the places where both have a number. */

/** Pearson's r from -1 to 1; null for fewer than three pairs or a column that does not vary. */
export function pearson(pairs: readonly (readonly [number, number])[]): number | null {
  const n = pairs.length;
  if (n < 3) return null;
  const mean = [0, 1].map((side) => pairs.reduce((sum, pair) => sum + pair[side]!, 0) / n);
  let [xy, xx, yy] = [0, 0, 0];
  for (const [x, y] of pairs) {
    xy += (x - mean[0]!) * (y - mean[1]!);
    xx += (x - mean[0]!) ** 2;
    yy += (y - mean[1]!) ** 2;
  }
  return xx > 0 && yy > 0 ? Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy))) : null;
}

/** Spearman's rho: Pearson's r of the ranks, equal values sharing the mean of theirs. */
export function spearman(pairs: readonly (readonly [number, number])[]): number | null {
  const sides = [0, 1].map((side) => ranks(pairs.map((pair) => pair[side]!)));
  return pearson(pairs.map((_, i) => [sides[0]![i]!, sides[1]![i]!] as const));
}

function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const found = new Array<number>(values.length);
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++;
    for (let i = from; i < to; i++) found[order[i]!] = (from + to - 1) / 2;
  }
  return found;
}
