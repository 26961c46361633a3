/**
 * The keyboard map: what each key does on this page, in one place that `?` lists.
 *
 * A binding's `key` is what `KeyboardEvent.key` says ("/", "j", "Enter", "Escape", "["), two of them
 * with a space for a chord ("g r"), or one with "Ctrl+" before it, which on a Mac is also ⌘. Letters
 * go by what is typed, never by the place of the key. Nothing is done while a text is typed.
 */
import { remember, remembered } from "./remember.ts";

export interface Binding {
  key: string;
  /** What it does, for the sheet: "Next run". */
  label: string;
  run: (event: KeyboardEvent) => void;
}

/** How long after its first key a chord waits for its second. */
const CHORD_MS = 1200;
const COOKIE = "gl_keys";

const sections = new Map<string, Binding[]>();
let first = "";
let firstAt = 0;
let listening = false;

/**
 * Bind keys, listed under `section`. Of two bindings of one key the later is used, so that a page
 * can have its own; Escape runs all of them, the latest first.
 */
export function registerKeys(section: string, bindings: Binding[]): void {
  sections.set(section, [...(sections.get(section) ?? []), ...bindings]);
  if (listening) return;
  listening = true;
  document.addEventListener("keydown", onKey);
}

/** Return what is bound, by section, in the order in which it was. */
export function registeredKeys(): ReadonlyMap<string, readonly Binding[]> {
  return sections;
}

/** Whether keys without Ctrl are obeyed; people who speak to their machine switch them off. */
export function keysOn(): boolean {
  return remembered(COOKIE) !== "off";
}

export function switchKeys(on: boolean): void {
  remember(COOKIE, on ? null : "off");
}

/** Return the key of an event as bindings spell it: "Ctrl+k", "G", "Enter". */
export function keyOf(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey">): string {
  const key = event.key.length === 1 && (event.ctrlKey || event.metaKey) ? event.key.toLowerCase() : event.key;
  return event.ctrlKey || event.metaKey ? `Ctrl+${key}` : key;
}

/** Return the bindings that a key, perhaps after the first of a chord, asks for, the latest first. */
export function boundTo(key: string, before: string, all: readonly Binding[]): Binding[] {
  const chord = before && all.findLast((each) => each.key === `${before} ${key}`);
  if (chord) return [chord];
  const same = all.filter((each) => spelled(each.key) === key).reverse();
  return key === "Escape" ? same : same.slice(0, 1);
}

function spelled(key: string): string {
  return key.startsWith("Ctrl+") && key.length === 6 ? key.toLowerCase().replace("ctrl", "Ctrl") : key;
}

function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing || event.altKey) return;
  const key = keyOf(event);
  const plain = !key.startsWith("Ctrl+");
  if (plain && (!allowed(event, key) || (!keysOn() && key !== "Escape"))) return;
  const all = [...sections.values()].flat();
  const now = performance.now();
  const before = now - firstAt < CHORD_MS ? first : "";
  const found = boundTo(key, before, all);
  first = "";
  if (found.length) {
    // Escape also closes dialogs by itself.
    if (key !== "Escape") event.preventDefault();
    for (const each of found) each.run(event);
  } else if (plain && all.some((each) => each.key.startsWith(`${key} `))) {
    first = key;
    firstAt = now;
  }
}

/** Whether a key pressed here is a command, and not a letter for a field or a press of a button. */
function allowed(event: KeyboardEvent, key: string): boolean {
  const target = event.target instanceof Element ? event.target : null;
  if (!target) return false;
  if (document.querySelector("dialog.overlay[open]")) return key === "Escape";
  // A field of a dialog just closed keeps the focus until the page is drawn again.
  if (target.closest("dialog:not([open])")) return true;
  if (target instanceof HTMLElement && target.isContentEditable) return false;
  if (target.closest("textarea, select, [role=combobox], [role=textbox]")) return key === "Escape";
  const isText = key.length === 1 && key !== " ";
  if (target instanceof HTMLInputElement) {
    const pressed = ["checkbox", "radio", "range", "button", "submit", "color", "file"].includes(target.type);
    return key === "Escape" || (pressed && isText);
  }
  return isText || !target.closest("a[href], button, summary") || !["Enter", " "].includes(key);
}
