/** One column of a comparison as an axis: where each run lies on it, and what stands beside it. */
import { formatMoment, formatNumber, formatSeconds, tickLabels } from "../lib/numbers.ts";

export type Value = number | string | null;
export type Scale = "linear" | "log" | "quantile";

/** As `/api/v1/compare/columns` answers. Times are seconds since the epoch, durations seconds. */
export interface Column {
  name: string;
  head: string;
  group: string;
  type: string;
  goal: string | null;
  unit: string;
  /** The column in the filter language. */
  filter: string;
  format: string | null;
  values: Value[];
}

export interface Tick {
  /** 0 at the low end to 1 at the high one. */
  at: number;
  label: string;
}

const FEW = 8;

export class Axis {
  /** For words: each once, in order. Null for numbers. */
  readonly categories: string[] | null;
  readonly scale: Scale;
  readonly missing: number;
  /** Position of each run from 0 to 1, NaN where it has no value. */
  readonly positions: Float64Array;
  private readonly low: number = 0;
  private readonly high: number = 1;
  /** For numbers: each value once, rising, and the share of runs below it. */
  private readonly distinct: number[] = [];
  private readonly ranks: number[] = [];
  private readonly places = new Map<string, number>();

  constructor(readonly column: Column, scale: Scale = "linear", readonly flipped = false) {
    const { values } = column;
    if (column.type === "text") {
      this.scale = "linear";
      this.categories = [...new Set(values.filter((each): each is string => each !== null))].sort(byNature);
      this.categories.forEach((each, i) => this.places.set(each, i));
    } else {
      this.categories = null;
      const numbers = values.filter((each): each is number => typeof each === "number").sort((a, b) => a - b);
      for (let from = 0, to = 0; from < numbers.length; from = to) {
        while (to < numbers.length && numbers[to] === numbers[from]) to++;
        this.distinct.push(numbers[from]!);
        // Equal values share the middle of their ranks.
        this.ranks.push(numbers.length > 1 ? (from + to - 1) / 2 / (numbers.length - 1) : 0.5);
      }
      this.low = numbers[0] ?? 0;
      this.high = numbers.at(-1) ?? 1;
      this.scale = scale === "log" && !(this.low > 0) ? "linear" : scale;
    }
    this.positions = Float64Array.from(values, (each) => this.place(each));
    this.missing = values.filter((each) => each === null).length;
  }

  get canLog(): boolean {
    return this.categories === null && this.low > 0;
  }

  /** Where a value lies, flipped as the axis is; NaN for none. */
  place(value: Value): number {
    const at = this.raw(value);
    return this.flipped ? 1 - at : at;
  }

  private raw(value: Value): number {
    if (value === null) return NaN;
    if (this.categories) {
      const at = this.places.get(String(value));
      return at === undefined ? NaN : this.categories.length > 1 ? at / (this.categories.length - 1) : 0.5;
    }
    const number = Number(value);
    if (this.low === this.high) return 0.5;
    if (this.scale === "quantile") return interpolate(this.distinct, this.ranks, number);
    const [low, high, at] = this.scale === "log" ? [Math.log(this.low), Math.log(this.high), Math.log(number)] : [this.low, this.high, number];
    return (at - low) / (high - low);
  }

  /** The value at a position; of words the nearest. */
  valueAt(position: number): number | string {
    const at = Math.min(1, Math.max(0, this.flipped ? 1 - position : position));
    if (this.categories) return this.categories[Math.round(at * (this.categories.length - 1))] ?? "";
    // Exactly the ends, so that a brush to the end of an axis holds the outermost run.
    if (at === 0) return this.low;
    if (at === 1) return this.high;
    if (this.scale === "quantile") return round(interpolate(this.ranks, this.distinct, at));
    if (this.scale === "log") return round(Math.exp(Math.log(this.low) + at * (Math.log(this.high) - Math.log(this.low))));
    return round(this.low + at * (this.high - this.low));
  }

  format(value: Value): string {
    if (value === null) return "none";
    if (typeof value === "string") return value;
    const { type, unit, format } = this.column;
    if (type === "time") return formatMoment(value * 1000).slice(0, 16);
    if (type === "duration") return formatSeconds(value);
    if (format?.endsWith("%")) return `${(value * 100).toFixed(format.split(".")[1]?.replace("%", "").length ?? 0).replace("-", "\u2212")}%`;
    return formatNumber(value, unit);
  }

  /** What to write beside the axis, at most as many as fit at `least` of its length apart. */
  ticks(least: number): Tick[] {
    const values = this.categories ?? (this.distinct.length <= FEW || this.scale === "quantile" ? this.distinct : null);
    const ticks = values
      ? values.map((each) => ({ at: this.place(each), label: this.format(each) }))
      : this.round(Math.max(2, Math.floor(1 / least)));
    ticks.sort((a, b) => a.at - b.at);
    return thinned(ticks, least);
  }

  private round(most: number): Tick[] {
    const found = this.scale === "log" ? decades(this.low, this.high) : steps(this.low, this.high, most);
    const plain = this.scale !== "log" && !this.column.format && this.column.type === "number";
    const labels = plain ? tickLabels(found, this.column.unit) : found.map((each) => this.format(each));
    return found.map((each, i) => ({ at: this.place(each), label: labels[i]! }));
  }
}

function thinned(ticks: Tick[], least: number): Tick[] {
  const kept: Tick[] = [];
  for (const tick of ticks) {
    if (!kept.length || tick.at - kept.at(-1)!.at >= least - 1e-9) kept.push(tick);
  }
  return kept;
}

/** Round numbers inside a range, 1, 2 or 5 times a power of ten apart. */
export function steps(low: number, high: number, most: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999999)!;
  const found: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found.length ? found : [low];
}

/** Powers of ten inside a range; with 2 and 5 between them while they are few. */
export function decades(low: number, high: number): number[] {
  const found: number[] = [];
  const between = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const each of between) {
      const value = Number(`${each}e${power}`);
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) found.push(value);
    }
  }
  return found.length > 1 ? found : [low, high];
}

function interpolate(from: readonly number[], to: readonly number[], at: number): number {
  let low = 0;
  let high = from.length - 1;
  if (at <= from[low]!) return to[low]!;
  if (at >= from[high]!) return to[high]!;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[middle]! <= at) low = middle;
    else high = middle;
  }
  return to[low]! + ((at - from[low]!) / (from[high]! - from[low]!)) * (to[high]! - to[low]!);
}

function round(value: number): number {
  return Number(value.toPrecision(5));
}

function byNature(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}
