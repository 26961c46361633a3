import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULTS, parseState, writeState, type State } from "./state.ts";

const through = (state: State): State => {
  const query = new URLSearchParams("tags=loss");
  writeState(state, query);
  assert.equal(query.get("tags"), "loss");
  return parseState(new URLSearchParams(query.toString()));
};

test("the address holds the whole state", () => {
  const state: State = {
    x: "wall", xLog: true, yLog: true, smooth: 0.6, outliers: false,
    zoom: [1.5, 2000], pace: 0.5, pins: ["train/loss", "a&b=ü"],
  };
  assert.deepEqual(through(state), state);
  assert.deepEqual(through(DEFAULTS), DEFAULTS);
});

test("defaults leave no word in the address", () => {
  const query = new URLSearchParams();
  writeState(DEFAULTS, query);
  assert.equal(query.toString(), "");
});

test("nonsense is as if it were not there", () => {
  const words = "x=y&smooth=-3&zoom=9:1&pace=17";
  assert.deepEqual(parseState(new URLSearchParams(words)), DEFAULTS);
  assert.equal(parseState(new URLSearchParams("smooth=5")).smooth, 0.999);
  assert.equal(parseState(new URLSearchParams("zoom=nan:1")).zoom, null);
});
