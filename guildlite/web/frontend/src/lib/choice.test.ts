import assert from "node:assert/strict";
import { test } from "node:test";
import { Choice } from "./choice.ts";

test("a choice goes into the address and comes back in its order", () => {
  const choice = new Choice(new URLSearchParams("sel=b,a"));
  choice.set("c", true);
  choice.set("a", false);
  const query = new URLSearchParams("q=loss&sel=b,a");
  choice.write(query);
  assert.equal(query.get("sel"), "b,c");
  assert.deepEqual(new Choice(query).list(), ["b", "c"]);
  choice.clear();
  choice.write(query);
  assert.equal(query.toString(), "q=loss");
});

test("more than an address holds is kept all the same", () => {
  const choice = new Choice(new URLSearchParams());
  for (let number = 0; number < 1000; number++) choice.set(`20261120T174501Z-${number}`, true);
  const query = new URLSearchParams("sel=x");
  choice.write(query);
  assert.equal(query.has("sel"), false);
  choice.read(query);
  assert.equal(choice.size, 1000);
});
