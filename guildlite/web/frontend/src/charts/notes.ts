/** What a card says below its charts of the points that are known and not seen. */
import type { Outside } from "./ranges.ts";

export interface Unseen extends Outside {
  /** Whether the points counted are only those drawn of a long series. */
  sampled: boolean;
  /** Left out because a resumed training wrote their step again. */
  overwritten: number;
  /** Without a value of the metric on the x axis. */
  unmatched: number;
  metric: string;
  /** Whether a group's runs were interpolated. */
  interpolated: boolean;
}

export function notesOf(unseen: Unseen): string {
  const { above, below, unplaced, sampled, overwritten, unmatched, metric, interpolated } = unseen;
  const count = (of: number): string => of.toLocaleString("en-US");
  const points = (of: number): string => `${count(of)} ${of === 1 ? "point" : "points"}`;
  const words: string[] = [];
  if (above) words.push(`${points(above)} above the view`);
  if (below) words.push(above ? `${count(below)} below` : `${points(below)} below the view`);
  if (unplaced) words.push(`${points(unplaced)} at zero or below have no place on a log axis`);
  if (words.length && sampled) words.push("counted among those drawn");
  if (overwritten) words.push(`${points(overwritten)} written again by a resumed training left out`);
  if (unmatched) words.push(`${points(unmatched)} without a value of ${metric} at the same step left out`);
  if (interpolated) words.push("steps differ between runs: interpolated between a run\u2019s own points");
  return words.join(", ");
}
