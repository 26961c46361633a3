import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzzyScore } from "./fuzzy.ts";

const best = (query: string, texts: string[]): string | undefined =>
  texts
    .map((text) => ({ text, score: fuzzyScore(query, text) }))
    .filter((each) => each.score !== null)
    .sort((a, b) => b.score! - a.score!)[0]?.text;

test("letters must come in their order, in whatever case", () => {
  assert.notEqual(fuzzyScore("nwr", "New run"), null);
  assert.equal(fuzzyScore("rnw", "New run"), null);
  assert.equal(fuzzyScore("new runs", "New run"), null);
  assert.notEqual(fuzzyScore("", "anything"), null);
});

test("what stands together and at a word's start comes first", () => {
  assert.equal(best("run", ["Return on time", "New run", "Rebuild under"]), "New run");
  assert.equal(best("cr", ["source", "Compare runs", "scratch"]), "Compare runs");
  assert.equal(best("out", ["About it", "Output"]), "Output");
});

test("words may stand in any order", () => {
  assert.notEqual(fuzzyScore("expert 2026", "20261120T174501Z-expert"), null);
});
