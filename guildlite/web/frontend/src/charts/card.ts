/** One card of the metrics page: its series, its chart, its legend and its own buttons. */
import type { SeriesAnswer } from "../api/series.ts";
import { LineChart, colourOf, type Line, type View } from "./linechart.ts";
import { formatMoment, formatNumber, formatSeconds, type Unit } from "../lib/numbers.ts";
import { smooth } from "../lib/smooth.ts";
import type { State } from "../lib/state.ts";

/** A series as far as it is known here. */
interface Known {
  run: string;
  tag: string;
  /** As the legend has it. */
  name: string;
  slot: number;
  cursor: number;
  steps: number[];
  times: (number | null)[];
  values: number[];
  /** The server's smoothed line where the points here are not all. */
  smoothed: SeriesAnswer["smooth"];
  nonFinite: SeriesAnswer["non_finite"];
  sampled: boolean;
  /** Points appended to a thinned series since it was asked for. */
  appended: number;
  start: number | null;
  smoothedWith: number;
}

export interface CardEvents {
  onZoom(stretch: [number, number] | null): void;
  onCursor(card: Card, x: number | null): void;
  onPin(title: string): void;
}

export class Card {
  readonly title: string;
  readonly runs: readonly string[];
  readonly tags: readonly string[];
  private readonly known: Known[];
  private readonly chart: LineChart;
  private readonly values: HTMLElement[];
  private readonly note: HTMLElement;
  private readonly unit: Unit;
  private readonly seconds: boolean;
  private state: State;
  private lines: Line[] = [];
  private hidden = new Set<string>();
  /** Width in CSS pixels the points were asked for. */
  width = 0;

  constructor(readonly element: HTMLElement, state: State, private readonly events: CardEvents) {
    this.state = state;
    this.title = element.dataset["title"]!;
    this.unit = element.dataset["unit"] ?? "";
    this.seconds = element.dataset["seconds"] === "1";
    const lines = JSON.parse(element.dataset["lines"]!) as { run: string; tag: string; slot: number }[];
    const names = [...element.querySelectorAll<HTMLElement>(".legend .key")].map((each) => each.textContent ?? "");
    this.runs = [...new Set(lines.map((line) => line.run))];
    this.tags = [...new Set(lines.map((line) => line.tag))];
    this.known = lines.map(({ run, tag, slot }, i) => ({
      run, tag, slot, name: names[i] ?? tag, cursor: -1, steps: [], times: [], values: [], smoothed: null,
      nonFinite: [], sampled: false, appended: 0, start: null, smoothedWith: 0,
    }));
    this.values = [...element.querySelectorAll<HTMLElement>(".legend b")];
    this.note = document.createElement("p");
    this.note.className = "soft note";
    const host = element.querySelector<HTMLElement>(".plot")!;
    this.width = host.clientWidth || 440;
    this.chart = new LineChart(host, this.view(), {
      onZoom: (stretch) => events.onZoom(stretch),
      onCursor: (x) => events.onCursor(this, x),
    });
    host.after(this.note);
    this.addButtons();
    this.addLegend();
    this.addKeyboard(host);
  }

  /** What to ask the server for: -1 where a series must come whole, null where there is none. */
  cursor(run: string, tag: string): number | null {
    const known = this.find(run, tag);
    return known ? (this.isStale(known) ? -1 : known.cursor) : null;
  }

  private find(run: string, tag: string): Known | undefined {
    return this.known.find((each) => each.tag === tag && each.run === run);
  }

  get loaded(): boolean {
    return this.known.every((each) => each.cursor >= 0);
  }

  forget(): void {
    for (const each of this.known) each.cursor = -1;
  }

  /** Take the server's answer for one of this card's series. */
  take(answer: SeriesAnswer, smoothedWith: number): void {
    const known = this.find(answer.run, answer.tag);
    if (!known) return;
    if (answer.anew) {
      known.steps = answer.x;
      known.times = answer.time;
      known.values = answer.y;
      known.nonFinite = answer.non_finite;
      known.smoothed = answer.smooth;
      known.smoothedWith = smoothedWith;
      known.sampled = answer.sampled;
      known.appended = 0;
    } else {
      for (let i = 0; i < answer.x.length; i++) {
        known.steps.push(answer.x[i]!);
        known.times.push(answer.time[i]!);
        known.values.push(answer.y[i]!);
      }
      known.nonFinite = known.nonFinite.concat(answer.non_finite);
      known.appended += answer.x.length;
    }
    known.start ??= answer.start;
    known.cursor = answer.cursor;
  }

  render(state: State): void {
    this.state = state;
    this.lines = this.known.map((each) => this.line(each));
    this.chart.show(this.lines, this.view());
    this.showLast();
    const outside = this.chart.outside;
    this.note.textContent = outside
      ? `${outside.toLocaleString("en-US")} ${outside === 1 ? "point" : "points"} outside the axis`
      : "";
    this.element.querySelector("canvas")?.setAttribute("role", "img");
    this.element.querySelector("canvas")?.setAttribute("aria-label", this.describe());
  }

  setCursor(x: number | null): void {
    this.chart.setCursor(x);
    this.showValues(x);
  }

  showValues(x: number | null): void {
    if (x === null) return this.showLast();
    this.chart.valuesAt(x).forEach((at, i) => {
      const value = this.values[i];
      if (value) value.textContent = at ? `${formatNumber(at.y, this.unit)} @ ${this.position(at.x)}` : "\u2013";
    });
  }

  resize(): void {
    this.chart.resize();
  }

  /** The shown lines as CSV with a column for each axis. */
  csv(): string {
    const quote = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = ["run,series,step,time,value"];
    for (const each of this.known) {
      each.steps.forEach((step, i) => {
        const time = each.times[i];
        rows.push([quote(each.run), quote(each.tag), step, time == null ? "" : new Date(time).toISOString(), each.values[i]].join(","));
      });
    }
    return rows.join("\n") + "\n";
  }

  // Lines

  private view(): View {
    return {
      xKind: this.seconds && this.state.x === "step" ? "seconds" : this.state.x,
      xLog: this.state.xLog,
      yLog: this.state.yLog,
      outliers: this.state.outliers,
      zoom: this.state.zoom,
      unit: this.unit,
    };
  }

  /** Whether what is known must be asked for anew, as after a change of smoothing. */
  get stale(): boolean {
    return this.known.some((each) => this.isStale(each));
  }

  private isStale(known: Known): boolean {
    const tooLong = known.sampled && known.appended > this.width / 2;
    const smoothing = known.sampled && known.smoothedWith !== this.state.smooth;
    // A smoothed line can be continued only from all of its points.
    const continued = known.sampled && this.state.smooth > 0 && known.appended > 0;
    return tooLong || smoothing || continued;
  }

  private line(known: Known): Line {
    const x = this.positions(known.steps, known.times, known.start);
    const line: Line = {
      name: known.name,
      slot: known.slot,
      x,
      y: known.values,
      raw: null,
      marks: known.nonFinite.map(([step, word, time]) => [
        this.positions([step], [time], known.start)[0]!,
        word === "inf" ? Infinity : word === "-inf" ? -Infinity : NaN,
      ]),
    };
    if (this.state.smooth === 0) return line;
    const raw = { x, y: known.values };
    if (!known.sampled) return { ...line, y: smooth(known.values, this.state.smooth), raw };
    if (!known.smoothed) return line;
    const { x: steps, y, time } = known.smoothed;
    return { ...line, x: this.positions(steps, time, known.start), y, raw };
  }

  private positions(steps: number[], times: (number | null)[], start: number | null): number[] {
    if (this.state.x === "step") return steps;
    const zero = this.state.x === "relative" ? (start ?? times.find((each) => each !== null) ?? 0) : 0;
    const scale = this.state.x === "relative" ? 1000 : 1;
    let last = zero;
    return times.map((time) => {
      last = time ?? last;
      return (last - zero) / scale;
    });
  }

  private position(x: number): string {
    const kind = this.view().xKind;
    if (kind === "wall") return formatMoment(x);
    return kind === "step" ? Math.round(x).toLocaleString("en-US") : formatSeconds(x);
  }

  private describe(): string {
    const words = this.lines.map((line) => {
      const last = line.y[line.y.length - 1];
      return `${line.name} ${last === undefined ? "has no points" : `last ${formatNumber(last, this.unit)}`}`;
    });
    return `${this.title}: ${words.join(", ")}`;
  }

  private showLast(): void {
    this.known.forEach((_, i) => {
      const value = this.values[i];
      const last = this.lines[i]?.y[(this.lines[i]?.y.length ?? 0) - 1];
      const text = last === undefined ? value?.dataset["server"] : formatNumber(last, this.unit);
      if (value && text) value.textContent = text;
    });
  }

  // Controls

  private addButtons(): void {
    const bar = document.createElement("p");
    bar.className = "card-tools";
    const add = (text: string, title: string, act: (button: HTMLButtonElement) => void): void => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.title = title;
      button.setAttribute("aria-label", `${title}: ${this.title}`);
      button.addEventListener("click", () => act(button));
      bar.append(button);
    };
    add("Pin", "Keep at the top", () => this.events.onPin(this.title));
    add("PNG", "Save as a picture", () => this.savePicture());
    add("CSV", "Save the points drawn", () => save(`${fileName(this.title)}.csv`, new Blob([this.csv()], { type: "text/csv" })));
    add("Full", "Fill the window, Esc ends", () => this.toggleFull());
    this.element.querySelector("h3")!.after(bar);
  }

  toggleFull(on = !this.element.classList.contains("full")): void {
    this.element.classList.toggle("full", on);
    document.body.classList.toggle("has-full", on);
    this.chart.resize();
  }

  private addLegend(): void {
    for (const [i, item] of [...this.element.querySelectorAll<HTMLElement>(".legend li")].entries()) {
      const name = this.known[i]?.name;
      const value = this.values[i];
      if (value) value.dataset["server"] = value.textContent ?? "";
      if (name === undefined || this.known.length < 2) continue;
      const words = item.querySelector<HTMLElement>(".key")!;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "key";
      button.append(...words.childNodes);
      button.setAttribute("aria-pressed", "true");
      button.title = "Show or hide; double click shows only this one";
      button.addEventListener("click", () => this.toggle(name));
      button.addEventListener("dblclick", () => this.only(name));
      words.replaceWith(button);
    }
  }

  private toggle(name: string): void {
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.hide();
  }

  private only(name: string): void {
    this.hidden = new Set(this.known.map((each) => each.name).filter((each) => each !== name));
    this.hide();
  }

  private hide(): void {
    const items = [...this.element.querySelectorAll<HTMLElement>(".legend li")];
    this.known.forEach(({ name }, i) => {
      items[i]?.classList.toggle("off", this.hidden.has(name));
      items[i]?.querySelector("button")?.setAttribute("aria-pressed", String(!this.hidden.has(name)));
    });
    this.chart.setHidden(this.hidden);
  }

  private addKeyboard(host: HTMLElement): void {
    host.tabIndex = 0;
    host.setAttribute("aria-label", `Chart of ${this.title}; arrow keys move along it`);
    let at = -1;
    host.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const x = this.lines[0]?.x ?? [];
      if (!x.length) return;
      event.preventDefault();
      const by = (event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 10 : 1);
      at = at < 0 ? (by < 0 ? x.length - 1 : 0) : Math.max(0, Math.min(x.length - 1, at + by));
      this.setCursor(x[at]!);
      this.events.onCursor(this, x[at]!);
    });
  }

  /** A picture with title and legend, since a chart is pasted without the page around it. */
  private savePicture(): void {
    const chart = this.chart.canvas;
    if (!chart) return;
    const ratio = devicePixelRatio || 1;
    const row = 20 * ratio;
    const rows = this.known.length + 1;
    const picture = document.createElement("canvas");
    picture.width = chart.width;
    picture.height = chart.height + rows * row + row;
    const pen = picture.getContext("2d")!;
    const style = getComputedStyle(document.documentElement);
    pen.fillStyle = style.getPropertyValue("--paper");
    pen.fillRect(0, 0, picture.width, picture.height);
    pen.textBaseline = "middle";
    pen.font = `600 ${14 * ratio}px ${style.getPropertyValue("--sans")}`;
    pen.fillStyle = style.getPropertyValue("--text");
    pen.fillText(this.title, row / 2, row * 0.8);
    pen.font = `${12 * ratio}px ${style.getPropertyValue("--sans")}`;
    this.known.forEach(({ name, slot }, i) => {
      const y = row * (i + 1.8);
      pen.fillStyle = colourOf(slot);
      pen.fillRect(row / 2, y - ratio, row, 2 * ratio);
      pen.fillStyle = style.getPropertyValue("--text");
      pen.fillText(`${name}  ${this.values[i]?.textContent ?? ""}`, row * 1.8, y);
    });
    pen.drawImage(chart, 0, rows * row + row / 2);
    const axis = { step: "step", relative: "time since start", wall: "time", seconds: "time since start" };
    pen.textAlign = "right";
    pen.fillStyle = style.getPropertyValue("--muted");
    pen.fillText(axis[this.view().xKind], picture.width - row / 2, row * 0.8);
    picture.toBlob((blob) => blob && save(`${fileName(this.title)}.png`, blob));
  }
}

export function save(name: string, blob: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function fileName(title: string): string {
  return title.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^-+|-+$/g, "") || "chart";
}
