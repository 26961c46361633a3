import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNumber, formatSeconds, tickLabels } from "./numbers.ts";

test("labels of ticks tell them apart", () => {
  assert.deepEqual(tickLabels([0, 2.5, 5]), ["0", "2.5", "5"]);
  assert.deepEqual(tickLabels([0.0925, 0.095, 0.0975]), ["0.0925", "0.095", "0.0975"]);
  assert.deepEqual(tickLabels([-1000, 0, 1000]), ["\u22121,000", "0", "1,000"]);
  assert.deepEqual(tickLabels([0, 0.25, 0.5], "ratio"), ["0", "25%", "50%"]);
  assert.deepEqual(tickLabels([0, 1024 ** 3], "bytes"), ["0", "1 GiB"]);
});

test("values that are no numbers have words", () => {
  assert.deepEqual([NaN, Infinity, -Infinity].map((each) => formatNumber(each)), ["NaN", "\u221e", "\u2212\u221e"]);
});

test("spans of time are read as on a clock", () => {
  const spans = [0, 40, 90, 120, 3900, 7200, 3 * 86400].map(formatSeconds);
  assert.deepEqual(spans, ["0", "40 s", "1:30", "2 min", "1 h 05", "2 h", "3 d"]);
});
