/**
 * The media page: steps by slider and arrow keys, pictures enlarged, brightness and contrast.
 *
 * The page comes complete from the server; choosing a step fetches the one card again and changes
 * what differs. What is chosen is in the address, in the words the server reads. While a run is
 * running a small list of series is looked at, and the page fetched only when that list changed.
 */
import "./metrics.css";
import "./media.css";
import { binAt } from "../charts/bins.ts";
import { Enlarged } from "../charts/enlarged.ts";
import { Bar, RETRY_S } from "../lib/bar.ts";
import { make } from "../lib/dom.ts";
import { registerKeys } from "../lib/keys.ts";
import { morph } from "../lib/morph.ts";

const main = document.querySelector<HTMLElement>("#main")!;
/** Words that the script alone reads: name → the value that changes nothing. */
const LIGHT = { brightness: 1, contrast: 1 } as const;
type Light = keyof typeof LIGHT;
const KEYS = {
  ArrowLeft: "The step before, of the card that has the focus or the first in view; with Shift ten",
  ArrowRight: "The step after",
  Home: "The first step of the card that has the focus",
  End: "Its newest step",
} as const;

class MediaPage {
  private readonly bar = new Bar(document.querySelector<HTMLElement>(".live"));
  private every_s = Number(document.body.dataset["every"] ?? 0);
  private known: string | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** The newest wish of each card, while an older one is on its way. */
  private readonly wished = new Map<string, number>();
  private busy = false;
  /** What the address says, or is about to: browsers limit how often it may be written. */
  private words = new URLSearchParams(location.search);
  private writing: ReturnType<typeof setTimeout> | undefined;
  private enlarged: { card: string; sample: number } | null = null;
  private viewer: Enlarged | null = null;

  start(): void {
    document.documentElement.classList.add("scripted-page");
    main.addEventListener("input", (event) => this.input(event));
    main.addEventListener("change", (event) => this.changed(event));
    main.addEventListener("click", (event) => this.click(event));
    main.addEventListener("submit", (event) => this.submit(event));
    document.addEventListener("pointermove", (event) => this.point(event));
    registerKeys("Media", [
      { key: "/", label: "Filter the series", run: (event) => this.focusFilter(event) },
      ...(["ArrowLeft", "ArrowRight", "Home", "End"] as const).map((key) => ({ key, label: KEYS[key], run: (event: KeyboardEvent) => this.key(event) })),
    ]);
    addEventListener("popstate", () => {
      this.words = new URLSearchParams(location.search);
      void this.refresh();
    });
    this.light();
    this.settle();
    if (!this.every_s) return;
    document.addEventListener("visibilitychange", () => this.schedule(0));
    this.schedule(this.every_s);
  }

  // Steps

  private input(event: Event): void {
    const field = event.target as HTMLInputElement;
    if (field.dataset["slider"] !== undefined) this.wish(cardOf(field), Number(field.value));
    const name = field.dataset["set"] as Light | undefined;
    if (name) this.setLight(name, Number(field.value));
  }

  private changed(event: Event): void {
    const field = event.target as HTMLElement;
    if (field.matches("[data-media-filter] select")) (field.closest("form") as HTMLFormElement).requestSubmit();
    if (field.matches("[data-together]")) {
      if (!(field as HTMLInputElement).checked) return;
      const card = [...document.querySelectorAll<HTMLElement>("article[data-seq]")].find(inView);
      if (card) void this.together(card.dataset["step"]!);
    }
  }

  private click(event: MouseEvent): void {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const target = event.target as HTMLElement;
    const link = target.closest<HTMLElement>("[data-go]");
    const picture = target.closest<HTMLElement>(".pictures a");
    if (link) {
      event.preventDefault();
      this.wish(cardOf(link), Number(link.dataset["go"]));
    } else if (picture) {
      event.preventDefault();
      const card = cardOf(picture);
      this.enlarged = { card: card.id, sample: [...card.querySelectorAll(".pictures a")].indexOf(picture) };
      this.enlarge();
    } else if (target.closest("[data-act=reset]")) {
      for (const name of Object.keys(LIGHT) as Light[]) this.setLight(name, LIGHT[name]);
      this.light();
    }
  }

  private submit(event: SubmitEvent): void {
    const form = event.target as HTMLFormElement;
    const words = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value) words.append(name, String(value));
    for (const name of Object.keys(LIGHT)) if (this.words.has(name)) words.set(name, this.words.get(name)!);
    event.preventDefault();
    if (form.matches(".steps")) void this.refresh(words);
    else location.assign(address(words));
  }

  /** Show another value of a card as soon as possible; of several wishes the last counts. */
  private wish(card: HTMLElement, seq: number): void {
    const last = Number(card.dataset["last"]);
    this.wished.set(card.id, Math.min(Math.max(0, seq), last));
    if (!this.busy) void this.fulfil();
  }

  private async fulfil(): Promise<void> {
    this.busy = true;
    try {
      for (let next = first(this.wished); next; next = first(this.wished)) {
        const [id, seq] = next;
        this.wished.delete(id);
        const card = document.getElementById(id);
        if (card) await this.show(card, seq);
      }
    } catch {
      this.wished.clear();
      this.bar.lost();
    } finally {
      this.busy = false;
    }
  }

  private async show(card: HTMLElement, seq: number): Promise<void> {
    const key = card.dataset["key"]!;
    const words = new URLSearchParams(this.words);
    const picks = parsePicks(words.get("at"));
    // The newest is not held: it goes on following what is written.
    if (seq === Number(card.dataset["last"]) && !words.has("step")) picks.delete(key);
    else picks.set(key, seq);
    write(words, "at", formatPicks(picks));
    const asked = new URLSearchParams(words);
    asked.set("card", key);
    const page = await load(address(asked));
    const made = page.getElementById(card.id);
    if (!made) return;
    if (document.querySelector<HTMLInputElement>("[data-together]")?.checked) {
      await this.together(made.dataset["step"]!);
    } else {
      this.say(words);
      morph(card, made);
      this.settle();
    }
    const said = document.querySelector("[data-said]");
    if (said) said.textContent = `${key}, step ${made.dataset["step"]}`;
  }

  private async together(step: string): Promise<void> {
    const words = new URLSearchParams(this.words);
    words.delete("at");
    words.set("step", step);
    await this.refresh(words);
  }

  // The page

  /** Fetch the page, or what other words make of it, and take over what differs. */
  private async refresh(words?: URLSearchParams): Promise<void> {
    const response = await fetch(address(words ?? this.words), { headers: { accept: "text/html" } });
    if (!response.ok) throw new Error(String(response.status));
    // The form of a card is answered by the address that it leads to.
    if (words) this.say(new URL(response.url).searchParams);
    this.take(new DOMParser().parseFromString(await response.text(), "text/html"));
  }

  private say(words: URLSearchParams): void {
    this.words = words;
    clearTimeout(this.writing);
    this.writing = setTimeout(() => history.replaceState(null, "", address(words)), 150);
  }

  private take(page: Document): void {
    for (const part of ["#main", ".live"]) {
      const here = document.querySelector(part);
      const there = page.querySelector(part);
      if (here && there) morph(here, there);
    }
    this.every_s = Number(page.body.dataset["every"] ?? 0);
    this.light();
    this.settle();
  }

  /** Fields whose value is not an attribute, and the enlarged picture, follow what is shown. */
  private settle(): void {
    for (const slider of document.querySelectorAll<HTMLInputElement>("[data-slider]")) {
      const { seq, last, step } = cardOf(slider).dataset;
      slider.max = last!;
      slider.setAttribute("aria-valuetext", `step ${step}`);
      if (!this.wished.has(cardOf(slider).id)) slider.value = seq!;
    }
    for (const field of document.querySelectorAll<HTMLInputElement>("[name=to]")) {
      if (field !== document.activeElement) field.value = cardOf(field).dataset["step"]!;
    }
    if (this.enlarged) this.enlarge();
  }

  private schedule(delay_s: number): void {
    clearTimeout(this.timer);
    if (document.hidden || !this.every_s) return;
    this.timer = setTimeout(() => void this.look(), delay_s * 1000);
  }

  private async look(): Promise<void> {
    try {
      const response = await fetch(`/api/v1${location.pathname}`);
      if (!response.ok) throw new Error(String(response.status));
      const text = await response.text();
      if (text !== this.known && !this.busy) {
        await this.refresh();
        this.known = text;
      }
    } catch {
      this.bar.lost();
      this.schedule(RETRY_S);
      return;
    }
    this.bar.reached(this.every_s > 0, this.every_s);
    this.schedule(this.every_s);
  }

  // Pictures

  private enlarge(): void {
    const { card, sample } = this.enlarged!;
    const from = document.getElementById(card)?.querySelectorAll<HTMLImageElement>(".pictures img")[sample];
    if (!from) return;
    this.viewer ??= this.makeViewer();
    this.viewer.show(from);
  }

  private makeViewer(): Enlarged {
    const viewer = new Enlarged({ onClose: () => (this.enlarged = null) }, ...this.lightFields());
    viewer.dialog.addEventListener("input", (event) => this.input(event));
    this.light();
    return viewer;
  }

  /** Brightness and contrast beside an enlarged picture, which hides those of the page. */
  private lightFields(): HTMLElement[] {
    return ([["brightness", "Brightness", "2"], ["contrast", "Contrast", "5"]] as const).map(([name, title, max]) => {
      const field = make("input", { type: "range", min: "0", max, step: "0.05", value: "1" });
      field.dataset["set"] = name;
      return make("label", {}, `${title} `, field);
    });
  }

  /** Say which bin of a histogram is pointed at, and how many values it holds. */
  private point(event: PointerEvent): void {
    const svg = (event.target as Element).closest<SVGSVGElement>("svg[data-bins]");
    const found = svg && binAt(svg, event);
    for (const each of document.querySelectorAll(".ridge.over, .line.over")) {
      if (each !== found?.path) each.classList.remove("over");
    }
    found?.path.classList.add("over");
    const here = svg?.closest("article");
    for (const each of document.querySelectorAll<HTMLElement>(".bin-said")) {
      if (!here?.contains(each)) each.textContent = "";
    }
    if (!here) return;
    const said = here.querySelector<HTMLElement>(".bin-said");
    if (said) said.textContent = found?.words ?? "";
  }

  private setLight(name: Light, value: number): void {
    const words = new URLSearchParams(this.words);
    write(words, name, value === LIGHT[name] ? null : String(value));
    this.say(words);
    this.light();
  }

  private light(): void {
    let changed = false;
    for (const name of Object.keys(LIGHT) as Light[]) {
      const said = Number(this.words.get(name) ?? NaN);
      const value = Number.isFinite(said) ? Math.min(5, Math.max(0, said)) : LIGHT[name];
      changed ||= value !== LIGHT[name];
      document.documentElement.style.setProperty(`--${name}`, String(value));
      for (const field of document.querySelectorAll<HTMLInputElement>(`[data-set=${name}]`)) {
        if (field !== document.activeElement) field.value = String(value);
      }
    }
    const reset = document.querySelector<HTMLElement>("[data-act=reset]");
    if (reset) reset.hidden = !changed;
  }

  // Keys

  private focusFilter(event: KeyboardEvent): void {
    event.preventDefault();
    document.querySelector<HTMLInputElement>("#tags")?.focus();
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, audio")) return;
    const ways: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const way = ways[event.key];
    if (way === undefined || target.closest(".scroll, .prose")) return;
    const inside = this.enlarged ? document.getElementById(this.enlarged.card) : target.closest<HTMLElement>("article");
    const card = inside ?? [...document.querySelectorAll<HTMLElement>("article[data-seq]")].find(movable);
    // Home and End move the page, unless a card has the focus.
    if (!card || !movable(card) || (!inside && !Number.isFinite(way))) return;
    event.preventDefault();
    const from = this.wished.get(card.id) ?? Number(card.dataset["seq"]);
    this.wish(card, way === Infinity ? Number(card.dataset["last"]) : way === -Infinity ? 0 : from + way * (event.shiftKey ? 10 : 1));
  }
}

function cardOf(element: Element): HTMLElement {
  return element.closest<HTMLElement>("article")!;
}

function movable(card: HTMLElement): boolean {
  return Boolean(card.querySelector("[data-slider]")) && inView(card);
}

function inView(element: Element): boolean {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

function first<K, V>(map: Map<K, V>): [K, V] | undefined {
  for (const entry of map) return entry;
  return undefined;
}

/** `SEQ:KEY,SEQ:KEY` with the keys quoted, as the server reads and writes it. */
function parsePicks(text: string | null): Map<string, number> {
  const picks = new Map<string, number>();
  for (const each of text ? text.split(",") : []) {
    const colon = each.indexOf(":");
    if (colon > 0) picks.set(decodeURIComponent(each.slice(colon + 1)), Number(each.slice(0, colon)));
  }
  return picks;
}

function formatPicks(picks: Map<string, number>): string | null {
  return [...picks].map(([key, seq]) => `${seq}:${encodeURIComponent(key)}`).join(",") || null;
}

function write(words: URLSearchParams, name: string, value: string | null): void {
  if (value === null) words.delete(name);
  else words.set(name, value);
}

function address(words: URLSearchParams): string {
  return `${location.pathname}${words.size ? `?${words}` : ""}`;
}

async function load(url: string): Promise<Document> {
  const response = await fetch(url, { headers: { accept: "text/html" } });
  if (!response.ok) throw new Error(String(response.status));
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

new MediaPage().start();
