/**
 * Parallel coordinates: an axis for each column, a line for each run.
 *
 * Ten thousand lines are drawn once, faint, and kept as a bitmap; while brushing only what is chosen
 * is drawn over it. Runs without a value pass through a notch below the axis.
 */
import type { Axis } from "./axis.ts";
import type { Colouring } from "./colours.ts";
import type { Brush, Brushes } from "./select.ts";
import { CanvasSurface, FONT_SIZE, SvgSurface, themed, type Pen, type Surface } from "./surface.ts";

export interface ParallelEvents {
  /** The brushes of a column while and after they are dragged. */
  onBrush(name: string, brushes: Brush[], done: boolean): void;
  onMove(name: string, to: number): void;
  onFlip(name: string): void;
  /** The run under the pointer, or null. */
  onHover(run: number | null): void;
  onPick(run: number): void;
}

export interface ParallelView {
  axes: readonly Axis[];
  brushes: Brushes;
  colouring: Colouring;
  mask: Uint8Array;
}

const TOP = 52;
const BOTTOM = 44;
const LEFT = 56;
/** Wider than the left: the last axis has its labels there. */
const RIGHT = 88;
/** Below the axis, where runs without a value pass. */
const NOTCH = 22;
/** Least pixels between two axes; more axes than fit scroll sideways. */
const LEAST_GAP = 104;
/** Half the width that a brush is taken by. */
const REACH = 12;
const EDGE = 6;
/** Lines drawn while dragging, so that the hand is followed; all of them when it rests. */
const WHILE_DRAGGING = 3000;

type Drag =
  | { kind: "head"; axis: number; x: number; moved: boolean }
  | { kind: "new" | "move" | "low" | "high"; axis: number; own: number; from: number; span: [number, number]; moved: boolean };

export class ParallelChart {
  private readonly layers: HTMLCanvasElement[];
  private view: ParallelView | null = null;
  private width = 0;
  private height = 420;
  /** What the faint bitmap was drawn from. */
  private faint: unknown[] = [];
  private drag: Drag | null = null;
  private hovered: number | null = null;
  private queued = 0;

  constructor(private readonly host: HTMLElement, private readonly events: ParallelEvents) {
    this.layers = [0, 1, 2].map(() => document.createElement("canvas"));
    this.host.classList.add("layers");
    this.host.append(...this.layers);
    const top = this.layers[2]!;
    this.layers.slice(0, 2).forEach((each) => each.setAttribute("aria-hidden", "true"));
    top.setAttribute("role", "img");
    top.addEventListener("pointerdown", (event) => this.down(event));
    top.addEventListener("pointermove", (event) => this.moved(event));
    top.addEventListener("pointerup", (event) => this.up(event));
    top.addEventListener("pointercancel", () => this.cancel());
    top.addEventListener("pointerleave", () => this.hover(null));
  }

  get canvas(): HTMLCanvasElement {
    return this.layers[2]!;
  }

  show(view: ParallelView, sentence: string): void {
    this.view = view;
    this.canvas.setAttribute("aria-label", sentence);
    this.resize();
    this.redraw();
  }

  /** Raise the line of a run that is pointed at elsewhere. */
  raise(run: number | null): void {
    this.hovered = run;
    this.drawTop();
  }

  redraw(): void {
    if (this.queued) return;
    this.queued = requestAnimationFrame(() => {
      this.queued = 0;
      this.drawFaint();
      this.drawChosen();
      this.drawTop();
    });
  }

  svg(): string {
    const surface = new SvgSurface(this.width, this.height, themed("--sans"), themed("--paper"));
    if (this.someLeftOut()) this.lines(surface, this.every(false), faintness(this.view!.mask.length), true);
    this.lines(surface, this.every(true), this.alpha(), false);
    this.axes(surface);
    return surface.toString();
  }

  png(done: (blob: Blob | null) => void): void {
    const ratio = devicePixelRatio || 1;
    const picture = document.createElement("canvas");
    picture.width = this.width * ratio;
    picture.height = this.height * ratio;
    const ctx = picture.getContext("2d")!;
    ctx.fillStyle = themed("--paper");
    ctx.fillRect(0, 0, picture.width, picture.height);
    for (const layer of this.layers) ctx.drawImage(layer, 0, 0);
    picture.toBlob(done);
  }

  // Places

  private resize(): void {
    const view = this.view!;
    const room = this.host.parentElement?.clientWidth || 800;
    this.width = Math.max(room, LEFT + RIGHT + LEAST_GAP * (view.axes.length - 1));
    const ratio = devicePixelRatio || 1;
    for (const layer of this.layers) {
      if (layer.width === Math.round(this.width * ratio) && layer.height === this.height * ratio) continue;
      layer.width = Math.round(this.width * ratio);
      layer.height = this.height * ratio;
      layer.style.width = `${this.width}px`;
      layer.style.height = `${this.height}px`;
      this.faint = [];
    }
    this.host.style.width = `${this.width}px`;
    this.host.style.height = `${this.height}px`;
  }

  private x(axis: number): number {
    const gaps = this.view!.axes.length - 1;
    return gaps ? LEFT + (axis * (this.width - LEFT - RIGHT)) / gaps : this.width / 2;
  }

  private y(position: number): number {
    const bottom = this.height - BOTTOM;
    return Number.isNaN(position) ? bottom + NOTCH : bottom - position * (bottom - TOP);
  }

  private at(y: number): number {
    const bottom = this.height - BOTTOM;
    return Math.min(1, Math.max(0, (bottom - y) / (bottom - TOP)));
  }

  // Drawing

  private pen(layer: number): CanvasRenderingContext2D {
    const canvas = this.layers[layer]!;
    const ctx = canvas.getContext("2d")!;
    const ratio = devicePixelRatio || 1;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.lineJoin = "bevel";
    return ctx;
  }

  private drawFaint(): void {
    const { axes } = this.view!;
    const someLeftOut = this.someLeftOut();
    const made = [someLeftOut, themed("--muted"), ...axes];
    if (made.length === this.faint.length && made.every((each, i) => each === this.faint[i])) return;
    this.faint = made;
    const surface = new CanvasSurface(this.pen(0), themed("--sans"));
    // All of them: which are chosen changes with every move of the hand, the bitmap does not.
    const all = [...this.view!.mask.keys()];
    if (someLeftOut) this.lines(surface, all, faintness(all.length), true);
  }

  private drawChosen(): void {
    let runs = this.every(true);
    if (this.drag && this.drag.kind !== "head" && runs.length > WHILE_DRAGGING) {
      const stride = runs.length / WHILE_DRAGGING;
      runs = Array.from({ length: WHILE_DRAGGING }, (_, i) => runs[Math.floor(i * stride)]!);
    }
    this.lines(new CanvasSurface(this.pen(1), themed("--sans")), runs, this.alpha(), false);
  }

  private drawTop(): void {
    if (!this.view) return;
    const surface = new CanvasSurface(this.pen(2), themed("--sans"));
    const run = this.hovered;
    if (run !== null) {
      surface.stroke(themed("--paper"), 5, 0.9, (pen) => this.trace(pen, run));
      surface.stroke(themed("--text"), 2.2, 1, (pen) => this.trace(pen, run));
    }
    this.axes(surface);
  }

  private someLeftOut(): boolean {
    return this.view!.mask.includes(0);
  }

  private every(chosen: boolean): number[] {
    const found: number[] = [];
    this.view!.mask.forEach((each, i) => {
      if (Boolean(each) === chosen) found.push(i);
    });
    return found;
  }

  /** Many lines over one another are paler, so that where most go is seen. */
  private alpha(): number {
    const many = this.every(true).length;
    return many < 50 ? 0.9 : many < 500 ? 0.55 : many < 3000 ? 0.3 : 0.18;
  }

  private lines(surface: Surface, runs: readonly number[], alpha: number, grey: boolean): void {
    const { colours, of } = this.view!.colouring;
    if (grey) return this.batch(surface, themed("--muted"), alpha, runs);
    const groups: number[][] = colours.map(() => []);
    for (const run of runs) groups[of[run]!]!.push(run);
    groups.forEach((each, i) => this.batch(surface, colours[i]!, alpha, each));
  }

  /**
   * Each line by itself: where many go is seen by their overlap, and one path of fifty lines takes six
   * times as long as fifty paths. Lines one pixel wide are drawn three times as fast as wider ones.
   */
  private batch(surface: Surface, colour: string, alpha: number, runs: readonly number[]): void {
    const width = runs.length < 50 ? 1.6 : 1;
    for (const run of runs) surface.stroke(colour, width, alpha, (pen) => this.trace(pen, run));
  }

  private trace(pen: Pen, run: number): void {
    const { axes } = this.view!;
    for (let i = 0; i < axes.length; i++) {
      const x = this.x(i);
      const y = this.y(axes[i]!.positions[run]!);
      if (i) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      // With one axis a line has no length.
      if (axes.length === 1) pen.lineTo(x + 14, y);
    }
  }

  private axes(surface: Surface): void {
    this.view!.axes.forEach((axis, i) => this.axis(surface, axis, i));
    const { drag } = this;
    if (drag?.kind === "head" && drag.moved) {
      surface.stroke(themed("--accent"), 2, 1, (pen) => {
        pen.moveTo(drag.x, TOP - 40);
        pen.lineTo(drag.x, this.height - BOTTOM);
      });
    }
  }

  private axis(surface: Surface, axis: Axis, i: number): void {
    const x = this.x(i);
    const { axes, brushes } = this.view!;
    const [ink, muted, paper] = [themed("--text"), themed("--muted"), themed("--paper")];
    surface.stroke(muted, 1.5, 1, (pen) => {
      pen.moveTo(x, this.y(1));
      pen.lineTo(x, this.y(0));
    });
    for (const { at, label } of axis.ticks(27 / (this.height - TOP - BOTTOM))) {
      const y = this.y(at);
      surface.stroke(muted, 1, 1, (pen) => {
        pen.moveTo(x - 4, y);
        pen.lineTo(x + 4, y);
      });
      const words = cut(label, 11);
      const width = words.length * 6.6 + 4;
      // Lines pass behind the labels.
      surface.rect(x + 7, y - 8, width, 16, paper, 0.72);
      surface.text(x + 9, y, words, { colour: ink });
    }
    if (axis.missing) {
      const y = this.y(NaN);
      surface.rect(x - 7, y - 4, 14, 8, paper, 1, muted);
      surface.text(x, y + 14, `none ${axis.missing}`, { colour: muted, align: "center" });
    }
    const room = axes.length > 1 ? this.x(1) - this.x(0) : this.width;
    const heads = wrapped(axis.column.head, Math.floor((room - 10) / 6.8));
    heads.forEach((words, row) => {
      surface.text(x, TOP - 18 - (heads.length - 1 - row) * (FONT_SIZE + 3), words, { colour: ink, align: "center", bold: true });
    });
    const marks = [axis.flipped ? "flipped" : "", axis.scale === "linear" ? "" : axis.scale].filter(Boolean).join(", ");
    if (marks && heads.length < 3) surface.text(x, this.height - 8, axis.missing ? "" : marks, { colour: muted, align: "center" });
    for (const brush of brushes.get(axis.column.name) ?? []) this.brush(surface, axis, x, brush);
  }

  private brush(surface: Surface, axis: Axis, x: number, brush: Brush): void {
    const accent = themed("--accent");
    if (brush === "none") {
      surface.rect(x - 9, this.y(NaN) - 6, 18, 12, accent, 0.35, accent);
      return;
    }
    const [low, high] = this.span(axis, brush);
    const top = this.y(high) - 3;
    surface.rect(x - REACH / 1.5, top, (REACH / 1.5) * 2, this.y(low) + 3 - top, accent, 0.28, accent);
  }

  private span(axis: Axis, brush: Exclude<Brush, "none">): [number, number] {
    const [a, b] = [axis.place(brush.low), axis.place(brush.high)];
    return [Math.min(a, b), Math.max(a, b)];
  }

  // Pointer

  private down(event: PointerEvent): void {
    if (event.button || !this.view) return;
    const axis = this.near(event);
    if (axis === null) {
      if (this.hovered !== null) this.events.onPick(this.hovered);
      return;
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.hover(null);
    const y = event.offsetY;
    const shown = this.view.axes[axis]!;
    if (y < TOP - 6) this.drag = { kind: "head", axis, x: event.offsetX, moved: false };
    else if (y > this.height - BOTTOM + 10) this.toggleNone(shown);
    else this.drag = this.grab(axis, y);
  }

  private grab(axis: number, y: number): Drag {
    const shown = this.view!.axes[axis]!;
    const own = this.own(shown);
    const from = this.at(y);
    for (let i = own.length - 1; i >= 0; i--) {
      const brush = own[i]!;
      if (brush === "none") continue;
      const span = this.span(shown, brush);
      const [top, bottom] = [this.y(span[1]) - 3, this.y(span[0]) + 3];
      if (y < top - EDGE || y > bottom + EDGE) continue;
      const tall = bottom - top > 3 * EDGE;
      const kind = tall && y - top < EDGE ? "high" : tall && bottom - y < EDGE ? "low" : "move";
      return { kind, axis, own: i, from, span, moved: false };
    }
    return { kind: "new", axis, own: own.length, from, span: [from, from], moved: false };
  }

  private own(axis: Axis): Brush[] {
    return [...(this.view!.brushes.get(axis.column.name) ?? [])];
  }

  private toggleNone(axis: Axis): void {
    if (!axis.missing) return;
    const own = this.own(axis);
    const without = own.filter((each) => each !== "none");
    this.events.onBrush(axis.column.name, without.length < own.length ? without : [...own, "none"], true);
  }

  private moved(event: PointerEvent): void {
    const { drag } = this;
    if (!this.view) return;
    if (!drag) return this.point(event);
    if (drag.kind === "head") {
      drag.moved ||= Math.abs(event.offsetX - this.x(drag.axis)) > 10 && Math.abs(event.offsetX - drag.x) > 3;
      if (drag.moved) drag.x = event.offsetX;
      return this.drawTop();
    }
    const at = this.at(event.offsetY);
    if (!drag.moved && Math.abs(this.y(at) - this.y(drag.from)) < 4) return;
    drag.moved = true;
    this.send(drag, at, false);
  }

  private send(drag: Exclude<Drag, { kind: "head" }>, at: number, done: boolean): void {
    const axis = this.view!.axes[drag.axis]!;
    const own = this.own(axis);
    let [low, high] = drag.span;
    if (drag.kind === "new") [low, high] = [Math.min(drag.from, at), Math.max(drag.from, at)];
    else if (drag.kind === "low") low = Math.min(at, high);
    else if (drag.kind === "high") high = Math.max(at, low);
    else {
      const by = Math.min(1 - high, Math.max(-low, at - drag.from));
      [low, high] = [low + by, high + by];
    }
    own[drag.own] = { low: axis.valueAt(low), high: axis.valueAt(high) };
    this.events.onBrush(axis.column.name, own, done);
  }

  private up(event: PointerEvent): void {
    const { drag } = this;
    this.drag = null;
    if (!drag || !this.view) return;
    const axis = this.view.axes[drag.axis]!;
    if (drag.kind === "head") {
      if (!drag.moved) this.events.onFlip(axis.column.name);
      else this.events.onMove(axis.column.name, this.nearest(event.offsetX));
    } else if (drag.moved) this.send(drag, this.at(event.offsetY), true);
    else if (drag.kind !== "new") {
      // A brush that is only clicked is taken away.
      this.events.onBrush(axis.column.name, this.own(axis).filter((_, i) => i !== drag.own), true);
    } else this.redraw();
  }

  private cancel(): void {
    this.drag = null;
    this.redraw();
  }

  private nearest(x: number): number {
    const gaps = this.view!.axes.length - 1;
    if (!gaps) return 0;
    return Math.max(0, Math.min(gaps, Math.round(((x - LEFT) / (this.width - LEFT - RIGHT)) * gaps)));
  }

  /** The axis that a press here is about: heads are as wide as their names. */
  private near(event: PointerEvent): number | null {
    const axis = this.nearest(event.offsetX);
    const reach = event.offsetY < TOP - 6 ? 48 : REACH;
    return Math.abs(event.offsetX - this.x(axis)) <= reach ? axis : null;
  }

  private point(event: PointerEvent): void {
    const axis = this.near(event);
    const head = event.offsetY < TOP - 6;
    this.canvas.style.cursor = axis === null ? "" : head ? "grab" : "ns-resize";
    this.hover(axis === null && !head ? this.under(event.offsetX, event.offsetY) : null);
  }

  private hover(run: number | null): void {
    if (run === this.hovered) return;
    this.hovered = run;
    this.canvas.classList.toggle("over", run !== null);
    this.drawTop();
    this.events.onHover(run);
  }

  /** The chosen run whose line passes nearest, within a few pixels. */
  private under(x: number, y: number): number | null {
    const { axes, mask } = this.view!;
    if (axes.length < 2) return null;
    const gap = this.x(1) - this.x(0);
    const left = Math.max(0, Math.min(axes.length - 2, Math.floor((x - LEFT) / gap)));
    const part = (x - this.x(left)) / gap;
    if (part < 0 || part > 1) return null;
    const [from, to] = [axes[left]!.positions, axes[left + 1]!.positions];
    let best: number | null = null;
    let least = 6;
    for (let i = 0; i < mask.length; i++) {
      if (!mask[i]) continue;
      const [a, b] = [this.y(from[i]!), this.y(to[i]!)];
      // Across the line, not down: a steep one is as easily met as a flat one.
      const distance = Math.abs(a + part * (b - a) - y) * (gap / Math.hypot(gap, b - a));
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }
}

/** So pale that all lines together stay a background, however many. */
function faintness(count: number): number {
  return Math.min(0.14, Math.max(0.016, 60 / count));
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text;
}

/** A name in up to two lines, broken after a slash or an underscore where it can be. */
function wrapped(text: string, most: number): string[] {
  if (text.length <= most) return [text];
  const breaks = [...text.matchAll(/[/_ .-]/g)].map((each) => each.index + 1);
  const at = breaks.filter((each) => each <= most && text.length - each <= most).at(-1) ?? breaks.filter((each) => each <= most).at(-1);
  if (at === undefined) return [cut(text, most)];
  return [text.slice(0, at).trim(), cut(text.slice(at), most)];
}
