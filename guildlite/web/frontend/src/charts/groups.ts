/** Groups of runs as lines: the mean, with a band around it. */
import type { GroupCurve } from "../api/series.ts";
import type { Line } from "./series.ts";

export function linesOf(groups: readonly GroupCurve[], by: string): Line[] {
  const name = by.replace(/^flag\./, "");
  return groups.map((group, slot) => ({
    key: `${by}=${group.value ?? ""}`,
    name: `${group.value === null ? `${name} not set` : `${name} ${group.value}`} \u00b7 n ${group.runs.length}`,
    run: "",
    slot,
    x: group.x,
    y: group.mean,
    times: [],
    breaks: [],
    rising: true,
    raw: null,
    marks: [],
    band: { low: group.low, high: group.high },
    alpha: 1,
  }));
}
