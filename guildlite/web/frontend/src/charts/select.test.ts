import assert from "node:assert/strict";
import { test } from "node:test";
import { pearson, spearman } from "../lib/correlation.ts";
import { parseComparison, usualScale, writeComparison } from "../lib/comparison.ts";
import type { Column, Value } from "./axis.ts";
import { filterOf, parseBrushes, selected, writeBrushes, type Brush } from "./select.ts";

const column = (name: string, values: Value[], type = "number"): Column => ({
  name, head: name, group: "flag", type, goal: null, unit: "", filter: name, format: null, values,
});

const LR = column("flag.lr", [0.1, 0.01, null, 0.001]);
const WAY = column("flag.way", ["a10", "b", "a2", null], "text");
const brushes = (...own: [string, Brush[]][]): Map<string, Brush[]> => new Map(own);

test("both ends are in a range; one of a column's ranges will do, all columns must", () => {
  const two = brushes(["flag.lr", [{ low: 0.01, high: 0.1 }]]);
  assert.deepEqual([...selected(4, [LR, WAY], two)], [1, 1, 0, 0]);
  two.set("flag.lr", [{ low: 0.1, high: 1 }, { low: 0, high: 0.001 }]);
  assert.deepEqual([...selected(4, [LR, WAY], two)], [1, 0, 0, 1]);
  two.set("flag.way", [{ low: "a2", high: "a10" }]);
  assert.deepEqual([...selected(4, [LR, WAY], two)], [1, 0, 0, 0]);
});

test("runs without a value are chosen by their own brush alone", () => {
  assert.deepEqual([...selected(4, [LR], brushes(["flag.lr", ["none"]]))], [0, 0, 1, 0]);
  assert.deepEqual([...selected(4, [LR], brushes(["flag.lr", [{ low: -9, high: 9 }]]))], [1, 1, 0, 1]);
});

test("a brush on a column that is not there chooses nothing away", () => {
  assert.deepEqual([...selected(2, [LR], brushes(["gone", ["none"]]))], [1, 1]);
});

test("brushes are a filter", () => {
  const own = brushes(["flag.lr", [{ low: 0.1, high: 0.01 }, "none"]], ["flag.way", [{ low: "a2", high: "a10" }]]);
  assert.equal(
    filterOf([LR, WAY], own),
    '(flag.lr >= 0.01 and flag.lr <= 0.1 or not has flag.lr) and flag.way in ("a10", "a2")',
  );
  const quoted = column("w", ['say "x"\\', "b"], "text");
  assert.equal(filterOf([quoted], brushes(["w", [{ low: 'say "x"\\', high: 'say "x"\\' }]])), 'w in ("say \\"x\\"\\\\")');
});

test("the address holds brushes, whatever is in names and words", () => {
  const own = brushes(["a:b,c..d", [{ low: "x..y", high: "100%" }, "none"]], ["lr", [{ low: "1e-3", high: "2" }]]);
  const query = new URLSearchParams("q=1");
  writeBrushes(own, query);
  assert.deepEqual(parseBrushes(new URLSearchParams(query.toString())), own);
  assert.equal(query.get("q"), "1");
});

test("the address holds all else, too; what is as usual leaves no word", () => {
  const words = "q=x&axes=flag.a%252Cb,loss&scale=flag.lr:log&flip=loss&colour=run&x=p&y=q&matrix=1&sort=-loss";
  const state = parseComparison(new URLSearchParams(words));
  assert.deepEqual(state.axes, ["flag.a,b", "loss"]);
  assert.equal(state.scales.get("flag.lr"), "log");
  const query = new URLSearchParams("q=x");
  writeComparison(state, query);
  assert.deepEqual(parseComparison(query), state);
  const empty = new URLSearchParams("q=x");
  writeComparison(parseComparison(empty), empty);
  assert.equal(empty.toString(), "q=x");
  assert.equal(parseComparison(new URLSearchParams("scale=a:cubic&brush=&brush=x:1")).brushes.size, 0);
});

test("a flag over two powers of ten is looked at by its logarithm", () => {
  assert.equal(usualScale(column("f", [0.001, 0.1])), "log");
  assert.equal(usualScale(column("f", [0.001, 0.09])), "linear");
  assert.equal(usualScale(column("f", [0, 1, 1000])), "linear");
  assert.equal(usualScale({ ...column("f", [1, 1000]), group: "metric" }), "linear");
});

test("correlations by hand", () => {
  // x 1 2 3, y 2 4 5: covariance 3, squares 2 and 14/3, so r = 3 / sqrt(28 / 3) = 0.98198.
  assert.ok(Math.abs(pearson([[1, 2], [2, 4], [3, 5]])! - 0.98198) < 1e-5);
  assert.equal(pearson([[1, 1], [2, 1], [3, 1]]), null);
  assert.equal(pearson([[1, 1], [2, 2]]), null);
  // Ranks 1 2 3 against 1 3 2: rho = 1 - 6 * 2 / 24 = 0.5.
  assert.ok(Math.abs(spearman([[1, 10], [2, 1000], [3, 100]])! - 0.5) < 1e-12);
  assert.equal(spearman([[1, 1], [10, 2], [100, 3], [1000, 4]]), 1);
});
