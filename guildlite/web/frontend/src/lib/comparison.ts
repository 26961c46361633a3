/** What a comparison's charts show, all of it in the page's address. */
import type { Column, Scale } from "../charts/axis.ts";
import { parseBrushes, writeBrushes, type Brush } from "../charts/select.ts";

export interface Comparison {
  /** Names of the axes in order; null is what the server begins with. */
  axes: string[] | null;
  scales: Map<string, Scale>;
  flipped: Set<string>;
  brushes: Map<string, Brush[]>;
  /** A column's name, "run" for each run its own; null is the first metric. */
  colour: string | null;
  x: string | null;
  y: string | null;
  matrix: boolean;
  sort: string;
}

const SCALES: readonly string[] = ["linear", "log", "quantile"];

export function parseComparison(query: URLSearchParams): Comparison {
  const scales = new Map<string, Scale>();
  for (const word of query.getAll("scale")) {
    const [name, scale] = word.split(":").map(decoded);
    if (name && scale && SCALES.includes(scale)) scales.set(name, scale as Scale);
  }
  const axes = query.get("axes");
  return {
    axes: axes ? axes.split(",").map(decoded).filter(Boolean) : null,
    scales,
    flipped: new Set(query.getAll("flip")),
    brushes: parseBrushes(query),
    colour: query.get("colour"),
    x: query.get("x"),
    y: query.get("y"),
    matrix: query.get("matrix") === "1",
    sort: query.get("sort") ?? "",
  };
}

/** Put the state into a query that may hold other words; what is as usual leaves no word. */
export function writeComparison(state: Comparison, query: URLSearchParams): void {
  const put = (name: string, value: string | null): void => {
    if (value) query.set(name, value);
    else query.delete(name);
  };
  put("axes", state.axes && state.axes.map(encodeURIComponent).join(","));
  put("colour", state.colour);
  put("x", state.x);
  put("y", state.y);
  put("matrix", state.matrix ? "1" : null);
  put("sort", state.sort);
  query.delete("scale");
  for (const [name, scale] of state.scales) query.append("scale", `${encodeURIComponent(name)}:${scale}`);
  query.delete("flip");
  for (const name of state.flipped) query.append("flip", name);
  writeBrushes(state.brushes, query);
}

/** A flag over two powers of ten and more, such as a learning rate, is looked at by its logarithm. */
export function usualScale(column: Column): Scale {
  const numbers = column.values.filter((each): each is number => typeof each === "number");
  if (column.group !== "flag" || column.type !== "number" || !numbers.length) return "linear";
  const low = numbers.reduce((a, b) => Math.min(a, b));
  return low > 0 && numbers.reduce((a, b) => Math.max(a, b)) / low >= 100 ? "log" : "linear";
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
