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

/** The best way through, over all places of the first letter. */
function wordScore(word: string, text: string): number | null {
  let best: number | null = null;
  for (let start = text.indexOf(word[0]!); start >= 0; start = text.indexOf(word[0]!, start + 1)) {
    const score = scoreFrom(word, text, start);
    if (score === null) break; // what does not fit from here fits from no later place
    if (best === null || score > best) best = score;
  }
  return best;
}

function scoreFrom(word: string, text: string, start: number): number | null {
  let score = -Math.min(start * SKIPPED, MOST_SKIPPED);
  let last = start - 1;
  for (const letter of word) {
    const at = text.indexOf(letter, last + 1);
    if (at < 0) return null;
    score += FOUND;
    if (at === last + 1 && at !== start) score += NEXT;
    else if (at === 0 || !/[\p{L}\p{N}]/u.test(text[at - 1]!)) score += WORD;
    else score -= Math.min((at - last - 1) * SKIPPED, MOST_SKIPPED);
    last = at;
  }
  return score;
}
