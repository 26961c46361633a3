/** Strokes, bands and marks of lines: what to draw where, for a canvas and for a file alike. */
import { extremes, nearest, segmentsOf } from "../lib/thin.ts";
import type { Line } from "./series.ts";

/** Up to here each point has a dot: the line between few points was not measured. */
export const FEW_POINTS = 20;

/** From positions and values to pixels, and what of the x axis is seen. */
export interface Frame {
  x(position: number): number;
  y(value: number): number;
  low: number;
  high: number;
  xLog: boolean;
  yLog: boolean;
  /** Columns of pixels to thin a line to. */
  columns: number;
}

export type Spot = [number, number];

export interface Stroke {
  spots: Spot[];
  /** Index of the segment: a resumed training's strokes are apart. */
  segment: number;
}

type Drawn = Pick<Line, "x" | "y" | "breaks">;

/** Range of indices of a stroke that touch what is seen, with one more at each side. */
function seen(line: Drawn, rising: boolean, frame: Frame, from: number, to: number): [number, number] {
  if (!rising) return [from, to];
  const first = nearest(line.x, frame.low, from, to);
  const last = nearest(line.x, frame.high, from, to);
  return [Math.max(from, first - 1), Math.min(to, last + 2)];
}

/** The line's strokes in pixels: gaps at what is not finite, and at segments. `end` cuts it off. */
export function strokesOf(line: Drawn, rising: boolean, frame: Frame, end = line.x.length): Stroke[] {
  const found: Stroke[] = [];
  segmentsOf(end, line.breaks).forEach(([from, to], segment) => {
    let spots: Spot[] = [];
    const close = (): void => {
      if (spots.length) found.push({ spots, segment });
      spots = [];
    };
    // A path that turns keeps all: its extremes are of two axes, and the server chose them.
    const [first, last] = seen(line, rising, frame, from, to);
    const indices = rising ? extremes(line.y, frame.columns, first, last) : null;
    const count = indices?.length ?? last - first;
    for (let k = 0; k < count; k++) {
      const i = indices ? indices[k]! : first + k;
      const value = line.y[i]!;
      const at = line.x[i]!;
      if (value - value !== 0 || at !== at || (frame.yLog && value <= 0) || (frame.xLog && at <= 0)) close();
      else spots.push([frame.x(at), Math.max(-1e6, Math.min(1e6, frame.y(value)))]);
    }
    close();
  });
  return found;
}

/** The band around a line as a closed outline. */
export function bandOf(line: Line, frame: Frame): Spot[] {
  if (!line.band) return [];
  const floor = frame.yLog ? Number.MIN_VALUE : -Infinity;
  const side = (values: ArrayLike<number>): Spot[] =>
    Array.from(values, (value, i): Spot => [
      frame.x(line.x[i]!),
      Math.max(-1e6, Math.min(1e6, frame.y(Math.max(value, floor)))),
    ]).filter((_, i) => !frame.xLog || line.x[i]! > 0);
  return [...side(line.band.high), ...side(line.band.low).reverse()];
}

/** Where a training was resumed: the last point before and the first after, in pixels. */
export function seamsOf(line: Drawn, frame: Frame, end = line.x.length): [Spot, Spot][] {
  return line.breaks
    .filter((at) => at < end)
    .map((at): [Spot, Spot] => [
      [frame.x(line.x[at - 1]!), frame.y(line.y[at - 1]!)],
      [frame.x(line.x[at]!), frame.y(line.y[at]!)],
    ])
    .filter((seam) => seam.flat().every(Number.isFinite));
}

/** Places of marks at the edges: infinity at the top, NaN and the rest at the bottom. */
export function marksOf(line: Line, frame: Frame, until = Infinity): { at: number; above: boolean }[] {
  const found = new Map<string, { at: number; above: boolean }>();
  for (const [x, value, time] of line.marks) {
    if (x < frame.low || x > frame.high || time > until) continue;
    const mark = { at: frame.x(x), above: value === Infinity };
    // One mark for each column of pixels.
    found.set(`${Math.round(mark.at)} ${mark.above}`, mark);
  }
  return [...found.values()];
}

export function drawLine(
  pen: CanvasRenderingContext2D, line: Line, frame: Frame, end: number | undefined, wide: number, alpha: number, dash: readonly number[],
): void {
  const ratio = devicePixelRatio || 1;
  pen.globalAlpha = alpha;
  pen.lineWidth = wide * ratio;
  pen.setLineDash(dash.map((each) => each * ratio));
  const few = (end ?? line.x.length) <= FEW_POINTS;
  const dots: Spot[] = [];
  pen.beginPath();
  for (const { spots } of strokesOf(line, line.rising, frame, end)) {
    pen.moveTo(...spots[0]!);
    for (let i = 1; i < spots.length; i++) pen.lineTo(...spots[i]!);
    if (few) dots.push(...spots);
    else if (spots.length === 1) dots.push(spots[0]!);
  }
  pen.stroke();
  pen.setLineDash([]);
  for (const [x, y] of dots) {
    pen.beginPath();
    pen.arc(x, y, 2 * ratio, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.globalAlpha = 1;
}

/** A hollow ring where a segment ends and a full one where the next begins. */
export function drawSeams(pen: CanvasRenderingContext2D, line: Line, frame: Frame, end: number | undefined): void {
  const ratio = devicePixelRatio || 1;
  pen.lineWidth = 1.5 * ratio;
  for (const [last, first] of seamsOf(line, frame, end)) {
    pen.beginPath();
    pen.arc(...last, 3.5 * ratio, 0, 2 * Math.PI);
    pen.stroke();
    pen.beginPath();
    pen.arc(...first, 3 * ratio, 0, 2 * Math.PI);
    pen.fill();
  }
}

export function drawMarks(
  pen: CanvasRenderingContext2D, line: Line, frame: Frame, top: number, bottom: number, until: number,
): void {
  const size = 4 * (devicePixelRatio || 1);
  for (const { at, above } of marksOf(line, frame, until)) {
    const edge = above ? top : bottom;
    const inward = edge + (above ? 2 : -2) * size;
    pen.beginPath();
    pen.moveTo(at, edge);
    pen.lineTo(at - size, inward);
    pen.lineTo(at + size, inward);
    pen.fill();
  }
}

export function drawBand(pen: CanvasRenderingContext2D, line: Line, frame: Frame): void {
  const spots = bandOf(line, frame);
  if (!spots.length) return;
  pen.globalAlpha = 0.18;
  pen.beginPath();
  spots.forEach((spot, i) => (i ? pen.lineTo(...spot) : pen.moveTo(...spot)));
  pen.closePath();
  pen.fill();
  pen.globalAlpha = 1;
}
