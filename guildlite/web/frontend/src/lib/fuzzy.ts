/** Fuzzy search: the letters of a query in their order, best where they stand together. */

/** Points for a letter found: at all, right after the one before it, at the start of a word. */
const FOUND = 1;
const NEXT = 5;
const WORD = 4;
/** What a letter of the text that is passed over costs, at most. */
const SKIPPED = 0.1;
const MOST_SKIPPED = 3;

/** Return how well a text fits, higher is better, or null where it does not. Case does not count. */
export function fuzzyScore(query: string, text: string): number | null {
  let total = 0;
  for (const word of query.toLowerCase().split(/\s+/)) {
    const score = word && wordScore(word, text.toLowerCase());
    if (score === null) return null;
    total += Number(score);
  }
  return total;
}

/** The best of all ways through the text: for each place of a letter the best way to there. */
function wordScore(word: string, text: string): number | null {
  let ways = new Map<number, number>([[-1, 0]]);
  for (const [n, letter] of [...word].entries()) {
    const next = new Map<number, number>();
    for (let at = text.indexOf(letter); at >= 0; at = text.indexOf(letter, at + 1)) {
      for (const [last, score] of ways) {
        if (last >= at) continue;
        const here = score + gain(text, at, n ? last : null);
        if (here > (next.get(at) ?? -Infinity)) next.set(at, here);
      }
    }
    ways = next;
  }
  return ways.size ? Math.max(...ways.values()) : null;
}

/** What a letter found at a place counts, after one at `last`, null for the first. */
function gain(text: string, at: number, last: number | null): number {
  if (last !== null && at === last + 1) return FOUND + NEXT;
  if (at === 0 || !/[\p{L}\p{N}]/u.test(text[at - 1]!)) return FOUND + WORD;
  return FOUND - Math.min((at - (last ?? -1) - 1) * SKIPPED, MOST_SKIPPED);
}
