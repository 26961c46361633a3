/**
 * A line chart on a canvas: uPlot gives axes, zoom and cursor, the lines are drawn here.
 *
 * Each line has positions of its own that may go back (a resumed training begins a new stroke);
 * NaN and infinities are gaps with a mark at the edge. A line may have a faint raw one behind it.
 */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatMoment, formatNumber, formatSeconds, scaleOf, tickLabels, type Unit } from "../lib/numbers.ts";
import { nearest, segmentsOf } from "../lib/thin.ts";
import { drawBand, drawLine, drawMarks, drawSeams, type Frame } from "./draw.ts";
import { colour, colourOf, dashOf } from "./palette.ts";
import { outside, xRange, yRange, type Axes, type Outside } from "./ranges.ts";
import { pointsUntil, type Line } from "./series.ts";

export interface View extends Axes {
  xKind: "step" | "relative" | "wall" | "value";
  unit: Unit;
  /** What stands below the x axis. */
  xName: string;
  hidden: ReadonlySet<string>;
  /** How far a replay is: a time for each line by its key, or null when everything is shown. */
  until: ((line: Line) => number) | null;
  /** Positions with a vertical line: a moment that somebody came for. */
  moments: readonly number[];
}

export interface Events {
  /** A stretch of the x axis was dragged over; null is a double click. */
  onZoom(stretch: [number, number] | null): void;
  /** A stretch of the y axis was dragged over. */
  onYZoom(stretch: [number, number]): void;
  /** The pointer is over this position; null when it left. */
  onCursor(x: number | null): void;
  /** A click without dragging, at this position and value. */
  onPick(x: number, y: number): void;
}

export interface Ticks {
  at: number[];
  labels: (string | null)[];
}

/** A place on a line. */
export interface Spot {
  x: number;
  y: number;
  time: number;
}

const RAW_ALPHA = 0.3;
/** Beyond so many lines the raw ones behind would hide everything. */
const MOST_RAW = 24;
/** A drag shorter than this is a click, in pixels. */
const CLICK = 4;
/** A drag higher than this is a box, in pixels. */
const BOX = 20;

export class LineChart {
  private lines: readonly Line[] = [];
  private plot: uPlot | null = null;
  private raised: string | null = null;
  private dots: HTMLElement[] = [];
  readonly ticks: { x: Ticks; y: Ticks } = { x: { at: [], labels: [] }, y: { at: [], labels: [] } };
  x: [number, number] = [0, 1];
  y: [number, number] = [0, 1];

  constructor(
    readonly host: HTMLElement,
    private view: View,
    private readonly events: Events,
    private readonly height: () => number,
  ) {}

  get canvas(): HTMLCanvasElement | null {
    return this.plot?.ctx.canvas ?? null;
  }

  get shown(): Line[] {
    return this.lines.filter((line) => !this.view.hidden.has(line.key));
  }

  /** How much of what is known the axes leave out. */
  get outside(): Outside {
    return outside(this.shown.filter((line) => line.alpha === 1), this.view, this.x, this.y);
  }

  show(lines: readonly Line[], view: View): void {
    const rebuild =
      !this.plot || view.xLog !== this.view.xLog || view.yLog !== this.view.yLog || view.xName !== this.view.xName;
    this.lines = lines;
    this.view = view;
    this.x = xRange(this.shown, view);
    this.y = yRange(this.shown, view, this.x);
    if (rebuild) this.build();
    else this.plot!.setData(NOTHING);
  }

  /** Draw a line above the others; null is none. */
  raise(key: string | null): void {
    if (key === this.raised || (key !== null && this.view.hidden.has(key))) return;
    this.raised = key;
    this.plot?.redraw(false, false);
  }

  /** Draw the line of a pointer, this chart's or another's, with a dot on each line. */
  setCursor(x: number | null): void {
    if (!this.plot) return;
    const left = x === null ? -10 : this.plot.valToPos(x, "x");
    this.plot.setCursor({ left, top: -10 }, false);
    this.showDots(x);
  }

  showDots(x: number | null): void {
    const { plot } = this;
    if (!plot) return;
    const spots = x === null ? [] : this.valuesAt(x);
    this.lines.forEach((line, i) => {
      const spot = spots[i];
      const seen = spot && spot.x >= this.x[0] && spot.x <= this.x[1] && spot.y >= this.y[0] && spot.y <= this.y[1];
      const dot = this.dots[i];
      if (!seen || line.alpha < 1) {
        if (dot) dot.hidden = true;
        return;
      }
      const shown = dot ?? this.addDot(i);
      shown.hidden = false;
      shown.style.background = colourOf(line.slot);
      shown.style.transform = `translate(${plot.valToPos(spot.x, "x")}px, ${plot.valToPos(spot.y, "y")}px)`;
    });
    for (const dot of this.dots.slice(this.lines.length)) dot.hidden = true;
  }

  private addDot(i: number): HTMLElement {
    while (this.dots.length <= i) {
      const dot = document.createElement("span");
      dot.className = "spot";
      dot.hidden = true;
      this.plot!.over.append(dot);
      this.dots.push(dot);
    }
    return this.dots[i]!;
  }

  resize(): void {
    const size = this.size();
    if (this.plot && size.width > 0) this.plot.setSize(size);
  }

  /** Give the canvas back; what is shown next builds it again. */
  destroy(): void {
    this.plot?.destroy();
    this.plot = null;
    this.dots = [];
  }

  /** Place on each line nearest to a position; null where hidden or empty. */
  valuesAt(x: number): (Spot | null)[] {
    return this.lines.map((line) => {
      if (this.view.hidden.has(line.key)) return null;
      const end = this.endOf(line);
      let best = -1;
      const closer = (i: number): void => {
        if (i >= 0 && (best < 0 || Math.abs(line.x[i]! - x) <= Math.abs(line.x[best]! - x))) best = i;
      };
      for (const [from, to] of segmentsOf(end, line.breaks)) {
        if (line.rising) closer(nearest(line.x, x, from, to));
        else for (let i = from; i < to; i++) closer(i);
      }
      return best < 0 ? null : { x: line.x[best]!, y: line.y[best]!, time: line.times[best] ?? NaN };
    });
  }

  /** Points of a line that are shown. */
  endOf(line: Pick<Line, "x" | "times">, of: Line = line as Line): number {
    if (!this.view.until) return line.x.length;
    const until = this.view.until(of);
    return until < 0 ? Math.round(-until * line.x.length) : pointsUntil(line.times, until);
  }

  /** Pixels of the plot, for whoever draws what the chart shows. */
  frame(width: number, height: number, left = 0, top = 0): Frame {
    const place = (range: [number, number], log: boolean, from: number, to: number): ((at: number) => number) => {
      const on = log ? Math.log10 : (at: number): number => at;
      const low = on(range[0]);
      // Halved first: the span of two finite floats may be infinite.
      const span = on(range[1]) / 2 - low / 2;
      return (at) => from + ((on(at) / 2 - low / 2) / span) * (to - from);
    };
    return {
      x: place(this.x, this.view.xLog, left, left + width),
      y: place(this.y, this.view.yLog, top + height, top),
      low: this.x[0],
      high: this.x[1],
      xLog: this.view.xLog,
      yLog: this.view.yLog,
      columns: width,
    };
  }

  private size(): { width: number; height: number } {
    return { width: this.host.clientWidth, height: this.height() };
  }

  private build(): void {
    this.destroy();
    this.host.replaceChildren();
    const grid = { stroke: () => colour("--border"), width: 1 };
    const font = `12px ${colour("--sans")}`;
    const axis = { stroke: () => colour("--muted"), font, grid, ticks: { ...grid, size: 4 } };
    const options = {
      mode: 2,
      ...this.size(),
      padding: [8, this.view.xKind === "wall" ? 30 : 12, 0, 0],
      legend: { show: false },
      cursor: {
        drag: { x: true, y: true, uni: BOX, setScale: false },
        points: { show: false },
        dataIdx: (): number => 0,
      },
      scales: {
        x: { time: false, distr: this.view.xLog ? 3 : 1, range: () => this.x },
        y: { distr: this.view.yLog ? 3 : 1, range: () => this.y },
      },
      axes: [
        {
          ...axis, scale: "x", space: this.view.xKind === "wall" ? 84 : 52, size: 24,
          label: this.view.xName, labelSize: 16, labelGap: 0, labelFont: font,
          values: (_: uPlot, ticks: number[]) => this.keep("x", ticks, this.xLabels(ticks)),
        },
        {
          ...axis, scale: "y", space: 34,
          ...(this.view.unit.startsWith("bytes") ? { incrs: byteSteps(this.view.unit) } : {}),
          values: (_: uPlot, ticks: number[]) => this.keep("y", ticks, this.yLabels(ticks)),
          size: (_: uPlot, labels: string[] | null) =>
            14 + 6.8 * Math.max(3, ...(labels ?? []).map((each) => each?.length ?? 0)),
        },
      ],
      series: [{}, { facets: [{ scale: "x", auto: true }, { scale: "y", auto: true }], paths: () => null }],
      hooks: {
        draw: [(plot: uPlot) => this.draw(plot)],
        setSelect: [(plot: uPlot) => this.select(plot)],
        setCursor: [(plot: uPlot) => this.moved(plot)],
        ready: [(plot: uPlot) => this.listen(plot)],
      },
    };
    this.plot = new uPlot(options as unknown as uPlot.Options, NOTHING, this.host);
  }

  private listen(plot: uPlot): void {
    const drag = plot.cursor.drag as { x: boolean; y: boolean };
    let down: MouseEvent | null = null;
    plot.over.addEventListener("mousedown", (event) => {
      // With Shift only the y axis; uPlot looks at these with every move.
      drag.x = !event.shiftKey;
      drag.y = true;
      down = event;
    }, { capture: true });
    plot.over.addEventListener("click", (event) => {
      const still = down && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < CLICK;
      if (!still) return;
      const box = plot.over.getBoundingClientRect();
      this.events.onPick(plot.posToVal(event.clientX - box.left, "x"), plot.posToVal(event.clientY - box.top, "y"));
    });
    plot.over.addEventListener("dblclick", () => this.events.onZoom(null));
    plot.over.addEventListener("wheel", (event) => {
      const by = event.deltaX || (event.shiftKey ? event.deltaY : 0);
      if (!by || !this.view.zoom) return;
      event.preventDefault();
      this.events.onZoom([plot.posToVal(by, "x"), plot.posToVal(plot.over.clientWidth + by, "x")]);
    });
  }

  // Axes

  private keep(axis: "x" | "y", at: number[], labels: (string | null)[]): (string | null)[] {
    this.ticks[axis] = { at: [...at], labels };
    return labels;
  }

  private xLabels(ticks: number[]): (string | null)[] {
    const { xKind } = this.view;
    const clean = ticks.filter((tick) => tick !== null);
    if (xKind === "wall") {
      const texts = clean.map(formatMoment);
      // The day is said once, where it changes.
      return texts.map((each, i) => (i && each.slice(0, 10) === texts[i - 1]!.slice(0, 10) ? each.slice(11) : each.slice(5)));
    }
    if (xKind === "relative") return ticks.map((tick) => (tick === null ? null : formatSeconds(tick)));
    const labels = tickLabels(clean, "");
    const whole = xKind === "step";
    return ticks.map((tick) => (tick === null || (whole && tick % 1) ? null : labels[clean.indexOf(tick)]!));
  }

  private yLabels(ticks: number[]): (string | null)[] {
    if (!this.view.yLog) return tickLabels(ticks, this.view.unit);
    const powers = ticks.filter(isPowerOfTen).length;
    // Less than two powers of ten in view would leave the axis without words.
    return ticks.map((tick) => (powers < 2 || isPowerOfTen(tick) ? formatNumber(tick, this.view.unit) : null));
  }

  // Drawing

  private draw(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineJoin = "round";
    ctx.lineCap = "round";
    const shown = this.shown;
    const frame = this.frame(bbox.width, bbox.height, bbox.left, bbox.top);
    frame.columns = Math.ceil(bbox.width / ratio / (shown.length > 2 * MOST_RAW ? 2 : 1));
    const raised = shown.some((line) => line.key === this.raised) ? this.raised : null;
    const order = raised ? [...shown].sort((a, b) => Number(a.key === raised) - Number(b.key === raised)) : shown;
    for (const line of order) {
      ctx.strokeStyle = ctx.fillStyle = colourOf(line.slot);
      drawBand(ctx, line, frame);
    }
    for (const line of order) {
      ctx.strokeStyle = ctx.fillStyle = colourOf(line.slot);
      const back = raised !== null && line.key !== raised ? 0.35 : 1;
      const end = this.endOf(line);
      if (line.raw && shown.length <= MOST_RAW) {
        const raw = { ...line, ...line.raw };
        drawLine(ctx, raw, frame, this.endOf(line.raw, line), 1.5, RAW_ALPHA * back, []);
      }
      drawLine(ctx, line, frame, end, line.key === raised ? 3 : line.band ? 2.2 : 1.5, line.alpha * back, dashOf(line.slot));
      if (line.alpha === 1) drawSeams(ctx, line, frame, end);
      const until = this.view.until?.(line) ?? Infinity;
      drawMarks(ctx, line, frame, bbox.top, bbox.top + bbox.height, until < 0 ? Infinity : until);
    }
    this.drawMoments(ctx, frame, bbox.top, bbox.top + bbox.height);
    ctx.restore();
  }

  private drawMoments(pen: CanvasRenderingContext2D, frame: Frame, top: number, bottom: number): void {
    pen.strokeStyle = colour("--accent");
    pen.lineWidth = 2 * (devicePixelRatio || 1);
    for (const moment of this.view.moments) {
      pen.beginPath();
      pen.moveTo(frame.x(moment), top);
      pen.lineTo(frame.x(moment), bottom);
      pen.stroke();
    }
  }

  // Pointer

  private select(plot: uPlot): void {
    const { left, top, width, height } = plot.select;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (width < CLICK && height < CLICK) return;
    const tall = height >= BOX && height < plot.over.clientHeight;
    const onlyY = width >= plot.over.clientWidth || width < CLICK;
    if (tall) this.events.onYZoom([plot.posToVal(top + height, "y"), plot.posToVal(top, "y")]);
    if (!onlyY) this.events.onZoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
  }

  private moved(plot: uPlot): void {
    const { left, event } = plot.cursor as { left?: number; event?: Event | null };
    if (!event) return; // moved by another chart
    const x = left === undefined || left < 0 ? null : plot.posToVal(left, "x");
    this.showDots(x);
    this.events.onCursor(x);
  }
}

/** uPlot's own data: it draws no lines, and asks for the ranges when it gets any. */
const NOTHING = [null, [[0], [0]]] as unknown as uPlot.AlignedData;

function isPowerOfTen(tick: number): boolean {
  const power = Math.log10(tick);
  return Math.abs(power - Math.round(power)) < 1e-9;
}

/** Distances of ticks that are round in the unit of their labels, as in 256 MiB. */
function byteSteps(unit: Unit): (plot: uPlot, axis: number, low: number, high: number) => number[] {
  const round = [-3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((each) => each * 10 ** power));
  return (_plot, _axis, low, high) => {
    const { factor } = scaleOf(Math.max(Math.abs(low), Math.abs(high)), unit);
    return round.map((each) => each * factor);
  };
}
