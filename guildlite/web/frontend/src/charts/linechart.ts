/**
 * A line chart on a canvas: uPlot gives axes, zoom and cursor, the lines are drawn here.
 *
 * Each line has positions of its own that may go back (a resumed training begins a new stroke);
 * NaN and infinities are gaps with a mark at the edge. A line may have a faint raw one behind it.
 */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatMoment, formatNumber, formatSeconds, scaleOf, tickLabels, type Unit } from "../lib/numbers.ts";
import { extremes, middleRange, nearest, strokes, type Columns } from "../lib/thin.ts";

export interface Line extends Columns {
  name: string;
  /** Picks colour and dashes, as the server's charts do. */
  slot: number;
  /** Drawn faint behind, where the line itself is smoothed. */
  raw: Columns | null;
  /** Position and value of points that are not finite. */
  marks: readonly (readonly [number, number])[];
}

export interface View {
  xKind: "step" | "relative" | "wall" | "seconds";
  xLog: boolean;
  yLog: boolean;
  outliers: boolean;
  zoom: [number, number] | null;
  unit: Unit;
}

export interface Events {
  /** A stretch of the x axis was dragged over; null is a double click. */
  onZoom(stretch: [number, number] | null): void;
  /** The pointer is over this position; null when it left. */
  onCursor(x: number | null): void;
}

const HUES = 6;
const DASHES: readonly (readonly number[])[] = [[], [8, 5], [2, 4]];
const RAW_ALPHA = 0.3;
/** Up to here each point has a dot: the line between few points was not measured. */
const FEW_POINTS = 20;

export function colourOf(slot: number): string {
  return colour(`--c${(slot % HUES) + 1}`);
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export class LineChart {
  private lines: readonly Line[] = [];
  private plot: uPlot | null = null;
  private yZoom: [number, number] | null = null;
  private hidden = new Set<string>();
  private above = 0;

  constructor(
    private readonly host: HTMLElement,
    private view: View,
    private readonly events: Events,
  ) {}

  /** Points outside the y axis because outliers are left out. */
  get outside(): number {
    return this.above;
  }

  get canvas(): HTMLCanvasElement | null {
    return this.plot?.ctx.canvas ?? null;
  }

  show(lines: readonly Line[], view: View): void {
    const rebuild =
      !this.plot || view.xLog !== this.view.xLog || view.yLog !== this.view.yLog ||
      view.xKind !== this.view.xKind || lines.length !== this.lines.length ||
      lines.some((line, i) => line.slot !== this.lines[i]!.slot);
    const moved = String(view.zoom) !== String(this.view.zoom);
    if (moved) this.yZoom = null;
    this.lines = lines;
    this.view = view;
    if (rebuild) this.build();
    else this.plot!.setData(this.data());
  }

  setHidden(hidden: Set<string>): void {
    this.hidden = hidden;
    this.plot?.setData(this.data());
  }

  /** Draw the line of another chart's pointer at the same position. */
  setCursor(x: number | null): void {
    if (!this.plot) return;
    const left = x === null ? -10 : this.plot.valToPos(x, "x");
    this.plot.setCursor({ left, top: -10 }, false);
  }

  resize(): void {
    const size = this.size();
    if (this.plot && size.width > 0) this.plot.setSize(size);
  }

  destroy(): void {
    this.plot?.destroy();
    this.plot = null;
  }

  /** Value of each line nearest to a position, with that position; null where hidden or empty. */
  valuesAt(x: number): ({ x: number; y: number } | null)[] {
    return this.lines.map((line) => {
      let best: { x: number; y: number } | null = null;
      for (const [from, to] of strokes(line.x)) {
        const xs = Array.prototype.slice.call(line.x, from, to) as number[];
        const at = nearest(xs, x);
        if (at >= 0 && (!best || Math.abs(xs[at]! - x) <= Math.abs(best.x - x))) {
          best = { x: xs[at]!, y: line.y[from + at]! };
        }
      }
      return best;
    });
  }

  private size(): { width: number; height: number } {
    const tall = this.host.closest(".card.full") !== null;
    return {
      width: this.host.clientWidth,
      height: tall ? Math.max(240, window.innerHeight - 180) : 230,
    };
  }

  private data(): uPlot.AlignedData {
    // In mode 2 each series is [positions, values]; the first is no series.
    const parts = this.lines.map((line) =>
      this.hidden.has(line.name) ? [[], []] : [line.x, line.y],
    );
    return [null, ...parts] as unknown as uPlot.AlignedData;
  }

  private build(): void {
    this.plot?.destroy();
    this.host.replaceChildren();
    const text = colour("--muted");
    const grid = { stroke: colour("--border"), width: 1 };
    const font = `12px ${colour("--sans")}`;
    const axis = { stroke: text, font, grid, ticks: { ...grid, size: 4 } };
    const { unit } = this.view;
    const seriesOptions = this.lines.map((line) => ({
      label: line.name,
      facets: [{ scale: "x", auto: true }, { scale: "y", auto: true }],
      stroke: colourOf(line.slot),
      width: 1.5,
      dash: [...DASHES[Math.floor(line.slot / HUES) % DASHES.length]!],
      paths: (): uPlot.Series.Paths | null => null,
    }));
    const options = {
      mode: 2,
      ...this.size(),
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: {
        drag: { x: true, y: true, uni: 20, setScale: false },
        points: { show: false },
        dataIdx: (): number => 0,
      },
      scales: {
        x: { time: false, distr: this.view.xLog ? 3 : 1, range: () => this.xRange() },
        y: { distr: this.view.yLog ? 3 : 1, range: () => this.yRange() },
      },
      axes: [
        { ...axis, scale: "x", space: 52, values: (_: uPlot, ticks: number[]) => this.xLabels(ticks), size: 34 },
        {
          ...axis,
          scale: "y",
          ...(unit === "bytes" || unit === "bytes/s" ? { incrs: byteSteps(unit) } : {}),
          values: (_: uPlot, ticks: number[]) => this.yLabels(ticks, unit),
          size: (_: uPlot, labels: string[] | null) =>
            14 + 6.8 * Math.max(3, ...(labels ?? []).map((each) => each?.length ?? 0)),
        },
      ],
      series: [{}, ...seriesOptions],
      hooks: {
        draw: [(plot: uPlot) => this.draw(plot)],
        setSelect: [(plot: uPlot) => this.select(plot)],
        setCursor: [(plot: uPlot) => this.moved(plot)],
        ready: [
          (plot: uPlot) => {
            plot.over.addEventListener("dblclick", () => {
              this.yZoom = null;
              this.events.onZoom(null);
            });
          },
        ],
      },
    };
    this.plot = new uPlot(options as unknown as uPlot.Options, this.data(), this.host);
  }

  // Axes

  private xLabels(ticks: number[]): (string | null)[] {
    const { xKind } = this.view;
    const clean = ticks.filter((tick) => tick !== null);
    if (xKind === "wall") {
      const texts = clean.map(formatMoment);
      // The day is said once, where it changes.
      return texts.map((each, i) => (i && each.slice(0, 10) === texts[i - 1]!.slice(0, 10) ? each.slice(11) : each.slice(5)));
    }
    if (xKind !== "step") return ticks.map((tick) => (tick === null ? null : formatSeconds(tick)));
    const labels = tickLabels(clean);
    return ticks.map((tick) => (tick === null || tick % 1 ? null : labels[clean.indexOf(tick)]!));
  }

  private yLabels(ticks: number[], unit: Unit): (string | null)[] {
    if (!this.view.yLog) return tickLabels(ticks, unit);
    return ticks.map((tick) => {
      const power = Math.log10(tick);
      return Math.abs(power - Math.round(power)) < 1e-9 ? formatNumber(tick, unit) : null;
    });
  }

  private xRange(): [number, number] {
    if (this.view.zoom) return this.view.zoom;
    let low = Infinity;
    let high = -Infinity;
    for (const line of this.shown()) {
      for (const [from, to] of strokes(line.x)) {
        low = Math.min(low, this.view.xLog ? firstPositive(line.x, from, to) : line.x[from]!);
        high = Math.max(high, line.x[to - 1]!);
      }
    }
    if (low === Infinity) return this.view.xLog ? [1, 10] : [0, 1];
    if (low === high) return this.view.xLog ? [low / 2, low * 2] : [low - 1, low + 1];
    return [low, high];
  }

  private yRange(): [number, number] {
    if (this.yZoom) return this.yZoom;
    const [from, to] = this.xRange();
    const values: number[] = [];
    for (const line of this.shown()) {
      for (const part of line.raw ? [line, line.raw] : [line]) {
        for (let i = 0; i < part.x.length; i++) {
          const y = part.y[i]!;
          const inside = part.x[i]! >= from && part.x[i]! <= to;
          if (inside && Number.isFinite(y) && (!this.view.yLog || y > 0)) values.push(y);
        }
      }
    }
    this.above = 0;
    if (!values.length) return this.view.yLog ? [0.1, 1] : [0, 1];
    let low = values.reduce((a, b) => Math.min(a, b));
    let high = values.reduce((a, b) => Math.max(a, b));
    const middle = this.view.outliers ? null : middleRange(values);
    if (middle) {
      [low, high] = middle;
      this.above = values.filter((each) => each < low || each > high).length;
    }
    if (this.view.yLog) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
    if (low === high) {
      const room = Math.abs(low) * 0.1 || 1;
      return [low - room, high + room];
    }
    const room = (high - low) * 0.05;
    // A curve that touches zero from above stands on it.
    return [low >= 0 && low <= room ? 0 : low - room, high + room];
  }

  private shown(): Line[] {
    return this.lines.filter((line) => !this.hidden.has(line.name));
  }

  // Drawing

  private draw(plot: uPlot): void {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineJoin = "round";
    ctx.lineCap = "round";
    for (const line of this.shown()) {
      ctx.strokeStyle = ctx.fillStyle = colourOf(line.slot);
      if (line.raw) {
        ctx.globalAlpha = RAW_ALPHA;
        this.stroke(plot, line.raw, []);
        ctx.globalAlpha = 1;
      }
      this.stroke(plot, line, DASHES[Math.floor(line.slot / HUES) % DASHES.length]!);
      this.marks(plot, line);
    }
    ctx.restore();
  }

  private stroke(plot: uPlot, columns: Columns, dash: readonly number[]): void {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash(dash.map((each) => each * ratio));
    const { x, y } = columns;
    const few = x.length <= FEW_POINTS;
    ctx.beginPath();
    const dots: [number, number][] = [];
    for (const [from, to] of strokes(x)) {
      const part = { x: sub(x, from, to), y: sub(y, from, to) };
      let pen = false;
      let alone: [number, number] | null = null;
      for (const i of extremes(part, Math.ceil(bbox.width / ratio))) {
        const value = part.y[i]!;
        const drawn = Number.isFinite(value) && (!this.view.yLog || value > 0) && (!this.view.xLog || part.x[i]! > 0);
        if (!drawn) {
          if (alone) dots.push(alone);
          pen = false;
          alone = null;
          continue;
        }
        const px = plot.valToPos(part.x[i]!, "x", true);
        const py = Math.max(-1e6, Math.min(1e6, plot.valToPos(value, "y", true)));
        if (pen) ctx.lineTo(px, py);
        else ctx.moveTo(px, py);
        alone = pen ? null : [px, py];
        pen = true;
        if (few) dots.push([px, py]);
      }
      if (alone) dots.push(alone);
    }
    ctx.stroke();
    ctx.setLineDash([]);
    for (const [px, py] of dots) {
      ctx.beginPath();
      ctx.arc(px, py, 2 * ratio, 0, 2 * Math.PI);
      ctx.fill();
    }
  }

  /** Triangles where a line has no place: infinity at the top, NaN and the rest at the bottom. */
  private marks(plot: uPlot, line: Line): void {
    const { ctx, bbox } = plot;
    const size = 4 * (devicePixelRatio || 1);
    for (const [x, value] of line.marks) {
      const at = plot.valToPos(x, "x", true);
      const above = value === Infinity;
      const edge = above ? bbox.top : bbox.top + bbox.height;
      const inward = edge + (above ? 2 : -2) * size;
      ctx.beginPath();
      ctx.moveTo(at, edge);
      ctx.lineTo(at - size, inward);
      ctx.lineTo(at + size, inward);
      ctx.fill();
    }
  }

  // Pointer

  private select(plot: uPlot): void {
    const { left, top, width, height } = plot.select;
    if (width < 4 && height < 4) return;
    if (width >= 4) {
      const stretch: [number, number] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
      if (height >= 20 && height < plot.over.clientHeight) {
        this.yZoom = [plot.posToVal(top + height, "y"), plot.posToVal(top, "y")];
      }
      plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      const yZoom = this.yZoom;
      this.events.onZoom(stretch);
      this.yZoom = yZoom;
      plot.setData(this.data());
      return;
    }
    this.yZoom = [plot.posToVal(top + height, "y"), plot.posToVal(top, "y")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    plot.setData(this.data());
  }

  private moved(plot: uPlot): void {
    const { left, event } = plot.cursor as { left?: number; event?: Event | null };
    if (!event) return; // moved by another chart
    this.events.onCursor(left === undefined || left < 0 ? null : plot.posToVal(left, "x"));
  }
}

/** Distances of ticks that are round in the unit of their labels, as in 256 MiB. */
function byteSteps(unit: Unit): (plot: uPlot, axis: number, low: number, high: number) => number[] {
  const round = [-3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((each) => each * 10 ** power));
  return (_plot, _axis, low, high) => {
    const { factor } = scaleOf(Math.max(Math.abs(low), Math.abs(high)), unit);
    return round.map((each) => each * factor);
  };
}

function sub(values: ArrayLike<number>, from: number, to: number): ArrayLike<number> {
  if (from === 0 && to === values.length) return values;
  return Array.prototype.slice.call(values, from, to) as number[];
}

function firstPositive(x: ArrayLike<number>, from: number, to: number): number {
  for (let i = from; i < to; i++) if (x[i]! > 0) return x[i]!;
  return Infinity;
}
