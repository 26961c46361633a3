/**
 * Metrics and system pages: charts that can be zoomed and smoothed, and follow a running run.
 *
 * The page comes complete from the server, with a drawn chart in each card; a card's chart becomes
 * a live one when it is first seen. Only cards in view are asked for and drawn.
 */
import "./metrics.css";
import { fetchPage, Refused } from "../api/series.ts";
import { Card } from "../charts/card.ts";
import { Controls } from "../charts/controls.ts";
import { Feed } from "../charts/feed.ts";
import { growCharts } from "../charts/grow.ts";
import { forgetColours } from "../charts/palette.ts";
import { make } from "../charts/panel.ts";
import { Pins } from "../charts/pins.ts";
import { clockOf, replayText } from "../charts/replay.ts";
import { Bar, RETRY_S } from "../lib/bar.ts";
import { registerKeys } from "../lib/keys.ts";
import { MAX_SMOOTH, parseState, writeState, type Look, type State } from "../lib/state.ts";

const main = document.querySelector<HTMLElement>("#main")!;
/** The reader's own smoothing, for pages whose address says none. */
const REMEMBERED = "guildlite.smooth";
/** The page is asked for anew at most this often while charts come. */
const GROWTH_MS = 1500;

class MetricsPage {
  private state: State = parseState(new URLSearchParams(location.search));
  private readonly cards = new Map<Element, Card>();
  private readonly visible = new Set<Card>();
  /** What series the runs had when the page was made; see `Answer`. */
  private known = keysOf(document);
  private grownAt = 0;
  private readonly feed = new Feed([...this.known.keys()]);
  private readonly seen = new IntersectionObserver((entries) => this.watch(entries), { rootMargin: "300px 0px" });
  private readonly pins = new Pins();
  private readonly bar = new Bar(document.querySelector<HTMLElement>(".live"));
  private readonly said = make("p", { class: "hidden", role: "status", "aria-live": "polite" });
  private readonly controls: Controls;
  private live = main.dataset["live"] === "1";
  private timer: ReturnType<typeof setTimeout> | undefined;
  private busy = false;
  private again = false;
  /** Whether whole series are fetched ahead of smoothing. */
  private prepared = false;
  private current: Card | null = null;
  private addressTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.controls = new Controls({
      change: (changes) => this.change(changes),
      prepare: () => this.prepare(),
      replay: {
        change: (replay, still) => this.change({ replay }, still),
        duration: () => clockOf(this.series(), 1).at_s,
      },
    });
  }

  start(): void {
    this.remember();
    main.append(this.said);
    for (const element of document.querySelectorAll("article[data-lines]")) this.seen.observe(element);
    this.keys();
    for (const event of ["pointerover", "focusin"]) {
      document.addEventListener(event, ({ target }) => {
        const named = (target as Element).closest<HTMLElement>("[data-raise]")?.dataset["raise"] ?? null;
        for (const card of this.visible) card.raise(named);
      });
    }
    addEventListener("resize", () => this.visible.forEach((card) => card.resize()));
    document.addEventListener("themechange", () => {
      forgetColours();
      this.redraw();
    });
    document.addEventListener("visibilitychange", () => this.schedule(0));
    addEventListener("popstate", () => {
      this.state = parseState(new URLSearchParams(location.search));
      this.update();
    });
    this.pins.show(this.state.pins);
    this.showControls();
    this.schedule();
  }

  private watch(entries: readonly IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of entries) {
      const card = this.cards.get(target) ?? (isIntersecting ? this.make(target as HTMLElement) : null);
      if (!card) continue;
      if (!isIntersecting) {
        this.visible.delete(card);
        if (!card.isFull) card.rest();
        continue;
      }
      this.visible.add(card);
      if (card.loaded) card.render(this.state, this.clock());
    }
    this.schedule(0);
  }

  private make(element: HTMLElement): Card {
    const card = new Card(element, this.state, {
      change: (changes) => this.change(changes),
      look: (title, look) => this.changeLook(title, look),
      cursor: (from, x) => this.cursor(from, x),
      say: (text) => (this.said.textContent = text),
      full: (one, on) => this.full(one, on),
    });
    for (const event of ["pointerenter", "focusin"]) element.addEventListener(event, () => (this.current = card));
    this.cards.set(element, card);
    return card;
  }

  // State

  /** Take what an earlier page was smoothed with, and say so in the address. */
  private remember(): void {
    if (new URLSearchParams(location.search).has("smooth")) return;
    try {
      const smooth = Number(localStorage.getItem(REMEMBERED) ?? 0);
      if (smooth > 0 && smooth <= MAX_SMOOTH) this.state = { ...this.state, smooth };
    } catch {
      return; // storage is switched off
    }
    if (this.state.smooth) this.writeAddress();
  }

  private change(changes: Partial<State>, still = true): void {
    const before = this.state;
    this.state = { ...before, ...changes };
    // Positions on one axis mean nothing on another.
    if (before.x !== this.state.x && !("zoom" in changes)) this.state.zoom = null;
    if (before.smooth !== this.state.smooth) {
      try {
        localStorage.setItem(REMEMBERED, String(this.state.smooth));
      } catch {
        // Then it is only in the address.
      }
    }
    if (still) this.writeSoon();
    this.update(before);
  }

  private changeLook(title: string, look: Partial<Look> | null): void {
    const own = { ...this.state.own };
    const before = own[title]?.yZoom;
    delete own[title];
    if (look) own[title] = { ...this.state.own[title], ...look };
    else if (before) own[title] = { yZoom: before };
    this.change({ own });
  }

  private update(before?: State): void {
    if (!before || String(before.pins) !== String(this.state.pins)) this.pins.show(this.state.pins);
    this.redraw();
    this.showControls();
    this.schedule(0);
  }

  /** Browsers allow some hundred changes of the address in half a minute, a slider makes more. */
  private writeSoon(): void {
    clearTimeout(this.addressTimer);
    this.addressTimer = setTimeout(() => this.writeAddress(), 100);
  }

  private writeAddress(): void {
    const query = new URLSearchParams(location.search);
    writeState(this.state, query);
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
  }

  private redraw(): void {
    const clock = this.clock();
    for (const card of this.visible) if (card.loaded) card.render(this.state, clock);
  }

  private series(): Card["series"][number][] {
    return [...this.cards.values()].flatMap((card) => card.series).filter((each) => each.loaded);
  }

  private clock(): ReturnType<typeof clockOf> | null {
    return this.state.replay ? clockOf(this.series(), this.state.replay.share) : null;
  }

  // Data

  private prepare(): void {
    if (this.prepared) return;
    this.prepared = true;
    this.schedule(0);
  }

  private schedule(delay_s?: number): void {
    clearTimeout(this.timer);
    if (delay_s === undefined) {
      if (!this.live || !this.state.pace || document.hidden) return;
      delay_s = this.state.pace;
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
    const { state } = this;
    this.feed.following = this.live && this.state.pace > 0;
    const clock = this.clock();
    const changed = new Set<Card>();
    const live = await this.feed.pull([...this.visible], state, this.prepared, (card) => {
      changed.add(card);
      if (this.visible.has(card) && card.loaded) card.render(this.state, clock);
    });
    if (changed.size) this.showControls();
    if (this.live && live === false) await this.ended();
    else if (this.feed.following && this.hasNew() && performance.now() - this.grownAt > GROWTH_MS) await this.grow();
  }

  /** The run is over: the head of the page says how, from the server's own words. */
  private async ended(): Promise<void> {
    const page = await this.grow();
    this.live = false;
    for (const part of [".facts", ".live"]) {
      const made = page.querySelector(part);
      if (made) document.querySelector(part)?.replaceWith(made);
    }
    this.showControls();
  }

  private hasNew(): boolean {
    return [...this.feed.keys].some(([run, word]) => this.known.get(run) !== word);
  }

  /** Put in what charts there are by now; the reader's own place, focus and choices stay. */
  private async grow(): Promise<Document> {
    this.known = new Map(this.feed.keys);
    const page = await fetchPage().catch((error: unknown) => {
      this.known = new Map();
      throw error;
    });
    this.grownAt = performance.now();
    const focused = document.activeElement;
    const { added, gone } = growCharts(page, this.pins);
    for (const element of added) this.seen.observe(element);
    for (const [element, successor] of gone) this.replace(element, successor, focused);
    this.controls.grown();
    this.pins.show(this.state.pins);
    this.showControls();
    return page;
  }

  /** Let what was chosen for one card be chosen for its successor. */
  private replace(element: HTMLElement, successor: HTMLElement | null, focused: Element | null): void {
    const card = this.cards.get(element);
    this.seen.unobserve(element);
    this.cards.delete(element);
    if (!card) return;
    card.rest();
    this.visible.delete(card);
    if (this.current === card) this.current = null;
    if (!successor?.dataset["lines"]) {
      if (card.isFull) document.body.classList.remove("has-full");
      return;
    }
    const [was, is] = [card.title, successor.dataset["title"]!];
    if (was !== is) {
      const { [was]: look, ...own } = this.state.own;
      this.state = {
        ...this.state,
        pins: this.state.pins.map((pin) => (pin === was ? is : pin)),
        own: look ? { ...own, [is]: look } : own,
      };
      this.writeSoon();
    }
    if (!focused || !element.contains(focused)) return;
    const made = this.make(successor);
    this.current = made;
    const words = labelOf(focused);
    const same = [...successor.querySelectorAll<HTMLElement>(focused.tagName)].find((each) => labelOf(each) === words);
    (same ?? successor.querySelector<HTMLElement>(".plot"))?.focus({ preventScroll: true });
  }

  // Pointer and keys

  private cursor(from: Card, x: number | null): void {
    for (const card of this.visible) {
      if (card === from) card.showValues(x);
      else card.setCursor(x);
    }
  }

  private get fullCard(): Card | undefined {
    return [...this.cards.values()].find((card) => card.isFull);
  }

  private full(card: Card, on: boolean): void {
    this.fullCard?.setFull(false);
    card.setFull(on);
    if (on) card.render(this.state, this.clock());
  }

  /** The card before or after the one that fills the window. */
  private turn(by: number): void {
    const full = this.fullCard;
    const articles = [...document.querySelectorAll<HTMLElement>("article[data-lines]")];
    const at = full ? articles.indexOf(full.element) : -1;
    const next = articles[at + by];
    if (!full || !next) return;
    const card = this.cards.get(next) ?? this.make(next);
    this.visible.add(card);
    this.full(card, true);
    this.schedule(0);
  }

  private keys(): void {
    const smooth = (by: number): void =>
      this.change({ smooth: Math.min(MAX_SMOOTH, Math.max(0, Number((this.state.smooth + by).toFixed(2)))) });
    registerKeys("Charts", [
      { key: "l", label: "log y axis", run: () => this.change({ yLog: !this.state.yLog }) },
      { key: "[", label: "smooth less", run: () => smooth(-0.1) },
      { key: "]", label: "smooth more", run: () => smooth(0.1) },
      { key: "r", label: "whole range", run: () => this.change({ zoom: null }) },
      { key: "p", label: "pin the chart pointed at", run: () => this.current?.pin() },
      { key: "f", label: "let it fill the window", run: () => this.current && this.full(this.current, !this.current.isFull) },
      { key: "PageDown", label: "next chart, in the full window", run: (event) => this.fullCard && (event.preventDefault(), this.turn(1)) },
      { key: "PageUp", label: "chart before", run: (event) => this.fullCard && (event.preventDefault(), this.turn(-1)) },
      { key: "Escape", label: "end the full window", run: () => this.fullCard?.setFull(false) },
      {
        key: "/", label: "filter",
        run: (event) => {
          event.preventDefault();
          document.querySelector<HTMLInputElement>("#tags")?.focus();
        },
      },
    ]);
  }

  // Controls

  private showControls(): void {
    const all = this.series();
    const clock = this.clock();
    const step = this.state.replay ? null : all.reduce<number | null>((most, each) => Math.max(most ?? -Infinity, each.lastStep ?? -Infinity), null);
    this.controls.show(this.state, {
      segmented: all.some((each) => each.segmented),
      lines: Math.max(0, ...[...this.cards.values()].map((card) => card.series.length)),
      step: step === null || !Number.isFinite(step) ? "" : `step ${step.toLocaleString("en-US")}`,
      ended: !this.live && all.length > 0,
    });
    this.controls.replay.show(this.state.replay, replayText(clock?.at_s ?? 0, this.replayStep()));
  }

  /** The step a replay has come to, where steps are the axis. */
  private replayStep(): number | null {
    const steps = [...this.visible].flatMap((card) => card.replayStep ?? []);
    return this.state.replay && steps.length ? Math.max(...steps) : null;
  }
}

/** For each run of a page what its series are, as a word. */
function keysOf(page: Document): Map<string, string> {
  const words = page.querySelector<HTMLElement>("#charts")?.dataset["keys"] ?? "{}";
  return new Map(Object.entries(JSON.parse(words) as Record<string, string>));
}

function labelOf(element: Element): string {
  return element.getAttribute("aria-label") ?? element.textContent ?? "";
}

new MetricsPage().start();
