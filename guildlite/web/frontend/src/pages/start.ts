/**
 * The "New run" form, kept up with what is typed.
 *
 * The server makes every word of it: after a pause in typing the form is sent as by `Preview`, and
 * what differs in the answer is taken over. Without this script the buttons do it all.
 */
import { morph } from "../lib/morph.ts";

const PAUSE_MS = 250;

const form = document.querySelector<HTMLFormElement>("#start");
const pick = document.querySelector<HTMLFormElement>("#pick");
let timer: ReturnType<typeof setTimeout> | undefined;
let latest: AbortController | undefined;

async function preview(form: HTMLFormElement): Promise<void> {
  latest?.abort();
  const mine = (latest = new AbortController());
  const words = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (typeof value === "string") words.append(name, value);
  }
  words.set("do", "live");
  let text: string;
  try {
    const headers = { accept: "text/html" };
    const response = await fetch("/new", { method: "POST", headers, body: words, signal: mine.signal });
    text = await response.text();
  } catch {
    return; // a newer one is under way, or the server is gone: a start would say so
  }
  const there = new DOMParser().parseFromString(text, "text/html").querySelector("#start");
  if (there && !mine.signal.aborted) {
    // The time at which the form was made counts, not that of the preview.
    there.querySelector('[name="seen"]')?.replaceWith(form.querySelector('[name="seen"]')!.cloneNode());
    morph(form, there);
  }
}

function schedule(form: HTMLFormElement, delay_ms: number): void {
  clearTimeout(timer);
  timer = setTimeout(() => void preview(form), delay_ms);
}

/** Step a number with the arrow keys: by its step, or by factors where its scale is logarithmic. */
function nudge(field: HTMLInputElement, direction: 1 | -1): void {
  const { min, max, step, scale } = field.dataset;
  const now = Number(field.value || field.placeholder);
  if (!Number.isFinite(now)) return;
  let next: number;
  if (scale === "log" && now > 0) next = direction > 0 ? now * 10 : now / 10;
  else next = now + direction * (Number(step) || (Number.isInteger(now) ? 1 : 10 ** Math.floor(Math.log10(Math.abs(now) || 1) - 1)));
  if (min) next = Math.max(next, Number(min));
  if (max) next = Math.min(next, Number(max));
  field.value = String(Number(next.toPrecision(12)));
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

if (form) {
  form.addEventListener("input", () => schedule(form, PAUSE_MS));
  form.addEventListener("change", () => schedule(form, 0));
  form.addEventListener("keydown", (event) => {
    const field = event.target;
    if (!(field instanceof HTMLInputElement) || !field.matches(".number")) return;
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    nudge(field, event.key === "ArrowUp" ? 1 : -1);
  });
  // A second start by a double click would be a second run.
  form.addEventListener("submit", (event) => {
    if (form.dataset["sent"]) event.preventDefault();
    else if (event.submitter?.getAttribute("value") === "start") form.dataset["sent"] = "1";
  });
  addEventListener("pageshow", () => delete form.dataset["sent"]);
}
pick?.querySelector("select")?.addEventListener("change", () => pick.requestSubmit());
