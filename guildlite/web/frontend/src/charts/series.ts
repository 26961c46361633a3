/** A series as far as it is known here, and the line it makes. Nothing here touches the page. */
import type { Curve, SeriesAnswer } from "../api/series.ts";
import { smooth } from "../lib/smooth.ts";
import { metricOf } from "../lib/state.ts";
import { breaksOf, notOverwritten, type Columns } from "../lib/thin.ts";

type Numbers = ArrayLike<number>;

/** Columns of one length. A time nobody saw, and a value that is not finite, are NaN. */
interface Points {
  steps: Numbers;
  times: Numbers;
  values: Numbers;
  /** Positions, where another metric gives them. */
  at: Numbers | null;
}

/** A line to be drawn. */
export interface Line extends Columns {
  /** What hides it: its run where a chart has several, else its series. */
  key: string;
  name: string;
  /** Its run, "" for what several runs make. */
  run: string;
  /** Picks colour and dashes, as the server's charts do. */
  slot: number;
  /** Where a stroke ends and the next begins. */
  breaks: readonly number[];
  /** Whether positions never fall inside a stroke. */
  rising: boolean;
  times: Numbers;
  /** Drawn faint behind, where the line itself is smoothed. */
  raw: (Columns & { breaks: readonly number[]; times: Numbers }) | null;
  /** Position, value and time of points that are not finite. */
  marks: readonly (readonly [number, number, number])[];
  /** Drawn around it: lower and upper ends, of the line's length. */
  band: { low: Numbers; high: Numbers } | null;
  /** 1, or less for a line that is only a background. */
  alpha: number;
}

/** What of the page's settings changes a line. */
export interface LineWish {
  x: string;
  smooth: number;
  joined: boolean;
}

/** Points a page takes whole, to smooth them itself. */
export const MOST_WHOLE = 20_000;

const fromJson = (numbers: ArrayLike<number | null>): Numbers =>
  Array.isArray(numbers) && numbers.includes(null) ? numbers.map((each) => each ?? NaN) : (numbers as Numbers);

export class Series {
  cursor = -1;
  n = 0;
  start: number | null = null;
  sampled = false;
  overwritten = 0;
  unmatched = 0;
  private points: Points = { steps: [], times: [], values: [], at: null };
  private smoothed: Points | null = null;
  private nonFinite: SeriesAnswer["non_finite"] = [];
  /** What the points were asked for with. */
  private wished = "";
  private appended = 0;
  private made: { key: string; line: Line } | null = null;

  constructor(
    readonly run: string,
    readonly tag: string,
    readonly name: string,
    readonly slot: number,
  ) {}

  get loaded(): boolean {
    return this.cursor >= 0;
  }

  /** Whether what is known must be asked for anew, as after a change of smoothing. */
  isStale(wished: string, width: number): boolean {
    if (!this.loaded) return true;
    if (!this.sampled) return wished.startsWith("metric:");
    // A thinned line can be continued for a while, a smoothed one only from all of its points.
    return this.wished !== wished || this.appended > (this.smoothed ? 0 : width / 2);
  }

  /** Take an answer that was asked for with these wishes. */
  take(answer: SeriesAnswer, wished: string): boolean {
    const more = { steps: answer.x, times: fromJson(answer.time), values: fromJson(answer.y), at: answer.at };
    if (answer.anew) {
      this.points = more;
      this.nonFinite = answer.non_finite;
      this.smoothed = answer.smooth && pointsOf(answer.smooth);
      this.wished = wished;
      this.sampled = answer.sampled;
      this.appended = 0;
      this.overwritten = answer.overwritten;
      this.unmatched = answer.unmatched;
    } else {
      if (!answer.x.length) return false;
      const join = (a: Numbers, b: Numbers): number[] => Array.from(a).concat(Array.from(b));
      const { steps, times, values } = this.points;
      this.points = {
        steps: join(steps, more.steps), times: join(times, more.times), values: join(values, more.values), at: null,
      };
      this.nonFinite = this.nonFinite.concat(answer.non_finite);
      this.appended += answer.x.length;
    }
    this.made = null;
    this.n = answer.n;
    this.start ??= answer.start;
    this.cursor = answer.cursor;
    return true;
  }

  line(wish: LineWish, key: string): Line {
    const of = `${wish.x} ${wish.smooth} ${wish.joined} ${key}`;
    if (this.made?.key !== of) this.made = { key: of, line: this.make(wish, key) };
    return this.made.line;
  }

  private make(wish: LineWish, key: string): Line {
    let points = this.points;
    let breaks = metricOf(wish.x) ? [] : breaksOf(points.steps);
    if (wish.joined && breaks.length && !this.sampled) {
      const kept = notOverwritten(points.steps, breaks);
      this.overwritten = points.steps.length - kept.length;
      points = chosen(points, kept);
      breaks = [];
    } else if (!this.sampled) this.overwritten = 0;
    const first = this.points.steps[0] ?? 0;
    const x = this.positions(points, wish.x, first);
    const line: Line = {
      key, name: this.name, run: this.run, slot: this.slot, x, y: points.values, times: points.times, breaks, raw: null, band: null,
      alpha: 1, rising: !metricOf(wish.x),
      marks: metricOf(wish.x) ? [] : this.nonFinite.map(([step, word, time]) => {
        const one = { steps: [step], times: [time ?? NaN], values: [NaN], at: null };
        return [this.positions(one, wish.x, first)[0]!, word === "inf" ? Infinity : word === "-inf" ? -Infinity : NaN, time ?? NaN];
      }),
    };
    if (!wish.smooth) return line;
    const raw = { x, y: points.values, breaks, times: points.times };
    if (!this.sampled) return { ...line, y: smooth(points.values, wish.smooth), raw };
    if (!this.smoothed) return line;
    const smoothed = this.smoothed;
    return {
      ...line, x: this.positions(smoothed, wish.x, first), y: smoothed.values, times: smoothed.times, raw,
      breaks: metricOf(wish.x) || wish.joined ? [] : breaksOf(smoothed.steps),
    };
  }

  private positions(points: Points, x: string, first: number): Numbers {
    if (points.at) return points.at;
    if (x === "step" || metricOf(x)) return points.steps;
    if (x === "relstep") return Float64Array.from(points.steps, (step) => step - first);
    const known = Array.prototype.find.call(points.times, (each: number) => each === each) as number | undefined;
    const zero = x === "relative" ? (this.start ?? known ?? 0) : 0;
    const scale = x === "relative" ? 1000 : 1;
    let last = zero;
    return Float64Array.from(points.times, (time) => {
      last = time === time ? time : last;
      return (last - zero) / scale;
    });
  }

  /** Times of the first and the last point, null where nobody saw them. */
  get span(): [number, number] | null {
    const times = Array.prototype.filter.call(this.points.times, (each: number) => each === each) as number[];
    return times.length ? [times.reduce((a, b) => Math.min(a, b)), times.reduce((a, b) => Math.max(a, b))] : null;
  }

  get lastStep(): number | null {
    const { steps } = this.points;
    return steps.length ? steps[steps.length - 1]! : null;
  }

  get segmented(): boolean {
    return breaksOf(this.points.steps).length > 0 || this.overwritten > 0;
  }
}

function pointsOf(curve: Curve): Points {
  return { steps: curve.x, times: fromJson(curve.time), values: fromJson(curve.y), at: curve.at };
}

function chosen(points: Points, kept: readonly number[]): Points {
  const take = (from: Numbers): Float64Array => Float64Array.from(kept, (i) => from[i]!);
  return { steps: take(points.steps), times: take(points.times), values: take(points.values), at: null };
}

/** How many points lie at or before a moment: what a replay has come to. */
export function pointsUntil(times: Numbers, until: number): number {
  let low = 0;
  let high = times.length;
  // Unknown times stand for those before them.
  while (low < high) {
    const middle = (low + high) >> 1;
    let at = middle;
    while (at > low && times[at] !== times[at]) at--;
    if (times[at]! > until) high = at;
    else low = middle + 1;
  }
  return low;
}
