/**
 * A page of charts that grows: what the server shows by now is put in beside what is there.
 *
 * A card whose lines are the same is left as it is. One that has got more lines, or was a single
 * number, is replaced by what the server makes of it, and stays open, in full or pinned.
 */
import { morph } from "../lib/morph.ts";
import type { Pins } from "./pins.ts";

export interface Growth {
  /** Charts to be brought to life. */
  added: HTMLElement[];
  /** Cards that went, and what stands for each now, if anything does. */
  gone: Map<HTMLElement, HTMLElement | null>;
}

/** Make the cards of this page those of `page`, which is the same one loaded now. */
export function growCharts(page: Document, pins: Pins): Growth {
  const growth: Growth = { added: [], gone: new Map() };
  const here = document.querySelector<HTMLElement>("#charts");
  const there = page.querySelector<HTMLElement>("#charts");
  if (!here || !there) return growth;
  const old = new Map(articlesOf(here).map((each) => [each.dataset["card"]!, each]));
  const wanted = articlesOf(there);
  const names = new Set(wanted.map((each) => each.dataset["card"]!));
  const left = new Set([...old].filter(([name]) => !names.has(name)).map(([, each]) => each));
  const cards = new Map<Element, HTMLElement>();
  for (const article of wanted) {
    const before = old.get(article.dataset["card"]!) ?? [...left].find((each) => isPartOf(each, article));
    if (before) left.delete(before);
    cards.set(article, before && isSame(before, article) ? before : take(article, before, pins, growth));
  }
  for (const each of left) {
    pins.remove(each);
    growth.gone.set(each, null);
  }
  arrange(here, there, cards, pins);
  showRest(here, there);
  return growth;
}

function articlesOf(place: HTMLElement): HTMLElement[] {
  return [...place.querySelectorAll<HTMLElement>("article[data-card]")];
}

/** Whether a card can stay; a number is set to its newest value. */
function isSame(here: HTMLElement, there: HTMLElement): boolean {
  if (here.dataset["lines"] !== there.dataset["lines"]) return false;
  if (here.dataset["lines"] === undefined) morph(here, there);
  return true;
}

/** Whether every line of one chart is on the other, as when validation joins training. */
function isPartOf(here: HTMLElement, there: HTMLElement): boolean {
  const lines = linesOf(here);
  const others = new Set(linesOf(there));
  return lines.length > 0 && lines.every((each) => others.has(each));
}

function linesOf(article: HTMLElement): string[] {
  const lines = JSON.parse(article.dataset["lines"] ?? "[]") as { run: string; tag: string }[];
  return lines.map(({ run, tag }) => `${run} ${tag}`);
}

function take(made: HTMLElement, before: HTMLElement | undefined, pins: Pins, growth: Growth): HTMLElement {
  const article = document.importNode(made, true);
  if (article.dataset["lines"] !== undefined) growth.added.push(article);
  if (!before) return article;
  growth.gone.set(before, article);
  const [was, is] = [before, article].map((each) => each.querySelector<HTMLDetailsElement>("details.numbers"));
  if (was && is) is.open = was.open;
  article.classList.toggle("full", before.classList.contains("full"));
  pins.replace(before, article);
  return article;
}

/** Bring groups and the cards in them into the server's order; what is in its place is not touched. */
function arrange(here: HTMLElement, there: HTMLElement, cards: ReadonlyMap<Element, HTMLElement>, pins: Pins): void {
  const groups = new Map(groupsOf(here).map((each) => [headOf(each), each]));
  let last: Node | null = here.querySelector("[data-pinned]");
  for (const made of groupsOf(there)) {
    const group = groups.get(headOf(made)) ?? emptyLike(made);
    groups.delete(headOf(made));
    last = putAfter(here, last, group);
    const list = group.querySelector<HTMLElement>(".cards")!;
    let place: Node | null = null;
    for (const article of articlesOf(made)) place = putAfter(list, place, pins.placeOf(cards.get(article)!));
  }
  for (const group of groups.values()) group.remove();
}

function groupsOf(place: HTMLElement): HTMLElement[] {
  return [...place.querySelectorAll<HTMLElement>(":scope > section.group:not([data-pinned])")];
}

function headOf(group: HTMLElement): string {
  return group.querySelector("h2")?.textContent ?? "";
}

function emptyLike(made: HTMLElement): HTMLElement {
  const group = document.importNode(made, true);
  group.querySelector(".cards")!.replaceChildren();
  return group;
}

/** Let a node be the next one after `last`, or the first; moves nothing that is. */
function putAfter(parent: Node, last: Node | null, node: Node): Node {
  let next = last ? last.nextSibling : parent.firstChild;
  while (next?.nodeType === Node.TEXT_NODE) next = next.nextSibling;
  if (next !== node) parent.insertBefore(node, next);
  return node;
}

/** What stands around the charts: the filter, what an empty page says, other pages, how to read. */
function showRest(here: HTMLElement, there: HTMLElement): void {
  for (const part of [".tools", "section.empty", "nav.pager", "details.same"]) {
    const shown = here.parentElement!.querySelector(`:scope > ${part}`);
    const made = there.parentElement!.querySelector(`:scope > ${part}`);
    if (shown && made) morph(shown, made);
    else if (shown) shown.remove();
    else if (made) here[there.compareDocumentPosition(made) & Node.DOCUMENT_POSITION_FOLLOWING ? "after" : "before"](document.importNode(made, true));
  }
}
