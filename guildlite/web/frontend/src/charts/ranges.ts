/** What stretches of the axes a chart shows, and what of its points lies outside. */
import { nearest, segmentsOf, usualRange } from "../lib/thin.ts";
import type { Line } from "./series.ts";

export interface Axes {
  xLog: boolean;
  yLog: boolean;
  /** Whether the axis reaches to the most extreme values. */
  outliers: boolean;
  zoom: [number, number] | null;
  yZoom: [number, number] | null;
}

/** Points that are known and not seen: nothing is left out silently. */
export interface Outside {
  above: number;
  below: number;
  /** Zero or less, on a logarithmic axis. */
  unplaced: number;
}

export function xRange(lines: readonly Line[], axes: Axes): [number, number] {
  if (axes.zoom) return axes.zoom;
  let low = Infinity;
  let high = -Infinity;
  for (const line of lines) {
    for (const [from, to] of segmentsOf(line.x.length, line.breaks)) {
      if (line.rising && !axes.xLog) {
        low = Math.min(low, line.x[from]!);
        high = Math.max(high, line.x[to - 1]!);
        continue;
      }
      for (let i = from; i < to; i++) {
        const x = line.x[i]!;
        if (x !== x || (axes.xLog && x <= 0)) continue;
        low = Math.min(low, x);
        high = Math.max(high, x);
      }
    }
  }
  if (low === Infinity) return axes.xLog ? [1, 10] : [0, 1];
  if (low === high) return axes.xLog ? [low / 2, low * 2] : [low - 1, low + 1];
  return [low, high];
}

/** Visit the values a chart shows between two positions: of lines, of raw ones behind, of bands. */
function visit(lines: readonly Line[], from: number, to: number, see: (value: number) => void): void {
  for (const line of lines) {
    const parts: Pick<Line, "x" | "y" | "breaks">[] = line.raw ? [line, line.raw] : [line];
    if (line.band) parts.push({ ...line, y: line.band.low }, { ...line, y: line.band.high });
    for (const { x, y, breaks } of parts) {
      for (const [start, end] of segmentsOf(x.length, breaks)) {
        const first = line.rising ? Math.max(start, nearest(x, from, start, end) - 1) : start;
        for (let i = first; i < end; i++) {
          const at = x[i]!;
          if (at > to && line.rising) break;
          const value = y[i]!;
          if (at >= from && at <= to && value - value === 0) see(value);
        }
      }
    }
  }
}

export function yRange(lines: readonly Line[], axes: Axes, x: [number, number]): [number, number] {
  if (axes.yZoom) return axes.yZoom;
  let low = Infinity;
  let high = -Infinity;
  const values: number[] = [];
  visit(lines, ...x, (value) => {
    if (axes.yLog && value <= 0) return;
    if (value < low) low = value;
    if (value > high) high = value;
    if (!axes.outliers) values.push(value);
  });
  if (low === Infinity) return axes.yLog ? [0.1, 1] : [0, 1];
  const usual = axes.outliers ? null : usualRange(values);
  if (usual) [low, high] = usual;
  // Differences that are but rounding would fill the chart with noise.
  if (high - low <= 1e-12 * Math.max(Math.abs(low), Math.abs(high))) high = low;
  if (axes.yLog) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
  if (low === high) {
    const room = Math.abs(low) * 0.1 || 1;
    return [low - room, high + room];
  }
  const room = high * 0.05 - low * 0.05;
  // A curve that touches zero from above stands on it.
  return [low >= 0 && low <= room ? 0 : low - room, high + room];
}

/** Count the written points between the positions shown that the y axis has no place for. */
export function outside(lines: readonly Line[], axes: Axes, x: [number, number], y: [number, number]): Outside {
  const found = { above: 0, below: 0, unplaced: 0 };
  // The written points, not the smoothed line over them.
  const written = lines.map((line) => (line.raw ? { ...line, ...line.raw, raw: null } : { ...line, band: null }));
  visit(written, ...x, (value) => {
    if (axes.yLog && value <= 0) found.unplaced++;
    else if (value > y[1]) found.above++;
    else if (value < y[0]) found.below++;
  });
  return found;
}
