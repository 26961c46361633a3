/** Which runs are chosen by brushes: ranges of values on columns, kept in the page's address. */
import type { Column, Value } from "./axis.ts";

/** A range of values, both ends in it; of words all between two in their order. Or those without. */
export type Brush = { low: number | string; high: number | string } | "none";
/** Column's name → its brushes. A run must be in one brush of every column that has some. */
export type Brushes = ReadonlyMap<string, readonly Brush[]>;

export function inBrush(value: Value, brush: Brush, order: (value: Value) => number): boolean {
  if (brush === "none" || value === null) return brush === "none" && value === null;
  const at = order(value);
  const [low, high] = [order(brush.low), order(brush.high)];
  return at >= Math.min(low, high) && at <= Math.max(low, high);
}

/** The order of a column's values: numbers by themselves, words by their place among all. */
export function orderOf(column: Column): (value: Value) => number {
  if (column.type !== "text") return Number;
  const words = [...new Set(column.values.filter((each) => each !== null))].map(String);
  words.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const places = new Map(words.map((each, i) => [each, i]));
  return (value) => places.get(String(value)) ?? NaN;
}

/** For each run 1 where it is in a brush of every brushed column; brushes of no column are left out. */
export function selected(count: number, columns: readonly Column[], brushes: Brushes): Uint8Array {
  const mask = new Uint8Array(count).fill(1);
  for (const column of columns) {
    const own = brushes.get(column.name);
    if (!own?.length) continue;
    const order = orderOf(column);
    for (let i = 0; i < count; i++) {
      if (mask[i] && !own.some((each) => inBrush(column.values[i]!, each, order))) mask[i] = 0;
    }
  }
  return mask;
}

/** The brushes as a filter that `gl runs` takes, "" for none. */
export function filterOf(columns: readonly Column[], brushes: Brushes): string {
  const parts: string[] = [];
  for (const column of columns) {
    const own = brushes.get(column.name) ?? [];
    const each = own.map((brush) => condition(column, brush)).filter(Boolean);
    if (each.length) parts.push(each.length > 1 ? `(${each.join(" or ")})` : each[0]!);
  }
  return parts.join(" and ");
}

function condition(column: Column, brush: Brush): string {
  const { filter } = column;
  if (brush === "none") return `not has ${filter}`;
  if (column.type !== "text") {
    const [low, high] = [brush.low, brush.high].map(Number).sort((a, b) => a - b);
    if (column.type === "time") return `${filter} >= "${moment(low!)}" and ${filter} <= "${moment(high!)}"`;
    return `${filter} >= ${low} and ${filter} <= ${high}`;
  }
  const order = orderOf(column);
  const words = [...new Set(column.values)].filter((each) => each !== null && inBrush(each, brush, order));
  return `${filter} in (${words.map((each) => `"${String(each).replace(/[\\"]/g, "\\$&")}"`).join(", ")})`;
}

function moment(seconds: number): string {
  const date = new Date(seconds * 1000);
  const two = (part: number): string => String(part).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

// Address

/** `NAME:LOW..HIGH` or `NAME:none`, name and ends quoted; one word for each brush. */
export function writeBrushes(brushes: Brushes, query: URLSearchParams): void {
  query.delete("brush");
  for (const [name, own] of brushes) {
    for (const brush of own) {
      const range = brush === "none" ? "none" : `${quoted(brush.low)}..${quoted(brush.high)}`;
      query.append("brush", `${quoted(name)}:${range}`);
    }
  }
}

export function parseBrushes(query: URLSearchParams): Map<string, Brush[]> {
  const found = new Map<string, Brush[]>();
  for (const word of query.getAll("brush")) {
    const colon = word.indexOf(":");
    const [low, high] = word.slice(colon + 1).split("..").map(unquoted);
    if (colon < 1 || low === undefined) continue;
    const name = unquoted(word.slice(0, colon));
    const brush: Brush | null = high !== undefined ? { low, high } : low === "none" ? "none" : null;
    if (brush) found.set(name, [...(found.get(name) ?? []), brush]);
  }
  return found;
}

/** Percent signs for what has a meaning in these words, dots of "..", included. */
function quoted(part: number | string): string {
  return encodeURIComponent(String(part)).replace(/\.\./g, "%2E%2E");
}

function unquoted(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
