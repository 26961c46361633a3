/** The output of a run: it follows, and keys go through what was found. */
import { registerKeys } from "../lib/keys.ts";
import { bindLines } from "../lib/lines.ts";
import { LivePage } from "../lib/livepage.ts";

function press(selector: string): () => void {
  return () => document.querySelector<HTMLAnchorElement>(`#main ${selector}`)?.click();
}

bindLines("Output");
registerKeys("Output", [
  { key: "n", label: "Next line found", run: press("[data-match=next]") },
  { key: "N", label: "Previous line found", run: press("[data-match=previous]") },
  { key: "e", label: "First error", run: press("[data-error]") },
]);

// A tick is all there is to say: the page follows it at once.
for (const box of document.querySelectorAll<HTMLInputElement>("form.filter .check input")) {
  box.addEventListener("change", () => {
    if (box.form?.querySelector<HTMLInputElement>("#q")?.value) box.form.requestSubmit();
  });
}

document.querySelector("li.match")?.scrollIntoView({ block: "center" });
new LivePage().start();
