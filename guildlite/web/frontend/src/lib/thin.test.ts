import assert from "node:assert/strict";
import { test } from "node:test";
import { breaksOf, extremes, nearest, notOverwritten, segmentsOf, usualRange } from "./thin.ts";

test("one spike in a million is kept, and so are both ends", () => {
  const y = new Float64Array(1_000_000).fill(1);
  y[654_321] = 100;
  const kept = extremes(y, 400);
  assert.ok(kept.includes(654_321) && kept[0] === 0 && kept.at(-1) === 999_999);
  assert.ok(kept.length <= 802);
  assert.ok(kept.every((at, i) => i === 0 || at > kept[i - 1]!));
});

test("few points are all drawn", () => {
  assert.deepEqual(extremes([5, 5, 5], 400), [0, 1, 2]);
});

test("the nearest position is found, also beyond the ends and at none", () => {
  assert.deepEqual([-5, 0, 4, 6, 99].map((at) => nearest([0, 5, 10], at)), [0, 0, 1, 1, 2]);
  assert.equal(nearest([], 1), -1);
});

test("a step that goes back begins a segment; one that stays does not", () => {
  assert.deepEqual(segmentsOf(6, breaksOf([1, 2, 2, 3, 1, 2])), [[0, 4], [4, 6]]);
  assert.deepEqual(segmentsOf(0, []), []);
});

test("what a later segment wrote again is left out, the rest stays in order", () => {
  // Trained to 5, resumed from 3, then once more from 2: TensorBoard would show 1, then 2 to 4.
  const steps = [1, 2, 3, 4, 5, 3, 4, 2, 3, 4];
  assert.deepEqual(notOverwritten(steps, breaksOf(steps)), [0, 7, 8, 9]);
  assert.deepEqual(notOverwritten([1, 1, 2], []), [0, 1, 2]);
});

test("a gap stays one however much a line is thinned", () => {
  const y = Float64Array.from({ length: 10_000 }, (_, i) => (i === 5000 ? NaN : Math.sin(i)));
  const kept = extremes(y, 50);
  assert.ok(kept.includes(5000));
  assert.ok(kept.length <= 3 * 50 + 2);
});

test("what is usual leaves out what is far away, and nothing of a plain curve", () => {
  const [low, high] = usualRange([...Array(98).keys(), 1e9, -1e9])!;
  assert.ok(low > -100 && low <= 0 && high >= 97 && high < 200);
  assert.deepEqual(usualRange([...Array(100).keys()]), [0, 99]);
  assert.equal(usualRange(Array(50).fill(2)), null);
});
