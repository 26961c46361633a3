/** One card of the metrics page: its series, its charts, its legend and its own buttons. */
import { csvUrl, type GroupCurve, type SeriesAnswer, type Wanted } from "../api/series.ts";
import { formatMoment, formatNumber, formatSeconds, type Unit } from "../lib/numbers.ts";
import { lookOf, metricOf, type Look, type State } from "../lib/state.ts";
import { nearest } from "../lib/thin.ts";
import { fileName, pngOf, save, svgOf, type Words } from "./export.ts";
import { linesOf as groupLines } from "./groups.ts";
import { LineChart, type View } from "./linechart.ts";
import { notesOf } from "./notes.ts";
import { Legend, Tools, button, fillTable, make } from "./panel.ts";
import type { Outside } from "./ranges.ts";
import type { Clock } from "./replay.ts";
import { MOST_WHOLE, pointsUntil, Series, type Line } from "./series.ts";

export interface CardEvents {
  change(changes: Partial<State>): void;
  look(title: string, look: Partial<Look> | null): void;
  /** The pointer, or the keyboard, is at this position of this card. */
  cursor(card: Card, x: number | null): void;
  say(text: string): void;
  full(card: Card, on: boolean): void;
}

const TABLE_ROWS = 12;
const MANY_LINES = 48;

export class Card {
  readonly title: string;
  readonly runs: readonly string[];
  readonly tags: readonly string[];
  readonly series: readonly Series[];
  private readonly host: HTMLElement;
  private readonly note = make("p", { class: "soft note" });
  private readonly picked = make("p", { class: "soft note" });
  private readonly fresh: HTMLButtonElement;
  private readonly legend: Legend;
  private readonly tools: Tools;
  private readonly unit: Unit;
  private readonly seconds: boolean;
  /** Height of one chart, that of the drawing the server made: nothing moves when it is replaced. */
  private readonly tall: number;
  private charts: LineChart[] = [];
  private lines: Line[] = [];
  private groups: GroupCurve[] | null = null;
  private groupsWished = "";
  private clock: Clock | null = null;
  private at = -1;
  /** End of the x axis when it was zoomed: what comes behind it is new. */
  private zoomedAt: { zoom: string; end: number } = { zoom: "", end: -Infinity };
  /** Width in CSS pixels the points were asked for. */
  width = 0;

  constructor(
    readonly element: HTMLElement,
    private state: State,
    private readonly events: CardEvents,
  ) {
    this.title = element.dataset["title"]!;
    this.unit = element.dataset["unit"] ?? "";
    this.seconds = element.dataset["seconds"] === "1";
    const lines = JSON.parse(element.dataset["lines"]!) as { run: string; tag: string; slot: number }[];
    const names = [...element.querySelectorAll<HTMLElement>(".legend .key")].map((each) => each.textContent ?? "");
    this.series = lines.map(({ run, tag, slot }, i) => new Series(run, tag, names[i] ?? tag, slot));
    this.runs = [...new Set(lines.map((line) => line.run))];
    this.tags = [...new Set(lines.map((line) => line.tag))];
    this.host = element.querySelector<HTMLElement>(".plot")!;
    this.width = this.host.clientWidth || 440;
    this.tall = Math.min(352, Math.max(200, this.host.clientHeight || 230));
    this.fresh = button("new data \u2192", "Go to the newest points", this.title, () => this.follow());
    this.fresh.className = "fresh";
    this.fresh.hidden = true;
    this.host.after(this.fresh, this.note, this.picked);
    this.legend = new Legend(element.querySelector<HTMLElement>(".legend")!, {
      toggle: (key) => this.hide(key),
      only: (key) => this.only(key),
    });
    this.tools = new Tools(this.title, this.tags, this.series.length, {
      pin: () => this.pin(),
      full: () => this.events.full(this, !this.isFull),
      png: () => void pngOf(this.charts, this.words()).then((blob) => blob && save(`${fileName(this.title)}.png`, blob)),
      svg: () => save(`${fileName(this.title)}.svg`, new Blob([svgOf(this.charts, this.words())], { type: "image/svg+xml" })),
      csv: () => csvUrl(this.runs.filter((run) => !this.state.hidden.includes(run)), this.tags),
      look: (look) => this.events.look(this.title, look),
      asPage: () => this.events.look(this.title, null),
      smoothed: (tag, on) => this.events.change({ raw: [...this.state.raw.filter((each) => each !== tag), ...(on ? [] : [tag])] }),
    });
    element.querySelector("h3")!.after(this.tools.element);
    this.addKeyboard();
    element.querySelector("details.numbers")?.addEventListener("toggle", () => this.showTable());
  }

  // Data

  get look(): Look {
    return lookOf(this.state, this.title);
  }

  private get grouped(): boolean {
    return this.state.group !== "" && this.runs.length > 1;
  }

  /** What to ask the server for, cursors aside; null where groups are all that is drawn. */
  wish(state: State, prepare: boolean): Omit<Wanted, "runs" | "tags" | "after"> {
    const { smooth } = lookOf(state, this.title);
    const largest = Math.max(...this.series.map((each) => each.n));
    // What the page has whole it smooths by itself, as fast as a slider moves; longer series come smoothed.
    const whole = (smooth > 0 || prepare) && largest <= MOST_WHOLE ? MOST_WHOLE : 0;
    const x = metricOf(state.x) ? state.x : state.x === "wall" || state.x === "relative" ? "time" : "step";
    return {
      // Of very many lines nobody sees every pixel, and each costs.
      px: Math.min(2000, Math.max(200, Math.round(this.width / (this.series.length > MANY_LINES ? 2 : 1)))),
      smooth,
      joined: state.joined,
      x,
      zoom: this.stretch(state),
      whole,
    };
  }

  /** The zoom in what the server counts in; null where that differs from run to run. */
  private stretch(state: State): [number, number] | null {
    if (!state.zoom || state.x === "relstep") return null;
    if (state.x !== "relative") return state.zoom;
    const start = this.series[0]?.start;
    if (this.runs.length > 1 || start == null) return null;
    return [start + 1000 * state.zoom[0], start + 1000 * state.zoom[1]];
  }

  /** Whether series have to be asked for. */
  lacks(state: State, prepare: boolean): boolean {
    if (state.group !== "" && this.runs.length > 1 && !state.members) return false;
    const wished = wishedOf(this.wish(state, prepare));
    return this.series.some((each) => each.isStale(wished, this.width));
  }

  /** Cursor of a series: -1 where it must come whole, null where there is none. */
  cursor(run: string, tag: string, wished: string): number | null {
    const found = this.series.find((each) => each.tag === tag && each.run === run);
    return found ? (found.isStale(wished, this.width) || wished.startsWith("metric") ? -1 : found.cursor) : null;
  }

  take(answer: SeriesAnswer, wished: string): boolean {
    const found = this.series.find((each) => each.tag === answer.tag && each.run === answer.run);
    return found ? found.take(answer, wished) : false;
  }

  groupsWish(state: State): string {
    return [state.group, state.band, state.x, lookOf(state, this.title).smooth, state.zoom].join(" ");
  }

  lacksGroups(state: State): boolean {
    return state.group !== "" && this.runs.length > 1 && this.groupsWished !== this.groupsWish(state);
  }

  takeGroups(groups: GroupCurve[], wished: string): void {
    this.groups = groups;
    this.groupsWished = wished;
  }

  /** Whether there is something to draw. A series that is not there stays away. */
  get loaded(): boolean {
    return this.grouped ? this.groups !== null : this.series.some((each) => each.loaded);
  }

  // Drawing

  render(state: State, clock: Clock | null = this.clock): void {
    this.state = state;
    this.clock = clock;
    const { look } = this;
    this.lines = this.grouped ? this.groupLines() : this.series.map((each) => this.lineOf(each, look));
    const hidden = new Set(state.hidden);
    const apart = look.layout !== "overlap" && this.lines.length > 1;
    const panes = apart ? this.lines.filter((line) => !hidden.has(line.key)).map((line) => [line]) : [this.lines];
    this.arrange(panes.length, apart ? look.layout : "overlap");
    const view = this.view(look, hidden);
    // Charts apart share the x axis of all.
    const zoom = apart && !view.zoom ? this.together(hidden) : view.zoom;
    this.charts.forEach((chart, i) => chart.show(panes[i]!, { ...view, zoom }));
    this.tools.show(look, this.title in state.own, state.raw, state.pins.includes(this.title));
    this.showValues(null);
    this.showNotes();
    this.showTable();
    this.charts.forEach((chart) => {
      chart.canvas?.setAttribute("role", "img");
      chart.canvas?.setAttribute("aria-label", this.describe());
    });
  }

  private lineOf(series: Series, look: Look): Line {
    const smooth = this.state.raw.includes(series.tag) ? 0 : look.smooth;
    return series.line({ x: this.state.x, smooth, joined: this.state.joined }, this.keyOf(series));
  }

  private keyOf(series: Series): string {
    return this.runs.length > 1 ? series.run : series.tag;
  }

  private groupLines(): Line[] {
    const found = groupLines(this.groups ?? [], this.state.group);
    if (!this.state.members) return found;
    const members = (this.groups ?? []).flatMap((group, slot) =>
      this.series
        .filter((each) => group.runs.includes(each.run) && each.loaded)
        .map((each) => ({ ...each.line({ x: this.state.x, smooth: this.look.smooth, joined: true }, found[slot]!.key), slot, raw: null, marks: [], breaks: [], alpha: 0.3 })),
    );
    return [...members, ...found];
  }

  private together(hidden: ReadonlySet<string>): [number, number] {
    let range: [number, number] = [Infinity, -Infinity];
    for (const line of this.lines) {
      if (hidden.has(line.key)) continue;
      for (let i = 0; i < line.x.length; i++) {
        const x = line.x[i]!;
        if (x === x && !(this.state.xLog && x <= 0)) range = [Math.min(range[0], x), Math.max(range[1], x)];
      }
    }
    return range[0] < range[1] ? range : [range[0] - 1, range[1] + 1];
  }

  /** Make as many charts as there are panes. */
  private arrange(count: number, layout: string): void {
    if (this.charts.length !== count || this.host.dataset["layout"] !== layout) {
      this.rest();
      this.host.replaceChildren();
      this.host.dataset["layout"] = layout;
      this.charts = Array.from({ length: count }, () => {
        const pane = count === 1 ? this.host : make("div", { class: "pane" });
        if (pane !== this.host) this.host.append(pane);
        return new LineChart(pane, this.view(this.look, new Set()), {
          onZoom: (stretch) => this.zoom(stretch),
          onYZoom: (stretch) => this.events.look(this.title, { yZoom: stretch }),
          onCursor: (x) => this.events.cursor(this, x),
          onPick: (x, y) => this.pick(x, y),
        }, () => this.height(count, layout));
      });
    }
    this.host.style.minHeight = "";
  }

  private height(count: number, layout: string): number {
    const rows = layout === "side" ? Math.ceil(count / 2) : count;
    const all = this.isFull ? Math.max(240, window.innerHeight - 190) : rows === 1 ? this.tall : rows * 150;
    return Math.max(120, Math.floor(all / Math.max(1, rows)));
  }

  /** Give the canvases back while nobody sees them; the place stays. */
  rest(): void {
    if (!this.charts.some((chart) => chart.canvas)) return;
    this.host.style.minHeight = `${this.host.offsetHeight}px`;
    for (const chart of this.charts) chart.destroy();
  }

  resize(): void {
    this.charts.forEach((chart) => chart.resize());
  }

  private view(look: Look, hidden: ReadonlySet<string>): View {
    const { x } = this.state;
    const metric = metricOf(x);
    return {
      xKind: metric ? "value" : x === "wall" ? "wall" : x === "relative" || (this.seconds && x !== "wall") ? "relative" : "step",
      xName: this.xName,
      xLog: this.state.xLog,
      yLog: look.yLog,
      outliers: look.outliers,
      zoom: this.state.zoom,
      yZoom: look.yZoom,
      unit: this.unit,
      hidden,
      until: this.clock && ((line) => (line.run ? this.clock!.until(line) : Infinity)),
      moments: this.moments(),
    };
  }

  /** Where the moment of the address lies on this axis: at the nearest point by time. */
  private moments(): number[] {
    const { at, x } = this.state;
    if (at === null) return [];
    if (x === "wall") return [at];
    const found = this.lines.flatMap((line) => {
      const { times } = line;
      const after = pointsUntil(times, at);
      const before = after - 1;
      if (before < 0 || after >= times.length) return [];
      const nearer = at - times[before]! <= times[after]! - at ? before : after;
      return [line.x[nearer]!];
    });
    return [...new Set(found)];
  }

  // Words

  /** Show the values at a position, or the last ones: of a replay, where it is. */
  showValues(x: number | null): void {
    const spots = x === null ? null : this.spotsAt(x);
    const rows = this.lines.filter((line) => line.alpha === 1).map((line) => {
      const off = this.state.hidden.includes(line.key);
      const end = this.charts[0]?.endOf(line) ?? line.x.length;
      let value = "\u2013";
      const spot = spots?.get(line.key);
      if (spot) value = `${this.textOf(line, spot.y, spot.x)} @ ${this.position(spot.x)}`;
      else if (!spots && end > 0) value = this.textOf(line, line.y[end - 1]!, line.x[end - 1]!);
      return { key: line.key, name: line.name, slot: line.slot, value, off };
    });
    if (rows.length) this.legend.show(rows);
  }

  private textOf(line: Line, y: number, x: number): string {
    if (!line.band) return formatNumber(y, this.unit);
    const i = nearest(line.x, x);
    const [low, high] = [line.band.low[i]!, line.band.high[i]!].map((each) => formatNumber(each, this.unit));
    if (this.state.band === "minmax") return `${formatNumber(y, this.unit)} (${low} to ${high})`;
    return `${formatNumber(y, this.unit)} \u00b1 ${formatNumber(line.band.high[i]! - y, this.unit)}`;
  }

  private spotsAt(x: number): Map<string, { x: number; y: number; time: number }> {
    const found = new Map<string, { x: number; y: number; time: number }>();
    for (const chart of this.charts) {
      const lines = this.charts.length > 1 ? chart.shown : this.lines;
      chart.valuesAt(x).forEach((spot, i) => {
        const line = lines[i];
        if (spot && line && line.alpha === 1) found.set(line.key, spot);
      });
    }
    return found;
  }

  setCursor(x: number | null): void {
    this.charts.forEach((chart) => chart.setCursor(x));
    this.showValues(x);
  }

  /** Draw a line above the others; null is none. */
  raise(key: string | null): void {
    this.charts.forEach((chart) => chart.raise(key));
  }

  private showNotes(): void {
    const metric = metricOf(this.state.x);
    const sum = (of: (each: Series) => number): number => this.series.reduce((all, each) => all + of(each), 0);
    const text = notesOf({
      ...this.outside(),
      sampled: this.series.some((each) => each.sampled),
      overwritten: this.state.joined && !this.grouped ? sum((each) => each.overwritten) : 0,
      unmatched: metric && !this.grouped ? sum((each) => each.unmatched) : 0,
      metric,
      interpolated: this.grouped && (this.groups ?? []).some((group) => !group.aligned),
    });
    if (this.note.textContent !== text) this.note.textContent = text;
    this.showFresh();
  }

  private outside(): Outside {
    const all = { above: 0, below: 0, unplaced: 0 };
    for (const chart of this.charts) {
      const found = chart.outside;
      all.above += found.above;
      all.below += found.below;
      all.unplaced += found.unplaced;
    }
    return all;
  }

  /** A zoomed card stays where it is, and says when something came behind it. */
  private showFresh(): void {
    const zoom = String(this.state.zoom);
    const end = this.newest();
    if (!this.state.zoom || this.zoomedAt.zoom !== zoom) this.zoomedAt = { zoom, end };
    this.fresh.hidden = !(this.state.zoom && end > this.zoomedAt.end && end > this.state.zoom[1]);
  }

  private newest(): number {
    return this.lines.reduce((most, line) => Math.max(most, line.x[line.x.length - 1] ?? -Infinity), -Infinity);
  }

  private follow(): void {
    const { zoom } = this.state;
    if (!zoom) return;
    const end = this.newest();
    this.events.change({ zoom: [end - (zoom[1] - zoom[0]), end] });
  }

  /** The highest step shown, where steps are the axis. */
  get replayStep(): number | null {
    if (this.state.x !== "step" || this.seconds) return null;
    const ends = this.lines.flatMap((line) => {
      const end = this.charts[0]?.endOf(line) ?? 0;
      return end > 0 ? [line.x[end - 1]!] : [];
    });
    return ends.length ? Math.max(...ends) : null;
  }

  private position(x: number): string {
    const kind = this.view(this.look, new Set()).xKind;
    if (kind === "wall") return formatMoment(x);
    if (kind === "value") return formatNumber(x);
    return kind === "step" ? Math.round(x).toLocaleString("en-US") : formatSeconds(x);
  }

  get xName(): string {
    const { x } = this.state;
    if (metricOf(x)) return metricOf(x);
    if (x === "wall") return "time";
    if (x === "relstep") return "steps since the first";
    return this.seconds || x === "relative" ? "time since start" : "step";
  }

  private describe(): string {
    const shown = this.lines.filter((line) => line.alpha === 1 && !this.state.hidden.includes(line.key));
    const lasts = shown.slice(0, 18).map((line) => {
      const last = line.y[line.y.length - 1];
      return `${line.name} ${last === undefined ? "has no points" : `last ${formatNumber(last, this.unit)}`}`;
    });
    const [chart] = this.charts;
    const range = chart ? `, ${this.xName} ${this.position(chart.x[0])} to ${this.position(chart.x[1])}` : "";
    return `${this.title}: ${shown.length} ${shown.length === 1 ? "line" : "lines"}${range}; ${lasts.join(", ")}`;
  }

  private words(): Words {
    const shown = this.lines.filter((line) => line.alpha === 1 && !this.state.hidden.includes(line.key));
    const legend = shown.map((line) => ({
      name: line.name, slot: line.slot,
      value: line.y.length ? this.textOf(line, line.y[line.y.length - 1]!, line.x[line.x.length - 1]!) : "",
    }));
    const smooth = this.look.smooth ? `, smoothed ${this.look.smooth}` : "";
    return { title: this.title, legend, xName: this.xName, yName: `${this.title}${this.unit ? ` (${this.unit})` : ""}${smooth}` };
  }

  private showTable(): void {
    const details = this.element.querySelector<HTMLDetailsElement>("details.numbers");
    const table = details?.querySelector("table");
    if (!details?.open || !table || !this.lines.length) return;
    const lines = this.lines.filter((line) => line.alpha === 1 && !this.state.hidden.includes(line.key));
    const longest = lines.reduce((a, b) => (b.x.length > a.x.length ? b : a), lines[0]!);
    const count = Math.min(TABLE_ROWS, longest?.x.length ?? 0);
    const rows = Array.from({ length: count }, (_, i) => {
      const x = longest.x[count === 1 ? 0 : Math.round((i * (longest.x.length - 1)) / (count - 1))]!;
      const spots = this.spotsAt(x);
      return [this.position(x), ...lines.map((line) => {
        const spot = spots.get(line.key);
        return spot && spot.x === x ? this.textOf(line, spot.y, spot.x) : "";
      })];
    });
    fillTable(table, this.xName, lines.map((line) => line.name), rows);
  }

  // What the reader does

  zoom(stretch: [number, number] | null): void {
    // A double click gives everything back, the y axis too.
    if (!stretch && this.state.own[this.title]?.yZoom) this.events.look(this.title, { yZoom: null });
    this.events.change({ zoom: stretch });
  }

  private hide(key: string): void {
    const { hidden } = this.state;
    this.events.change({ hidden: hidden.includes(key) ? hidden.filter((each) => each !== key) : [...hidden, key] });
  }

  private only(key: string): void {
    const keys = this.lines.filter((line) => line.alpha === 1).map((line) => line.key);
    const others = this.state.hidden.filter((each) => !keys.includes(each));
    this.events.change({ hidden: [...others, ...keys.filter((each) => each !== key)] });
  }

  pin(): void {
    const { pins } = this.state;
    this.events.change({ pins: pins.includes(this.title) ? pins.filter((each) => each !== this.title) : [...pins, this.title] });
  }

  get isFull(): boolean {
    return this.element.classList.contains("full");
  }

  setFull(on: boolean): void {
    this.element.classList.toggle("full", on);
    document.body.classList.toggle("has-full", on);
    this.resize();
    if (on) this.host.focus();
  }

  /** Say what was clicked, and lead to what the script printed then. */
  private pick(x: number, y: number): void {
    const near = [...this.spotsAt(x)].sort((a, b) => Math.abs(a[1].y - y) - Math.abs(b[1].y - y))[0];
    const line = near && this.lines.find((each) => each.key === near[0] && each.alpha === 1);
    if (!near || !line?.run || near[1].time !== near[1].time) return this.picked.replaceChildren();
    const [, spot] = near;
    const url = `/runs/${encodeURIComponent(line.run)}/output?at=${Math.round(spot.time)}`;
    this.picked.replaceChildren(
      `${line.name} ${formatNumber(spot.y, this.unit)} @ ${this.position(spot.x)}, ${formatMoment(spot.time)} `,
      make("a", { href: url }, "output then"),
    );
  }

  private addKeyboard(): void {
    const { host } = this;
    host.tabIndex = 0;
    host.setAttribute("role", "group");
    host.setAttribute("aria-label", `Chart of ${this.title}; arrow keys move along it`);
    host.addEventListener("keydown", (event) => {
      const ways: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      const way = ways[event.key];
      const line = this.lines.find((each) => each.alpha === 1 && !this.state.hidden.includes(each.key));
      if (way === undefined || !line?.x.length) return;
      event.preventDefault();
      const last = (this.charts[0]?.endOf(line) ?? line.x.length) - 1;
      const by = way * (event.shiftKey ? 10 : 1);
      const from = this.at < 0 ? (by < 0 ? last + 1 : -1) : this.at;
      this.at = Math.max(0, Math.min(last, from + by));
      const x = line.x[this.at]!;
      this.setCursor(x);
      this.events.cursor(this, x);
      const values = [...this.spotsAt(x)].map(([key, spot]) => {
        const name = this.lines.find((each) => each.key === key && each.alpha === 1)!.name;
        return `${name} ${formatNumber(spot.y, this.unit)}`;
      });
      this.events.say(`${this.xName} ${this.position(x)}: ${values.join(", ")}`);
    });
  }
}

/** What a series was asked for with, as one word: another one means other points. */
export function wishedOf(wish: Omit<Wanted, "runs" | "tags" | "after">): string {
  return `${wish.x} ${wish.smooth} ${wish.joined} ${wish.zoom} ${wish.whole}`;
}
