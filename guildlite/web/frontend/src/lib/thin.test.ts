import assert from "node:assert/strict";
import { test } from "node:test";
import { extremes, middleRange, nearest, strokes } from "./thin.ts";

test("one spike in a million is kept, and so are both ends", () => {
  const x = Float64Array.from({ length: 1_000_000 }, (_, i) => i);
  const y = Float64Array.from(x, () => 1);
  y[654_321] = 100;
  const kept = extremes({ x, y }, 400);
  assert.ok(kept.includes(654_321) && kept[0] === 0 && kept.at(-1) === 999_999);
  assert.ok(kept.length <= 802);
  assert.ok(kept.every((at, i) => i === 0 || at > kept[i - 1]!));
});

test("few points are all drawn", () => {
  assert.deepEqual(extremes({ x: [1, 2, 3], y: [5, 5, 5] }, 400), [0, 1, 2]);
});

test("the nearest position is found, also beyond the ends and at none", () => {
  assert.deepEqual([-5, 0, 4, 6, 99].map((at) => nearest([0, 5, 10], at)), [0, 0, 1, 1, 2]);
  assert.equal(nearest([], 1), -1);
});

test("a position that goes back begins a stroke; one that stays does not", () => {
  assert.deepEqual(strokes([1, 2, 2, 3, 1, 2]), [[0, 4], [4, 6]]);
  assert.deepEqual(strokes([]), []);
});

test("the middle range leaves out what is far away, and nothing of a constant", () => {
  const values = [...Array(98).keys(), 1e9, -1e9];
  const [low, high] = middleRange(values)!;
  assert.ok(low >= 0 && high <= 97);
  assert.equal(middleRange(Array(50).fill(2)), null);
});
