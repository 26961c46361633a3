import assert from "node:assert/strict";
import { test } from "node:test";
import { unpack, type SeriesAnswer } from "../api/series.ts";
import { linesOf } from "./groups.ts";
import { outside, xRange, yRange } from "./ranges.ts";
import { clockOf } from "./replay.ts";
import { pointsUntil, Series } from "./series.ts";

const answer = (more: Partial<SeriesAnswer>): SeriesAnswer => ({
  run: "r", tag: "t", anew: true, cursor: 3, n: 3, x: [0, 1, 2], y: [1, 2, 3], time: [1000, 2000, 3000], at: null, smooth: null,
  non_finite: [], sampled: false, start: 500, overwritten: 0, unmatched: 0, ...more,
});
const series = (more: Partial<SeriesAnswer> = {}): Series => {
  const made = new Series("r", "t", "name", 0);
  made.take(answer(more), "step 0 false null 0");
  return made;
};
const wish = { x: "step", smooth: 0, joined: false };
const axes = { xLog: false, yLog: false, outliers: true, zoom: null, yZoom: null };

test("positions are steps, steps since the first, seconds since the start, or moments", () => {
  const one = series({ x: [5, 6, 8], time: [1000, null, 3000] });
  const on = (x: string): number[] => [...(one.line({ ...wish, x }, "k").x as number[])];
  assert.deepEqual(on("step"), [5, 6, 8]);
  assert.deepEqual(on("relstep"), [0, 1, 3]);
  assert.deepEqual(on("relative"), [0.5, 0.5, 2.5]);
  assert.deepEqual(on("wall"), [1000, 1000, 3000]);
});

test("what is new goes on, a gap stays one", () => {
  const one = series();
  assert.equal(one.take(answer({ anew: false, cursor: 3, x: [], y: [], time: [] }), "-"), false);
  one.take(answer({ anew: false, cursor: 5, n: 5, x: [3, 4], y: [null, 5], time: [4000, 5000], non_finite: [[3, "nan", 4000]] }), "-");
  const line = one.line(wish, "k");
  assert.deepEqual(line.y, [1, 2, 3, NaN, 5]);
  assert.deepEqual(line.marks, [[3, NaN, 4000]]);
  assert.equal(one.cursor, 5);
});

test("joined segments smooth what is left", () => {
  const one = series({ x: [0, 1, 2, 1, 2], y: [1, 9, 9, 1, 1], time: [1, 2, 3, 4, 5] });
  assert.deepEqual(one.line(wish, "k").breaks, [3]);
  const joined = one.line({ ...wish, joined: true, smooth: 0.9 }, "k");
  assert.deepEqual([...(joined.x as number[])], [0, 1, 2]);
  assert.deepEqual([...(joined.y as number[])], [1, 1, 1]);
  assert.equal(one.overwritten, 2);
});

test("a thinned series is stale when it was asked for otherwise, a whole one is not", () => {
  assert.equal(series().isStale("step 0.5 true 1,2 0", 400), false);
  assert.equal(series().isStale("metric:a 0 false null 0", 400), true);
  assert.equal(series({ sampled: true }).isStale("step 0 false null 0", 400), false);
  assert.equal(series({ sampled: true }).isStale("step 0.5 false null 0", 400), true);
});

test("a replay counts the points up to a moment, whatever times are unknown", () => {
  assert.deepEqual([5, 10, 15, 99].map((at) => pointsUntil([10, NaN, 12, 20], at)), [0, 2, 3, 4]);
  assert.equal(pointsUntil([], 5), 0);
  const clock = clockOf([series(), series({ time: [2000, 3000, 5000] })], 0.5);
  assert.equal(clock.at_s, 2);
  assert.equal(clock.until(series().line(wish, "k")), 3000);
  const untimed = new Series("other", "t", "name", 0);
  untimed.take(answer({ run: "other", time: [null, null, null] }), "-");
  assert.equal(clock.until(untimed.line(wish, "k")), -0.5);
});

test("ranges hold what is shown, and what lies outside is counted", () => {
  const one = series({ x: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], y: [1, 1, 1, 1, 2, 2, 2, 2, 2, -1000], time: Array(10).fill(1), n: 10 });
  const line = one.line(wish, "k");
  assert.deepEqual(xRange([line], axes), [0, 9]);
  const [low, high] = yRange([line], { ...axes, zoom: [0, 8] }, [0, 8]);
  assert.ok(low < 1 && low > 0.9 && high > 2 && high < 2.1);
  assert.deepEqual(outside([line], axes, [0, 9], [1.5, 3]), { above: 0, below: 5, unplaced: 0 });
  assert.deepEqual(outside([line], { ...axes, yLog: true }, [0, 9], [1, 1.5]), { above: 5, below: 0, unplaced: 1 });
  assert.deepEqual(yRange([series({ y: [7, 7 + 1e-15, 7] }).line(wish, "k")], axes, [0, 2]).map((y) => y.toFixed(1)), ["6.3", "7.7"]);
});

test("columns of numbers become the same answer", () => {
  const text = new TextEncoder().encode(JSON.stringify({ series: [{ tag: "t", x: 2, y: 2, time: 1 }], live: true }));
  const padded = Math.ceil(text.length / 8) * 8;
  const buffer = new ArrayBuffer(8 + padded + 40);
  new DataView(buffer).setBigUint64(0, BigInt(padded), true);
  new Uint8Array(buffer, 8, padded).fill(32).set(text);
  new Float64Array(buffer, 8 + padded).set([1, 2, 0.5, NaN, 9]);
  const found = unpack(buffer);
  assert.equal(found.live, true);
  assert.deepEqual(found.series.map(({ x, y, time }) => [x, y, time].map((each) => [...(each as Float64Array)])), [[[1, 2], [0.5, NaN], [9]]]);
});

test("groups are named by what they have in common", () => {
  const curve = { runs: ["a", "b"], x: [0], mean: [1], low: [0], high: [2], n: [2], aligned: true };
  const names = linesOf([{ value: "0.1", ...curve }, { value: null, ...curve }], "flag.lr").map((line) => line.name);
  assert.deepEqual(names, ["lr 0.1 \u00b7 n 2", "lr not set \u00b7 n 2"]);
});
