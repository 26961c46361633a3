import assert from "node:assert/strict";
import { test } from "node:test";
import { Axis, decades, steps, type Column, type Value } from "./axis.ts";

const column = (values: Value[], more: Partial<Column> = {}): Column => ({
  name: "c", head: "c", group: "flag", type: values.some((each) => typeof each === "string") ? "text" : "number",
  goal: null, unit: "", filter: "c", format: null, values, ...more,
});

test("a linear axis goes from its smallest to its largest value; none has no place", () => {
  const axis = new Axis(column([10, 20, null, 15]));
  assert.deepEqual([...axis.positions], [0, 1, NaN, 0.5]);
  assert.equal(axis.missing, 1);
  assert.equal(axis.valueAt(0.25), 12.5);
});

test("decades are as far apart on a logarithmic axis, and back", () => {
  const axis = new Axis(column([0.001, 0.01, 0.1, 1]), "log");
  [0, 1 / 3, 2 / 3, 1].forEach((at, i) => assert.ok(Math.abs(axis.positions[i]! - at) < 1e-12));
  assert.equal(axis.valueAt(1 / 3), 0.01);
});

test("what is not positive has no logarithm, so the axis stays linear", () => {
  const axis = new Axis(column([0, 5, 10]), "log");
  assert.equal(axis.scale, "linear");
  assert.equal(axis.canLog, false);
});

test("on a quantile axis runs are evenly spread, equal values at the middle of their ranks", () => {
  // Ranks by hand: 1 → 0; 2, 2 → (1 + 2) / 2 = 1.5; 1000 → 3; over 3.
  const axis = new Axis(column([2, 1, 1000, 2]), "quantile");
  assert.deepEqual([...axis.positions], [0.5, 0, 1, 0.5]);
});

test("words stand in their natural order, each once", () => {
  const axis = new Axis(column(["b10", "b2", null, "a", "b2"]));
  assert.deepEqual(axis.categories, ["a", "b2", "b10"]);
  assert.deepEqual([...axis.positions], [1, 0.5, NaN, 0, 0.5]);
  assert.equal(axis.valueAt(0.6), "b2");
});

test("a flipped axis is upside down, and its ends are exactly the outermost values", () => {
  const axis = new Axis(column([0.1 + 0.2, 7]), "linear", true);
  assert.deepEqual([...axis.positions], [1, 0]);
  assert.equal(axis.valueAt(1), 0.1 + 0.2);
  assert.equal(axis.valueAt(0), 7);
});

test("one value, and none, have a place to stand", () => {
  assert.deepEqual([...new Axis(column([3, 3])).positions], [0.5, 0.5]);
  assert.deepEqual([...new Axis(column([null])).positions], [NaN]);
  assert.deepEqual([...new Axis(column(["only"])).positions], [0.5]);
});

test("ticks are round, or the values themselves when these are few", () => {
  assert.deepEqual(steps(0.3, 9.8, 5), [2, 4, 6, 8]);
  assert.deepEqual(decades(0.002, 0.3), [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]);
  assert.deepEqual(decades(1e-5, 10), [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10]);
  const sizes = new Axis(column([16, 128, 32, 64, 16]));
  assert.deepEqual(sizes.ticks(0.05).map((each) => each.label), ["16", "32", "64", "128"]);
  const tight = sizes.ticks(0.5).map((each) => each.at);
  assert.ok(tight.every((at, i) => i === 0 || at - tight[i - 1]! >= 0.5));
});

test("ten thousand different values take no square of time", () => {
  const values = Array.from({ length: 100_000 }, (_, i) => Math.sin(i) * 1e6);
  assert.equal(new Axis(column(values), "quantile").positions.length, 100_000);
});
