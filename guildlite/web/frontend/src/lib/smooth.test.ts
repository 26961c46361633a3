import assert from "node:assert/strict";
import { test } from "node:test";
import { smooth } from "./smooth.ts";

test("a constant stays constant, from its first value on and at the strongest smoothing", () => {
  for (const value of smooth(new Array(5000).fill(3.5), 0.999)) {
    assert.ok(Math.abs(value - 3.5) < 1e-9);
  }
});

test("no smoothing gives the values back", () => {
  assert.deepEqual([...smooth([1, -2, 1e300], 0)], [1, -2, 1e300]);
});

test("the second value is the mean weighted 0.5 : 1 for a weight of one half", () => {
  // By hand: (0.5 * 0.5 * 1 + 0.5 * 4) / (1 - 0.25) = 3.
  assert.ok(Math.abs(smooth([1, 4], 0.5)[1]! - 3) < 1e-12);
});

test("values that are not finite stay and count for nothing", () => {
  const found = smooth([1, NaN, 4, Infinity], 0.5);
  assert.ok(Number.isNaN(found[1]!));
  assert.equal(found[3], Infinity);
  assert.ok(Math.abs(found[2]! - 3) < 1e-12);
});
