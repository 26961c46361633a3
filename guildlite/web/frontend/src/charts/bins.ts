/** Which bin of which histogram is pointed at, read from the chart that the server drew. */
import { formatNumber } from "../lib/numbers.ts";

/** As many as guildlite/web/media/charts.py draws. */
const BINS = 30;

interface Pointed {
  path: SVGPathElement;
  words: string;
}

/** Return the histogram nearest to the pointer, and its bin and count in words. */
export function binAt(svg: SVGSVGElement, event: PointerEvent): Pointed | null {
  const facts = svg.dataset["bins"]?.split(" ").map(Number);
  const matrix = svg.getScreenCTM();
  if (!facts || !matrix) return null;
  const [low, high, left, right, share] = facts as [number, number, number, number, number];
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
  if (at.x < left || at.x > right) return null;
  const bin = Math.min(BINS - 1, Math.floor(((at.x - left) / (right - left)) * BINS));
  const point = Math.round(((at.x - left) / (right - left)) * (BINS - 1));
  let best: { path: SVGPathElement; height: number; away: number } | null = null;
  for (const path of svg.querySelectorAll<SVGPathElement>("path[data-total]")) {
    const { y, base } = heightAt(path, point, svg.viewBox.baseVal.height);
    const away = Math.abs(y - at.y);
    // Of several as near the one in front counts, which is drawn last.
    if (y !== null && (!best || away <= best.away)) best = { path, height: base - y, away };
  }
  if (!best) return null;
  const count = best.height * share * Number(best.path.dataset["total"]);
  const edge = (n: number): string => formatNumber(low + ((high - low) * n) / BINS);
  const about = count < 0.5 ? "no values" : `about ${formatNumber(count < 100 ? Math.round(count) : Number(count.toPrecision(3)))} values`;
  const step = Number(best.path.dataset["step"]).toLocaleString("en-US");
  return { path: best.path, words: `step ${step}: ${edge(bin)} to ${edge(bin + 1)}, ${about}` };
}

/** Where a curve runs at a bin, and the line it stands on. */
function heightAt(path: SVGPathElement, bin: number, height: number): { y: number; base: number } {
  const numbers = (path.getAttribute("d")!.match(/-?[\d.]+/g) ?? []).map(Number);
  // A ridge begins and ends on its base line; an overlaid curve stands on the axis, 40 above the edge.
  const ridge = path.classList.contains("ridge");
  const from = ridge ? 2 : 0;
  return { y: numbers[from + 2 * bin + 1]!, base: ridge ? numbers[1]! : height - 40 };
}
