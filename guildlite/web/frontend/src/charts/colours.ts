/** Colours of runs: by their place, or by a column; few enough that lines are drawn colour by colour. */
import type { Axis } from "./axis.ts";
import { themed } from "./surface.ts";

export interface Colouring {
  colours: string[];
  /** Which of them a run has. */
  of: Uint8Array;
  /** What each colour means; for a ramp the ends and the middle. */
  legend: { colour: string; label: string }[];
  ramp: boolean;
}

const HUES = 6;
const SHADES = 16;
/** Five colours of growing lightness that stay apart for those who see few hues, after viridis. */
const RAMP: readonly (readonly [number, number, number])[] = [
  [68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37],
];

export function hue(slot: number): string {
  return themed(`--c${(slot % HUES) + 1}`);
}

/** Each run its own colour while there are enough, else one for all. */
export function byRun(count: number): Colouring {
  const few = count <= 3 * HUES;
  return {
    colours: few ? Array.from({ length: HUES }, (_, i) => hue(i)) : [hue(0)],
    of: Uint8Array.from({ length: count }, (_, i) => (few ? i % HUES : 0)),
    legend: [],
    ramp: false,
  };
}

export function byColumn(axis: Axis, dark: boolean): Colouring {
  return axis.categories ? byCategory(axis) : byValue(axis, dark);
}

function byCategory(axis: Axis): Colouring {
  const { values } = axis.column;
  const counts = new Map<string, number>();
  for (const each of values) if (each !== null) counts.set(String(each), (counts.get(String(each)) ?? 0) + 1);
  const ranked = [...counts].sort((a, b) => b[1] - a[1]).map(([each]) => each);
  // In their own order, so that a colour does not change when a run is added.
  const shown = axis.categories!.filter((each) => ranked.indexOf(each) < HUES);
  const other = themed("--muted");
  const colours = [...shown.map((_, i) => hue(i)), other];
  const legend = shown.map((label, i) => ({ colour: colours[i]!, label }));
  if (ranked.length > shown.length) legend.push({ colour: other, label: `${ranked.length - shown.length} others` });
  if (axis.missing) legend.push({ colour: other, label: "none" });
  const places = new Map(shown.map((each, i) => [each, i]));
  const of = Uint8Array.from(values, (each) => (each === null ? shown.length : (places.get(String(each)) ?? shown.length)));
  return { colours, of, legend, ramp: false };
}

function byValue(axis: Axis, dark: boolean): Colouring {
  const missing = themed("--muted");
  const colours = [...Array.from({ length: SHADES }, (_, i) => shade(i / (SHADES - 1), dark)), missing];
  const of = Uint8Array.from(axis.column.values, (each) => {
    const at = axis.place(each);
    return Number.isNaN(at) ? SHADES : Math.min(SHADES - 1, Math.max(0, Math.round((axis.flipped ? 1 - at : at) * (SHADES - 1))));
  });
  const legend = [0, 0.5, 1].map((at) => ({
    colour: shade(at, dark),
    label: axis.format(axis.valueAt(axis.flipped ? 1 - at : at)),
  }));
  if (axis.missing) legend.push({ colour: missing, label: "none" });
  return { colours, of, legend, ramp: true };
}

/** A colour of the ramp, 0 to 1: of its whole length only what stands out from the page. */
function shade(share: number, dark: boolean): string {
  const at = (dark ? 0.28 + 0.72 * share : 0.82 * share) * (RAMP.length - 1);
  const low = Math.min(RAMP.length - 2, Math.floor(at));
  const part = RAMP[low]!.map((from, i) => Math.round(from + (at - low) * (RAMP[low + 1]![i]! - from)));
  return `rgb(${part.join(",")})`;
}
