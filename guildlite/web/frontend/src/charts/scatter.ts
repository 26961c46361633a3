/**
 * Scatter plots of columns against one another: one, or a matrix that shares its brush.
 *
 * Words stand in bands, each run a little aside so that equal ones are seen. Runs that lack one of
 * the two values are not drawn; `missing` counts them.
 */
import type { Axis } from "./axis.ts";
import type { Colouring } from "./colours.ts";
import type { Brush, Brushes } from "./select.ts";
import { CanvasSurface, SvgSurface, themed, type Surface } from "./surface.ts";

export interface ScatterView {
  /** One column of cells for each. */
  across: readonly Axis[];
  /** One row of cells for each. */
  down: readonly Axis[];
  brushes: Brushes;
  colouring: Colouring;
  mask: Uint8Array;
}

export interface ScatterEvents {
  /** A box was drawn over a cell; its ranges, or none to clear. */
  onBox(across: string, down: string, box: [Brush, Brush] | null, done: boolean): void;
  onHover(run: number | null): void;
  onPick(run: number): void;
}

interface Cell {
  left: number;
  top: number;
  width: number;
  height: number;
  across: number;
  down: number;
}

const LEFT = 76;
const RIGHT = 16;
const TOP = 12;
const BOTTOM = 46;
const GAP = 10;
/** Room inside a cell, so that no point lies on its edge. */
const INSET = 12;
const REACH = 10;

export class ScatterChart {
  private readonly layers: HTMLCanvasElement[];
  private view: ScatterView | null = null;
  private cells: Cell[] = [];
  private width = 0;
  private height = 0;
  private faint: unknown[] = [];
  private hovered: number | null = null;
  private drag: { cell: Cell; x: number; y: number; moved: boolean } | null = null;
  private queued = 0;

  constructor(private readonly host: HTMLElement, private readonly events: ScatterEvents) {
    this.layers = [0, 1, 2].map(() => document.createElement("canvas"));
    host.classList.add("layers");
    host.append(...this.layers);
    this.layers.slice(0, 2).forEach((each) => each.setAttribute("aria-hidden", "true"));
    const top = this.canvas;
    top.setAttribute("role", "img");
    top.addEventListener("pointerdown", (event) => this.down(event));
    top.addEventListener("pointermove", (event) => this.moved(event));
    top.addEventListener("pointerup", (event) => this.up(event));
    top.addEventListener("pointercancel", () => (this.drag = null));
    top.addEventListener("pointerleave", () => this.hover(null));
  }

  get canvas(): HTMLCanvasElement {
    return this.layers[2]!;
  }

  show(view: ScatterView, sentence: string): void {
    this.view = view;
    this.canvas.setAttribute("aria-label", sentence);
    this.resize();
    this.redraw();
  }

  raise(run: number | null): void {
    this.hovered = run;
    this.drawTop();
  }

  redraw(): void {
    if (this.queued) return;
    this.queued = requestAnimationFrame(() => {
      this.queued = 0;
      this.drawFaint();
      this.points(new CanvasSurface(this.pen(1), themed("--sans")), true);
      this.drawTop();
    });
  }

  svg(): string {
    const surface = new SvgSurface(this.width, this.height, themed("--sans"), themed("--paper"));
    this.frames(surface);
    this.points(surface, false);
    this.points(surface, true);
    return surface.toString();
  }

  png(done: (blob: Blob | null) => void): void {
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [this.canvas.width, this.canvas.height];
    const ctx = picture.getContext("2d")!;
    ctx.fillStyle = themed("--paper");
    ctx.fillRect(0, 0, picture.width, picture.height);
    for (const layer of this.layers) ctx.drawImage(layer, 0, 0);
    picture.toBlob(done);
  }

  // Places

  private resize(): void {
    const { across, down } = this.view!;
    const room = this.host.parentElement?.clientWidth || 800;
    const single = across.length === 1 && down.length === 1;
    const least = single ? 200 : 120;
    this.width = Math.max(room, LEFT + RIGHT + across.length * least);
    const cell = (this.width - LEFT - RIGHT - GAP * (across.length - 1)) / across.length;
    const tall = single ? Math.min(440, Math.max(280, cell * 0.6)) : Math.min(180, Math.max(110, cell * 0.8));
    this.height = Math.round(TOP + BOTTOM + down.length * tall + GAP * (down.length - 1));
    this.cells = down.flatMap((_, row) =>
      across.map((_, column) => ({
        left: LEFT + column * (cell + GAP), top: TOP + row * (tall + GAP), width: cell, height: tall, across: column, down: row,
      })),
    );
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    for (const layer of this.layers) {
      if (layer.width !== width || layer.height !== height) {
        [layer.width, layer.height] = [width, height];
        this.faint = [];
      }
      layer.style.width = `${this.width}px`;
      layer.style.height = `${this.height}px`;
    }
    this.host.style.width = `${this.width}px`;
    this.host.style.height = `${this.height}px`;
  }

  private x(cell: Cell, run: number): number {
    const axis = this.view!.across[cell.across]!;
    return this.placed(axis, axis.positions[run]!, run, cell.left, cell.width);
  }

  private y(cell: Cell, run: number): number {
    const axis = this.view!.down[cell.down]!;
    // Another number than across, else equal pairs of words would lie on a slanting line.
    return 2 * cell.top + cell.height - this.placed(axis, axis.positions[run]!, run + 7919, cell.top, cell.height);
  }

  private placed(axis: Axis, position: number, run: number, from: number, length: number): number {
    const count = axis.categories?.length ?? 0;
    const aside = count ? (scattered(run) - 0.5) * 0.5 * ((length - 2 * INSET) / Math.max(1, count)) : 0;
    const inset = count ? INSET + (0.25 * (length - 2 * INSET)) / count : INSET;
    return from + inset + position * (length - 2 * inset) + aside;
  }

  private along(axis: Axis, at: number, from: number, length: number): number {
    const count = axis.categories?.length ?? 0;
    const inset = count ? INSET + (0.25 * (length - 2 * INSET)) / count : INSET;
    return (at - from - inset) / (length - 2 * inset);
  }

  // Drawing

  private pen(layer: number): CanvasRenderingContext2D {
    const canvas = this.layers[layer]!;
    const ctx = canvas.getContext("2d")!;
    const ratio = devicePixelRatio || 1;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    return ctx;
  }

  private drawFaint(): void {
    const { across, down, mask } = this.view!;
    const made = [mask.includes(0), themed("--muted"), ...across, null, ...down];
    if (made.length === this.faint.length && made.every((each, i) => each === this.faint[i])) return;
    this.faint = made;
    const surface = new CanvasSurface(this.pen(0), themed("--sans"));
    this.frames(surface);
    if (mask.includes(0)) this.points(surface, false, true);
  }

  private points(surface: Surface, chosen: boolean, all = false): void {
    const { mask, colouring } = this.view!;
    const many = mask.length * this.cells.length;
    const radius = this.cells.length > 1 ? 2 : mask.length > 3000 ? 2.2 : 3.2;
    const alpha = many > 20_000 ? 0.45 : many > 2000 ? 0.65 : 0.9;
    for (const cell of this.cells) {
      const groups: [number, number][][] = colouring.colours.map(() => []);
      for (let run = 0; run < mask.length; run++) {
        if (!all && Boolean(mask[run]) !== chosen) continue;
        const [x, y] = [this.x(cell, run), this.y(cell, run)];
        if (!Number.isNaN(x) && !Number.isNaN(y)) groups[colouring.of[run]!]!.push([x, y]);
      }
      if (!chosen) surface.dots(themed("--muted"), radius, 0.35, groups.flat(), true);
      else groups.forEach((each, i) => each.length && surface.dots(colouring.colours[i]!, radius, alpha, each));
    }
  }

  private frames(surface: Surface): void {
    const { across, down } = this.view!;
    for (const cell of this.cells) {
      this.grid(surface, cell, across[cell.across]!, down[cell.down]!, cell.down === down.length - 1, cell.across === 0);
    }
  }

  private grid(surface: Surface, cell: Cell, across: Axis, down: Axis, bottom: boolean, first: boolean): void {
    const [muted, line, ink] = [themed("--muted"), themed("--border"), themed("--text")];
    const end = cell.top + cell.height;
    surface.rect(cell.left, cell.top, cell.width, cell.height, themed("--paper"), 0, line);
    for (const { at, label } of across.ticks(64 / cell.width)) {
      const x = this.still(across, at, cell.left, cell.width);
      surface.stroke(line, 1, 1, (pen) => {
        pen.moveTo(x, cell.top);
        pen.lineTo(x, end);
      });
      if (bottom) surface.text(x, end + 12, cut(label, 11), { colour: muted, align: "center" });
    }
    for (const { at, label } of down.ticks(22 / cell.height)) {
      const y = cell.top + end - this.still(down, at, cell.top, cell.height);
      surface.stroke(line, 1, 1, (pen) => {
        pen.moveTo(cell.left, y);
        pen.lineTo(cell.left + cell.width, y);
      });
      if (first) surface.text(cell.left - 6, y, cut(label, 7), { colour: muted, align: "right" });
    }
    const room = (length: number): number => Math.max(6, Math.floor(length / 6.8));
    if (bottom) surface.text(cell.left + cell.width / 2, end + 32, cut(named(across), room(cell.width)), { colour: ink, align: "center", bold: true });
    if (first) surface.text(12, cell.top + cell.height / 2, cut(named(down), room(cell.height)), { colour: ink, align: "center", bold: true, turned: true });
  }

  /** Where a tick stands: in the middle of a band. */
  private still(axis: Axis, at: number, from: number, length: number): number {
    const count = axis.categories?.length ?? 0;
    const inset = count ? INSET + (0.25 * (length - 2 * INSET)) / count : INSET;
    return from + inset + at * (length - 2 * inset);
  }

  private drawTop(): void {
    if (!this.view) return;
    const surface = new CanvasSurface(this.pen(2), themed("--sans"));
    for (const cell of this.cells) {
      this.box(surface, cell);
      const run = this.hovered;
      if (run === null) continue;
      const [x, y] = [this.x(cell, run), this.y(cell, run)];
      if (Number.isNaN(x) || Number.isNaN(y)) continue;
      surface.dots(themed("--paper"), 7, 1, [[x, y]]);
      surface.dots(themed("--text"), 5, 1, [[x, y]]);
    }
  }

  /** The brush of a cell, where both of its columns have one. */
  private box(surface: Surface, cell: Cell): void {
    const [across, down] = [this.view!.across[cell.across]!, this.view!.down[cell.down]!];
    const [one] = this.view!.brushes.get(across.column.name) ?? [];
    const [other] = this.view!.brushes.get(down.column.name) ?? [];
    if (!one || !other || one === "none" || other === "none" || across === down) return;
    const accent = themed("--accent");
    const x = [one.low, one.high].map((each) => this.still(across, across.place(each), cell.left, cell.width));
    const y = [other.low, other.high].map((each) => 2 * cell.top + cell.height - this.still(down, down.place(each), cell.top, cell.height));
    const [left, top] = [Math.min(...x), Math.min(...y)];
    surface.rect(left, top, Math.abs(x[1]! - x[0]!), Math.abs(y[1]! - y[0]!), accent, 0.12, accent);
  }

  // Pointer

  private cellAt(x: number, y: number): Cell | undefined {
    return this.cells.find((each) => x >= each.left && x <= each.left + each.width && y >= each.top && y <= each.top + each.height);
  }

  private down(event: PointerEvent): void {
    const cell = this.cellAt(event.offsetX, event.offsetY);
    if (event.button || !cell) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { cell, x: event.offsetX, y: event.offsetY, moved: false };
  }

  private moved(event: PointerEvent): void {
    const { drag } = this;
    if (!this.view) return;
    if (!drag) return this.hover(this.under(event.offsetX, event.offsetY));
    drag.moved ||= Math.hypot(event.offsetX - drag.x, event.offsetY - drag.y) > 5;
    if (drag.moved) this.send(event, false);
  }

  private send(event: PointerEvent, done: boolean): void {
    const { cell, x, y } = this.drag!;
    const [across, down] = [this.view!.across[cell.across]!, this.view!.down[cell.down]!];
    const wide = [x, event.offsetX].map((each) => this.along(across, each, cell.left, cell.width)).sort((a, b) => a - b);
    const tall = [y, event.offsetY]
      .map((each) => this.along(down, 2 * cell.top + cell.height - each, cell.top, cell.height))
      .sort((a, b) => a - b);
    const range = (axis: Axis, [low, high]: number[]): Brush => ({ low: axis.valueAt(low!), high: axis.valueAt(high!) });
    this.events.onBox(across.column.name, down.column.name, [range(across, wide), range(down, tall)], done);
  }

  private up(event: PointerEvent): void {
    const { drag } = this;
    if (drag?.moved) this.send(event, true);
    this.drag = null;
    if (!drag || drag.moved || !this.view) return;
    const run = this.under(event.offsetX, event.offsetY);
    const { across, down } = this.view;
    if (run !== null) this.events.onPick(run);
    else this.events.onBox(across[drag.cell.across]!.column.name, down[drag.cell.down]!.column.name, null, true);
  }

  private hover(run: number | null): void {
    if (run === this.hovered) return;
    this.hovered = run;
    this.canvas.classList.toggle("over", run !== null);
    this.drawTop();
    this.events.onHover(run);
  }

  /** The run whose point is nearest, within a few pixels; chosen ones go before others. */
  private under(x: number, y: number): number | null {
    const cell = this.cellAt(x, y);
    if (!cell) return null;
    let best: number | null = null;
    let least = REACH;
    this.view!.mask.forEach((chosen, run) => {
      const distance = Math.hypot(this.x(cell, run) - x, this.y(cell, run) - y) + (chosen ? 0 : 3);
      if (distance < least) [best, least] = [run, distance];
    });
    return best;
  }
}

/** A number from 0 to 1 for a run, always the same. */
function scattered(run: number): number {
  const mixed = Math.imul(run ^ (run >>> 16), 0x45d9f3b) >>> 0;
  return (Math.imul(mixed ^ (mixed >>> 16), 0x45d9f3b) >>> 0) / 2 ** 32;
}

function named(axis: Axis): string {
  return axis.scale === "linear" ? axis.column.head : `${axis.column.head} (${axis.scale})`;
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text;
}
