import assert from "node:assert/strict";
import { test } from "node:test";
import { boundTo, keyOf, type Binding } from "./keys.ts";

const run = (): void => {};
const bind = (key: string, label: string): Binding => ({ key, label, run });
const labels = (found: Binding[]): string[] => found.map((each) => each.label);

test("a key goes by what is typed, and Ctrl or ⌘ come first", () => {
  const event = (key: string, held: object = {}) => ({ key, ctrlKey: false, metaKey: false, ...held });
  assert.equal(keyOf(event("?")), "?");
  assert.equal(keyOf(event("G")), "G");
  assert.equal(keyOf(event("K", { ctrlKey: true })), "Ctrl+k");
  assert.equal(keyOf(event("k", { metaKey: true })), "Ctrl+k");
});

test("of two bindings of a key the later is used, however its Ctrl is spelled", () => {
  const all = [bind("j", "next"), bind("Ctrl+K", "palette"), bind("j", "next card")];
  assert.deepEqual(labels(boundTo("j", "", all)), ["next card"]);
  assert.deepEqual(labels(boundTo("Ctrl+k", "", all)), ["palette"]);
  assert.deepEqual(labels(boundTo("k", "", all)), []);
});

test("a chord wins over its second key alone, and only after its first", () => {
  const all = [bind("g r", "runs"), bind("r", "reset")];
  assert.deepEqual(labels(boundTo("r", "g", all)), ["runs"]);
  assert.deepEqual(labels(boundTo("r", "", all)), ["reset"]);
  assert.deepEqual(labels(boundTo("r", "x", all)), ["reset"]);
  assert.deepEqual(labels(boundTo("g", "", all)), []);
});

test("Escape closes everything, the latest first", () => {
  const all = [bind("Escape", "close the sheet"), bind("Escape", "leave full screen")];
  assert.deepEqual(labels(boundTo("Escape", "", all)), ["leave full screen", "close the sheet"]);
});
