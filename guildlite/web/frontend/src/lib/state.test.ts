import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULTS, lookOf, parseState, writeState, type State } from "./state.ts";

const through = (state: State): State => {
  const query = new URLSearchParams("tags=loss");
  writeState(state, query);
  assert.equal(query.get("tags"), "loss");
  return parseState(new URLSearchParams(query.toString()));
};

test("the address holds the whole state", () => {
  const state: State = {
    x: "metric:epoch:1", xLog: true, yLog: true, smooth: 0.6, outliers: false, layout: "stacked", yZoom: null,
    joined: true, zoom: [1.5, 2000], pace: 0.5, pins: ["train/loss", "a&b=ü"], hidden: ["20261120T174501Z"],
    raw: ["a:b"], own: { "a:b": { yLog: false, yZoom: [-1, 0.5] }, loss: { smooth: 0.2, layout: "side", outliers: true } },
    replay: { pace: 30, share: 0.25 }, at: 1795196701000, group: "flag.lr", band: "sem", members: true,
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
  const words = "x=y&smooth=-3&zoom=9:1&pace=17&layout=round&y=cubic&yzoom=loss:2:1&replay=7&band=x&at=-1&x=metric:";
  assert.deepEqual(parseState(new URLSearchParams(words)), DEFAULTS);
  assert.equal(parseState(new URLSearchParams("smooth=5")).smooth, 0.999);
  assert.equal(parseState(new URLSearchParams("zoom=nan:1")).zoom, null);
});

test("a card has its own settings before those of the page", () => {
  const state = parseState(new URLSearchParams("y=log&y=train/a:b:linear&smooth=0.5&smooth=loss:0.9&yzoom=loss:-1:2"));
  assert.equal(lookOf(state, "other").yLog, true);
  assert.equal(lookOf(state, "train/a:b").yLog, false);
  assert.deepEqual(lookOf(state, "loss"), { yLog: true, smooth: 0.9, outliers: true, layout: "overlap", yZoom: [-1, 2] });
});
