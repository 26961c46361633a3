/**
 * Metrics and system pages: charts that can be zoomed and smoothed, and follow a running run.
 *
 * The page comes complete from the server, with a drawn chart in each card; a card's chart becomes
 * a live one when it is first seen. Only cards in view are asked for and drawn.
 */
import "./metrics.css";
import { Card, save } from "../charts/card.ts";
import { fetchSeries, Refused, type Wanted } from "../api/series.ts";
import { Bar, RETRY_S } from "../lib/bar.ts";
import { MAX_SMOOTH, parseState, writeState, type State } from "../lib/state.ts";

const main = document.querySelector<HTMLElement>("#main")!;
/** Characters of names in one request, well below what an address may have. */
const MAX_NAMES = 3000;

class MetricsPage {
  private state: State = parseState(new URLSearchParams(location.search));
  private readonly cards: Card[] = [];
  private readonly visible = new Set<Card>();
  private readonly waiting = new Set<Card>();
  private live = main.dataset["live"] === "1";
  private timer: ReturnType<typeof setTimeout> | undefined;
  private busy = false;
  private again = false;
  private readonly bar = new Bar(document.querySelector<HTMLElement>(".live"));

  start(): void {
    const byElement = new Map<Element, Card>();
    const seen = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          const card = byElement.get(target) ?? (isIntersecting ? this.make(target as HTMLElement, byElement) : null);
          if (!card) continue;
          if (isIntersecting) this.appear(card);
          else this.visible.delete(card);
        }
      },
      { rootMargin: "200px 0px" },
    );
    for (const element of document.querySelectorAll("article[data-lines]")) seen.observe(element);
    this.controls();
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("resize", () => this.cards.forEach((card) => card.resize()));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw(true));
    document.addEventListener("visibilitychange", () => this.schedule(0));
    addEventListener("popstate", () => {
      this.state = parseState(new URLSearchParams(location.search));
      this.showControls();
      this.reload();
    });
    this.movePins();
    this.schedule();
  }

  private make(element: HTMLElement, byElement: Map<Element, Card>): Card {
    const card = new Card(element, this.state, {
      onZoom: (stretch) => this.change({ zoom: stretch }),
      onCursor: (from, x) => this.cursor(from, x),
      onPin: (title) => this.pin(title),
    });
    byElement.set(element, card);
    this.cards.push(card);
    return card;
  }

  private appear(card: Card): void {
    this.visible.add(card);
    if (!card.loaded) this.waiting.add(card);
    else card.render(this.state);
    this.schedule(0);
  }

  // State

  private change(changes: Partial<State>): void {
    const before = this.state;
    this.state = { ...this.state, ...changes };
    const query = new URLSearchParams(location.search);
    // Positions on one axis mean nothing on another.
    if (before.x !== this.state.x && !("zoom" in changes)) this.state.zoom = null;
    writeState(this.state, query);
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
    this.showControls();
    if (String(before.zoom) !== String(this.state.zoom)) this.reload();
    else this.redraw();
    this.schedule(0);
  }

  private redraw(anew = false): void {
    for (const card of this.visible) {
      if (anew) card.resize();
      if (card.loaded) card.render(this.state);
    }
  }

  /** Ask for everything in view again: another stretch has other points. */
  private reload(): void {
    for (const card of this.cards) card.forget();
    for (const card of this.visible) this.waiting.add(card);
    this.redraw();
    this.schedule(0);
  }

  // Data

  private schedule(delay_s?: number): void {
    clearTimeout(this.timer);
    if (delay_s === undefined) {
      if (!this.live || !this.state.pace || document.hidden) {
        if (!this.waiting.size) return;
        delay_s = 0;
      } else delay_s = this.state.pace;
    }
    this.timer = setTimeout(() => void this.look(), delay_s * 1000);
  }

  private async look(): Promise<void> {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    try {
      await this.pull();
      this.bar.reached(this.live, this.state.pace);
    } catch (error) {
      if (error instanceof Refused) this.bar.refused(error.message);
      else this.bar.lost();
      this.again = false;
      this.timer = setTimeout(() => void this.look(), RETRY_S * 1000);
      return;
    } finally {
      this.busy = false;
    }
    this.schedule(this.again ? 0 : undefined);
    this.again = false;
  }

  private async pull(): Promise<void> {
    const cards = [...this.visible];
    this.waiting.clear();
    const wanted = this.wanted(cards);
    for (const batch of wanted) {
      const answer = await fetchSeries(batch);
      const changed = new Set<Card>();
      for (const series of answer.series) {
        for (const card of cards) {
          if (card.cursor(series.run, series.tag) === null) continue;
          if (!series.anew && !series.x.length && !series.non_finite.length) continue;
          card.take(series, batch.smooth);
          changed.add(card);
        }
      }
      for (const card of changed) card.render(this.state);
      if (this.live && !answer.live) this.ended();
    }
  }

  /** Requests for what the cards lack: cards of the same runs together, within an address. */
  private wanted(cards: readonly Card[]): Wanted[] {
    const { zoom, x, smooth } = this.state;
    const axis = x === "step" ? ("step" as const) : ("time" as const);
    const stretch = zoom && x !== "relative" ? { from: zoom[0], to: zoom[1] } : {};
    const batches: { cards: Card[]; tags: Set<string>; runs: readonly string[]; size: number }[] = [];
    for (const card of cards) {
      if (!this.live && card.loaded && !card.stale) continue;
      const size = card.tags.join("").length;
      const last = batches.at(-1);
      const fits = last && String(last.runs) === String(card.runs) && last.size + size <= MAX_NAMES && last.tags.size < 40;
      const batch = fits ? last : { cards: [], tags: new Set<string>(), runs: card.runs, size: String(card.runs).length };
      if (batch !== last) batches.push(batch);
      batch.cards.push(card);
      batch.size += size;
      for (const tag of card.tags) batch.tags.add(tag);
    }
    return batches.map((batch) => {
      const tags = [...batch.tags];
      const cursor = (run: string, tag: string): number =>
        Math.min(...batch.cards.map((card) => card.cursor(run, tag) ?? Infinity), Number.MAX_SAFE_INTEGER);
      const known = (at: number): number => (at === Number.MAX_SAFE_INTEGER ? -1 : at);
      return {
        runs: batch.runs,
        tags,
        after: batch.runs.flatMap((run) => tags.map((tag) => known(cursor(run, tag)))),
        px: Math.min(2000, Math.max(200, Math.round(batch.cards[0]!.width))),
        smooth,
        axis,
        ...stretch,
      };
    });
  }

  /** The run is over: the head of the page says how, from the server's own words. */
  private ended(): void {
    this.live = false;
    void fetch(location.href)
      .then((response) => response.text())
      .then((text) => {
        const page = new DOMParser().parseFromString(text, "text/html");
        for (const part of [".facts", ".live"]) {
          const made = page.querySelector(part);
          if (made) document.querySelector(part)?.replaceWith(made);
        }
      });
  }

  // Pointer and keys

  private cursor(from: Card, x: number | null): void {
    for (const card of this.visible) {
      if (card === from) card.showValues(x);
      else card.setCursor(x);
    }
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea")) return;
    const full = this.cards.find((card) => card.element.classList.contains("full"));
    if (event.key === "Escape" && full) full.toggleFull(false);
    else if (event.key === "l") this.change({ yLog: !this.state.yLog });
    else if (event.key === "r" && this.state.zoom) this.change({ zoom: null });
    else if (event.key === "/") {
      event.preventDefault();
      document.querySelector<HTMLInputElement>("#tags")?.focus();
    }
  }

  private pin(title: string): void {
    const pins = this.state.pins.includes(title)
      ? this.state.pins.filter((each) => each !== title)
      : [...this.state.pins, title];
    this.change({ pins });
    location.reload();
  }

  private movePins(): void {
    if (!this.state.pins.length) return;
    const articles = [...document.querySelectorAll<HTMLElement>("article[data-title]")];
    const pinned = this.state.pins.flatMap((pin) => articles.filter((each) => each.dataset["title"] === pin));
    const group = document.querySelector("section.group");
    if (!pinned.length || !group) return;
    const section = document.createElement("section");
    section.className = "group";
    const heading = document.createElement("h2");
    heading.textContent = "Pinned";
    const cards = document.createElement("div");
    cards.className = "cards";
    cards.append(...pinned);
    section.append(heading, cards);
    group.before(section);
    for (const each of document.querySelectorAll("section.group")) {
      if (each.querySelector(".cards") && !each.querySelector("article")) each.remove();
    }
  }

  // Controls

  private controls(): void {
    const form = document.querySelector<HTMLFormElement>("[data-controls]");
    if (!form) return;
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      const field = (name: string): HTMLInputElement => form.elements.namedItem(name) as HTMLInputElement;
      this.change({
        x: field("x").value as State["x"],
        smooth: slideToWeight(Number(field("smooth").value)),
        xLog: field("xlog").checked,
        yLog: field("ylog").checked,
        outliers: !field("outliers").checked,
        pace: Number(field("pace").value),
      });
    });
    form.querySelector("[data-act=reset]")!.addEventListener("click", () => this.change({ zoom: null }));
    form.querySelector("[data-act=csv]")!.addEventListener("click", () => {
      const head = "run,series,step,time,value\n";
      const rows = this.cards.filter((card) => card.loaded).map((card) => card.csv().slice(head.length));
      save(`${main.dataset["name"]}.csv`, new Blob([head, ...rows], { type: "text/csv" }));
    });
    this.showControls();
  }

  private showControls(): void {
    const form = document.querySelector<HTMLFormElement>("[data-controls]");
    if (!form) return;
    const field = (name: string): HTMLInputElement => form.elements.namedItem(name) as HTMLInputElement;
    field("x").value = this.state.x;
    if (document.activeElement !== field("smooth")) field("smooth").value = String(weightToSlide(this.state.smooth));
    form.querySelector("output")!.value = this.state.smooth.toFixed(this.state.smooth > 0.99 ? 3 : 2);
    field("xlog").checked = this.state.xLog;
    field("ylog").checked = this.state.yLog;
    field("outliers").checked = !this.state.outliers;
    field("pace").value = String(this.state.pace);
    form.querySelector<HTMLElement>("[data-act=reset]")!.hidden = this.state.zoom === null;
  }
}

/** The slider is finer where smoothing is strong: its way is the logarithm of what is forgotten. */
function slideToWeight(slide: number): number {
  return Math.min(MAX_SMOOTH, Number((1 - 10 ** (-3 * slide)).toFixed(3)));
}

function weightToSlide(weight: number): number {
  return -Math.log10(1 - weight) / 3;
}

new MetricsPage().start();
