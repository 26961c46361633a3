/** What cards lack, as few requests as an address allows, and what came back. */
import { fetchGroups, fetchKeys, fetchSeries, type Wanted } from "../api/series.ts";
import { lookOf, metricOf, type State } from "../lib/state.ts";
import { wishedOf, type Card } from "./card.ts";

/** Characters of names in one request, well below what an address may have. */
const MAX_NAMES = 3000;
const MAX_TAGS = 40;

interface Batch {
  cards: Card[];
  runs: readonly string[];
  tags: Set<string>;
  size: number;
}

/** Put cards that can be asked for together together. */
export function batchesOf(cards: readonly Card[], keyOf: (card: Card) => string): Batch[] {
  const open = new Map<string, Batch>();
  const batches: Batch[] = [];
  for (const card of cards) {
    const key = `${card.runs} ${keyOf(card)}`;
    const size = card.tags.join("").length;
    let batch = open.get(key);
    if (!batch || batch.size + size > MAX_NAMES || batch.tags.size + card.tags.length > MAX_TAGS) {
      batch = { cards: [], runs: card.runs, tags: new Set(), size: String(card.runs).length };
      open.set(key, batch);
      batches.push(batch);
    }
    batch.cards.push(card);
    batch.size += size;
    for (const tag of card.tags) batch.tags.add(tag);
  }
  return batches;
}

export class Feed {
  /** Whether cards that lack nothing are asked for too: more may have come. */
  following = false;
  /** For each run what its series are, as a word; see `Answer`. */
  readonly keys = new Map<string, string>();

  /** `runs` are those of the page, which may have no chart as yet. */
  constructor(private readonly runs: readonly string[]) {}

  /**
   * Bring these cards up to date; `changed` is called as soon as one has something new. Says
   * whether more may come, null where nothing was asked.
   */
  async pull(cards: readonly Card[], state: State, prepare: boolean, changed: (card: Card) => void): Promise<boolean | null> {
    const series = cards.filter((card) => this.wantsSeries(card, state, prepare));
    const keys = new Map(series.map((card) => [card, wishedOf(card.wish(state, prepare))]));
    let live = false;
    let asked = false;
    const heard = new Set<string>();
    const hear = (words: Record<string, string>): void => {
      for (const [run, word] of Object.entries(words)) {
        this.keys.set(run, word);
        heard.add(run);
      }
    };
    for (const batch of batchesOf(series, (card) => keys.get(card)!)) {
      const answer = await fetchSeries(wantedOf(batch, state, prepare, keys.get(batch.cards[0]!)!));
      asked = true;
      live ||= answer.live;
      hear(answer.keys);
      const changedCards = new Set<Card>();
      for (const one of answer.series) {
        for (const card of batch.cards) {
          if (card.cursor(one.run, one.tag, keys.get(card)!) === null) continue;
          if (card.take(one, keys.get(card)!)) changedCards.add(card);
        }
      }
      changedCards.forEach(changed);
    }
    const grouped = cards.filter((card) => card.lacksGroups(state) || (this.following && state.group && card.runs.length > 1));
    for (const batch of batchesOf(grouped, (card) => String(lookOf(state, card.title).smooth))) {
      const wish = batch.cards[0]!.wish(state, false);
      const x = state.x === "wall" || state.x === "relative" ? state.x : "step";
      const answer = await fetchGroups({
        runs: batch.runs, tags: [...batch.tags], by: state.group, band: state.band, px: wish.px, x,
        smooth: lookOf(state, batch.cards[0]!.title).smooth,
        zoom: metricOf(state.x) || state.x === "relstep" ? null : state.zoom,
      });
      asked = true;
      live ||= answer.live;
      for (const card of batch.cards) {
        const found = answer.tags.find((each) => each.tag === card.tags[0]);
        card.takeGroups(found?.groups ?? [], card.groupsWish(state));
        changed(card);
      }
    }
    const unheard = this.runs.filter((run) => !heard.has(run));
    if (this.following && unheard.length) {
      const answer = await fetchKeys(unheard);
      asked = true;
      live ||= answer.live;
      hear(answer.keys);
    }
    return asked ? live : null;
  }

  private wantsSeries(card: Card, state: State, prepare: boolean): boolean {
    if (state.group && card.runs.length > 1 && !state.members) return false;
    return this.following || card.lacks(state, prepare);
  }
}

function wantedOf(batch: Batch, state: State, prepare: boolean, wished: string): Wanted {
  const tags = [...batch.tags];
  const after = batch.runs.flatMap((run) =>
    tags.map((tag) => {
      const cursors = batch.cards.map((card) => card.cursor(run, tag, wished)).filter((each) => each !== null);
      return cursors.length ? Math.min(...cursors) : -1;
    }),
  );
  const wish = batch.cards[0]!.wish(state, prepare);
  return { ...wish, px: Math.max(...batch.cards.map((card) => card.wish(state, prepare).px)), runs: batch.runs, tags, after };
}
