/**
 * The run table. The server makes every word of it; this fetches the page for another address and
 * takes over what differs, so that rows, focus, selection and scroll stay.
 *
 * Links and forms of the page work without it; with it they do the same at once.
 */
import "./runs.css";
import { Bar, RETRY_S } from "../lib/bar.ts";
import { Choice } from "../lib/choice.ts";
import { Combobox, type Completion } from "../lib/combobox.ts";
import { registerKeys } from "../lib/keys.ts";
import { morph } from "../lib/morph.ts";

const TYPING_MS = 100;
const SCROLL_MS = 150;

/** Header by which curves that take time come with the next look. */
const CURVES = "x-gl-curves";
const MOST_COMPARED = Number(document.querySelector<HTMLElement>("#compare")?.title.match(/\d+/)?.[0] ?? 20);

interface Scroll {
  left: number;
  top: number;
  page: number;
}

interface Going {
  history?: "push" | "replace" | "keep";
  typing?: boolean;
  scroll?: Scroll | null;
}

class RunsPage {
  private readonly choice = new Choice(new URLSearchParams(location.search));
  private readonly bar = new Bar(document.querySelector<HTMLElement>(".live"));
  private field: Combobox | null = null;
  private fieldOf: HTMLInputElement | null = null;
  private etag: string | null = null;
  private latest: AbortController | undefined;
  private lookTimer: ReturnType<typeof setTimeout> | undefined;
  private typeTimer: ReturnType<typeof setTimeout> | undefined;
  private scrollTimer: ReturnType<typeof setTimeout> | undefined;
  /** Whether this stay in the filter field has an entry of its own in the history. */
  private typed = false;
  private lastBox: string | null = null;
  private current: string | null = null;
  private dragged: string | null = null;
  /** The page that said what is wrong with what is typed, which no address says. */
  private complaint: { text: string; page: Document } | null = null;

  start(): void {
    document.addEventListener("click", (event) => this.click(event));
    document.addEventListener("submit", (event) => this.submit(event));
    document.addEventListener("input", (event) => this.input(event));
    document.addEventListener("change", (event) => this.change(event));
    document.addEventListener("focusin", (event) => this.focus(event));
    document.addEventListener("toggle", (event) => closeOthers(event), true);
    document.addEventListener("scroll", () => this.scrolled(), true);
    document.addEventListener("visibilitychange", () => this.schedule(0));
    addEventListener("popstate", () => this.back());
    addEventListener("pagehide", () => this.keepScroll());
    this.bindDrag();
    this.bindKeys();
    this.sync(document);
    this.scrollTo((history.state as { scroll?: Scroll } | null)?.scroll);
    this.schedule(this.every_s);
  }

  // Going to another address -----------------------------------------------------------------

  /** Show the table of another address. */
  private async go(url: URL, { history: way = "push", typing = false, scroll }: Going = {}): Promise<void> {
    this.choice.write(url.searchParams);
    this.latest?.abort();
    const mine = (this.latest = new AbortController());
    clearTimeout(this.lookTimer);
    if (!typing) clearTimeout(this.typeTimer);
    let response: Response, text: string;
    try {
      response = await fetch(url, { headers: { accept: "text/html", [CURVES]: "later" }, signal: mine.signal });
      text = await response.text();
    } catch {
      if (mine.signal.aborted) return;
      this.bar.lost();
      this.schedule(RETRY_S);
      return;
    }
    if (mine.signal.aborted) return;
    const page = new DOMParser().parseFromString(text, "text/html");
    this.complaint = null;
    if (typing && response.status === 400) {
      this.complaint = { text: this.fieldOf?.value ?? "", page };
      this.complain(); // the last table that could be read stays
      this.schedule(this.every_s);
      return;
    }
    this.keepScroll();
    if (way === "push" && url.href !== location.href) history.pushState(null, "", url);
    else if (way === "replace") history.replaceState(history.state, "", url);
    this.take(page, response);
    if (scroll !== undefined) this.scrollTo(scroll);
  }

  private back(): void {
    const url = new URL(location.href);
    this.choice.read(url.searchParams);
    const scroll = (history.state as { scroll?: Scroll } | null)?.scroll ?? null;
    void this.go(url, { history: "keep", scroll });
  }

  private async send(form: HTMLFormElement, submitter: HTMLElement | null): Promise<void> {
    const words = new URLSearchParams();
    for (const [name, value] of new FormData(form, submitter)) {
      if (typeof value === "string") words.append(name, value);
    }
    const action = submitter?.getAttribute("formaction") ?? form.getAttribute("action")!;
    const moved = action === "/runs/trash";
    if (words.has("back")) words.set("back", this.address(moved).href.slice(location.origin.length));
    let response: Response, text: string;
    try {
      response = await fetch(action, { method: "POST", headers: { accept: "text/html", [CURVES]: "later" }, body: words });
      text = await response.text();
    } catch {
      this.bar.lost();
      return;
    }
    const landed = new URL(response.url);
    if (response.ok && landed.pathname !== "/runs") {
      location.assign(landed); // a view of another page
      return;
    }
    if (response.ok && moved) this.choice.clear();
    if (response.ok) {
      if (form.matches(".save")) history.pushState(null, "", landed);
      else history.replaceState(history.state, "", landed);
    }
    this.take(new DOMParser().parseFromString(text, "text/html"), response);
    if (response.ok) document.querySelector<HTMLInputElement>("#match:checked")?.click();
  }

  /** Return this page's address as it is now, with the choice in it unless that goes. */
  private address(withoutChoice = false): URL {
    const url = new URL(location.href);
    url.searchParams.delete("trashed");
    if (withoutChoice) url.searchParams.delete("sel");
    else this.choice.write(url.searchParams);
    return url;
  }

  // Following -----------------------------------------------------------------------------------

  private get every_s(): number {
    return Number(document.body.dataset["every"] ?? 0);
  }

  private schedule(delay_s: number): void {
    clearTimeout(this.lookTimer);
    if (document.hidden || !this.every_s) return;
    this.lookTimer = setTimeout(() => void this.look(), delay_s * 1000);
  }

  private async look(): Promise<void> {
    const mine = (this.latest = new AbortController());
    const asked = location.href;
    try {
      const headers: Record<string, string> = { accept: "text/html" };
      if (this.etag) headers["if-none-match"] = this.etag;
      const response = await fetch(asked, { headers, signal: mine.signal });
      const text = response.status === 304 ? "" : await response.text();
      if (mine.signal.aborted || asked !== location.href) return;
      if (response.status === 304) this.bar.reached(false, 0);
      else if (!response.ok) throw new Error(String(response.status));
      else this.take(new DOMParser().parseFromString(text, "text/html"), response);
    } catch {
      if (mine.signal.aborted) return;
      this.bar.lost();
      this.schedule(RETRY_S);
      return;
    }
    this.schedule(this.every_s);
  }

  /** Make this page like another one that the server made. */
  private take(page: Document, response: Response): void {
    const focused = document.activeElement;
    const place = this.rows().findIndex((row) => row.contains(focused));
    for (const part of ["#main", ".live"]) {
      const here = document.querySelector(part);
      const there = page.querySelector(part);
      if (here && there) morph(here, there);
    }
    document.title = page.title;
    const every = page.body.dataset["every"];
    if (every) document.body.dataset["every"] = every;
    else delete document.body.dataset["every"];
    this.etag = response.headers.get("etag");
    this.sync(page);
    this.refocus(focused, place);
    const late = response.headers.get(CURVES) === "1";
    if (late) this.etag = null;
    this.schedule(late ? 0 : this.every_s);
  }

  /** Moving a row takes the focus from what is in it. */
  private refocus(focused: Element | null, place: number): void {
    if (!focused || focused === document.body || focused === document.activeElement) return;
    if (focused.isConnected) (focused as HTMLElement).focus({ preventScroll: true });
    else if (place >= 0) linkOf(this.rows()[place] ?? this.rows().at(-1))?.focus({ preventScroll: true });
  }

  private complain(): void {
    const there = this.complaint?.page.querySelector("#q-problem");
    const here = document.querySelector("#q-problem");
    if (!here || !there || this.complaint?.text !== this.fieldOf?.value) return;
    here.replaceChildren(...[...there.childNodes].map((node) => document.importNode(node, true)));
    here.className = there.className;
    here.toggleAttribute("hidden", false);
    if (there.classList.contains("unfinished")) return;
    this.fieldOf?.setAttribute("aria-invalid", "true");
    this.fieldOf?.setAttribute("aria-describedby", "q-problem");
  }

  // What the page cannot know ---------------------------------------------------------------------

  /** Give controls the state that attributes alone do not: ticks, texts, buttons. */
  private sync(page: Document): void {
    for (const box of this.boxes()) box.checked = this.choice.has(box.value);
    for (const box of document.querySelectorAll<HTMLInputElement>("#choose-columns [type=checkbox]")) {
      box.checked = box.hasAttribute("checked");
    }
    for (const id of ["q", "group", "more-columns", "view-name"]) {
      const here = document.querySelector<HTMLInputElement | HTMLSelectElement>(`#${id}`);
      const there = page.querySelector<HTMLInputElement | HTMLSelectElement>(`#${id}`);
      if (!here || !there || here === document.activeElement || page === document) continue;
      // Blanks at an end are of no meaning there, but of one who is about to type on.
      if (here.value.trim() === there.value) continue;
      if (id !== "q" || !this.complaint) here.value = there.value;
    }
    for (const head of document.querySelectorAll<HTMLElement>("th[data-col]")) head.draggable = true;
    this.completeFilter();
    this.showChoice();
    this.complain();
  }

  private completeFilter(): void {
    const field = document.querySelector<HTMLInputElement>("#q");
    if (field && field !== this.fieldOf) {
      this.field = new Combobox(field, complete, () => this.filter());
      this.fieldOf = field;
    }
    if (field) this.field?.describe();
  }

  private showChoice(): void {
    const match = document.querySelector<HTMLInputElement>("#match")?.checked ?? false;
    const shown = new Set(this.boxes().map((box) => box.value));
    const elsewhere = this.choice.list().filter((id) => !shown.has(id));
    document.querySelector("#off-page")?.replaceChildren(...elsewhere.map(hiddenRun));
    const tally = document.querySelector("#tally");
    const text = match ? "" : this.choice.size ? `${this.choice.size.toLocaleString("en-US")} chosen` : "none chosen";
    if (tally && tally.textContent !== text) tally.textContent = text;
    const some = match || this.choice.size > 0;
    for (const button of document.querySelectorAll<HTMLButtonElement>(".bulk button")) button.disabled = !some;
    document.querySelector(".bulk")?.classList.toggle("none", !some);
    const clear = document.querySelector<HTMLElement>("#clear-chosen");
    if (clear) clear.hidden = !this.choice.size;
    for (const id of ["#compare", "#hide-chosen"]) {
      const button = document.querySelector<HTMLButtonElement>(id);
      if (button) button.disabled = !this.choice.size;
    }
    const all = document.querySelector<HTMLInputElement>("#choose-all");
    const here = this.boxes().filter((box) => box.checked).length;
    if (all) {
      all.checked = here > 0 && here === this.boxes().length;
      all.indeterminate = here > 0 && !all.checked;
    }
    for (const row of this.rows()) row.classList.toggle("is-chosen", this.choice.has(row.dataset["run"] ?? ""));
  }

  private boxes(): HTMLInputElement[] {
    return [...document.querySelectorAll<HTMLInputElement>("#chosen tbody [name=run][type=checkbox]")];
  }

  private rows(): HTMLElement[] {
    return [...document.querySelectorAll<HTMLElement>("#chosen tbody tr")];
  }

  private choose(box: HTMLInputElement, chosen: boolean): void {
    box.checked = chosen;
    this.choice.set(box.value, chosen);
  }

  private chosen(): void {
    this.showChoice();
    const url = new URL(location.href);
    this.choice.write(url.searchParams);
    history.replaceState(history.state, "", url);
    this.etag = null;
  }

  // Events --------------------------------------------------------------------------------------

  private click(event: MouseEvent): void {
    const target = event.target instanceof Element ? event.target : null;
    if (!target?.closest("#main")) return;
    if (target instanceof HTMLInputElement && target.name === "run") this.clickBox(target, event.shiftKey);
    else if (target.closest("#clear-chosen")) {
      this.choice.clear();
      for (const box of this.boxes()) box.checked = false;
      this.chosen();
    } else if (target.closest("#hide-chosen")) this.hide();
    const link = target.closest<HTMLAnchorElement>("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || url.pathname !== "/runs" || link.download || url.searchParams.has("trash")) return;
    event.preventDefault();
    void this.go(url, pageOf(url) === pageOf(new URL(location.href)) ? {} : { scroll: null });
  }

  private clickBox(box: HTMLInputElement, range: boolean): void {
    const boxes = this.boxes();
    const from = boxes.findIndex((each) => each.value === this.lastBox);
    const to = boxes.indexOf(box);
    if (range && from >= 0) {
      for (const each of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) this.choose(each, box.checked);
    } else this.choose(box, box.checked);
    this.lastBox = box.value;
    this.chosen();
  }

  private hide(): void {
    const url = this.address(true);
    const hidden = (url.searchParams.get("hide") ?? "").split(",").filter(Boolean);
    url.searchParams.set("hide", [...hidden, ...this.choice.list()].join(","));
    this.choice.clear();
    void this.go(url);
  }

  private submit(event: SubmitEvent): void {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !form.closest("#main") || event.defaultPrevented) return;
    const method = event.submitter?.getAttribute("formmethod") ?? form.method;
    if (method === "post") {
      event.preventDefault();
      void this.send(form, event.submitter);
    } else if (form.id === "ask") {
      event.preventDefault();
      this.filter("push");
    } else if (form.id === "choose-columns") {
      event.preventDefault();
      this.addColumns(form);
    } else if (form.id === "chosen") {
      event.preventDefault();
      this.compare();
    }
  }

  private input(event: Event): void {
    if (event.target !== this.fieldOf || !this.fieldOf) return;
    clearTimeout(this.typeTimer);
    this.typeTimer = setTimeout(() => this.filter(), TYPING_MS);
  }

  /** Show what the filter field and the grouping say. */
  private filter(way?: "push"): void {
    clearTimeout(this.typeTimer);
    const url = this.address();
    const query = this.fieldOf?.value.trim() ?? "";
    const group = document.querySelector<HTMLSelectElement>("#group")?.value ?? "";
    const before = url.searchParams.get("q") ?? "";
    const same = before === query && (url.searchParams.get("group") ?? "") === group;
    if (same && !way && document.querySelector("#q-problem")?.hasAttribute("hidden")) return;
    put(url, "q", query);
    if ((url.searchParams.get("group") ?? "") !== group) {
      put(url, "group", group);
      put(url, "sort", "");
      put(url, "open", "");
    }
    put(url, "page", "");
    if (before !== query) document.querySelector<HTMLInputElement>("#match:checked")?.click();
    const entry = way || !this.typed ? "push" : "replace";
    this.typed = !way;
    void this.go(url, { history: same ? "keep" : entry, typing: !way, scroll: null });
  }

  private change(event: Event): void {
    const target = event.target;
    if (target instanceof HTMLSelectElement && target.id === "group") this.filter("push");
    else if (target instanceof HTMLInputElement && target.id === "choose-all") {
      for (const box of this.boxes()) this.choose(box, target.checked);
      this.chosen();
    } else if (target instanceof HTMLInputElement && target.id === "match") this.showChoice();
    else if (target instanceof HTMLInputElement && target.name === "cols" && target.type === "checkbox") {
      const rest = this.columns().filter((text) => text !== target.value);
      this.showColumns(target.checked ? [...rest, target.value] : rest);
    }
  }

  private focus(event: FocusEvent): void {
    const row = event.target instanceof Element ? event.target.closest("#chosen tbody tr") : null;
    if (row) this.current = row.id;
    if (event.target !== this.fieldOf) this.typed = false;
  }

  private scrolled(): void {
    clearTimeout(this.scrollTimer);
    this.scrollTimer = setTimeout(() => this.keepScroll(), SCROLL_MS);
  }

  private keepScroll(): void {
    const box = document.querySelector("#chosen .scroll");
    const scroll: Scroll = { left: box?.scrollLeft ?? 0, top: box?.scrollTop ?? 0, page: scrollY };
    history.replaceState({ ...(history.state as object | null), scroll }, "");
  }

  private scrollTo(scroll: Scroll | null | undefined): void {
    if (scroll === undefined) return;
    const box = document.querySelector("#chosen .scroll");
    box?.scrollTo(scroll?.left ?? box.scrollLeft, scroll?.top ?? 0);
    if (scroll) scrollTo(0, scroll.page);
  }

  // Columns ---------------------------------------------------------------------------------------

  private columns(): string[] {
    return [...document.querySelectorAll<HTMLElement>("th[data-col]")].map((head) => head.dataset["col"]!);
  }

  private showColumns(columns: string[]): void {
    const url = this.address();
    put(url, "cols", columns.join(","));
    void this.go(url);
  }

  private addColumns(form: HTMLFormElement): void {
    const more = form.querySelector<HTMLInputElement>("#more-columns");
    const typed = more?.value.trim() ?? "";
    if (more) more.value = "";
    this.showColumns(typed ? [...this.columns(), typed] : this.columns());
  }

  /** Columns are put in another order by dragging their heads. */
  private bindDrag(): void {
    const headOf = (event: Event): HTMLElement | null =>
      event.target instanceof Element ? event.target.closest<HTMLElement>("th[data-col]") : null;
    document.addEventListener("dragstart", (event) => {
      this.dragged = headOf(event)?.dataset["col"] ?? null;
      if (this.dragged) event.dataTransfer?.setData("text/plain", this.dragged);
    });
    document.addEventListener("dragover", (event) => {
      const head = this.dragged ? headOf(event) : null;
      if (!head) return;
      event.preventDefault();
      for (const each of document.querySelectorAll(".drop")) each.classList.toggle("drop", each === head);
      head.classList.add("drop");
    });
    document.addEventListener("drop", (event) => {
      const onto = headOf(event)?.dataset["col"];
      const dragged = this.dragged;
      if (!onto || !dragged || onto === dragged) return;
      event.preventDefault();
      const columns = this.columns();
      const [from, to] = [columns.indexOf(dragged), columns.indexOf(onto)];
      columns.splice(from, 1);
      columns.splice(to, 0, dragged);
      this.showColumns(columns);
    });
    document.addEventListener("dragend", () => {
      this.dragged = null;
      for (const each of document.querySelectorAll(".drop")) each.classList.remove("drop");
    });
  }

  // Keys ------------------------------------------------------------------------------------------

  private bindKeys(): void {
    registerKeys("Runs", [
      { key: "/", label: "go to the filter", run: () => this.fieldOf?.select() },
      { key: "j", label: "next run", run: () => this.step(1) },
      { key: "k", label: "previous run", run: () => this.step(-1) },
      { key: "x", label: "choose the run", run: () => this.toggle() },
      { key: "c", label: "compare the chosen runs", run: () => this.compare() },
    ]);
  }

  private step(by: 1 | -1): void {
    const rows = this.rows();
    const at = rows.findIndex((row) => row.id === this.current);
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)];
    linkOf(next)?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  private toggle(): void {
    const row = this.rows().find((each) => each.id === this.current);
    row?.querySelector<HTMLInputElement>("[name=run]")?.click();
  }

  private compare(): void {
    if (!this.choice.size) return;
    const words = new URLSearchParams();
    for (const id of this.choice.list().slice(0, MOST_COMPARED)) words.append("run", id);
    location.assign(`/compare?${words}`);
  }
}

async function complete(text: string, at: number, signal: AbortSignal): Promise<Completion> {
  const words = new URLSearchParams({ q: text, at: String(at) });
  const response = await fetch(`/api/v1/complete?${words}`, { signal });
  if (!response.ok) throw new Error(String(response.status));
  return (await response.json()) as Completion;
}

function put(url: URL, name: string, value: string): void {
  if (value) url.searchParams.set(name, value);
  else url.searchParams.delete(name);
}

function pageOf(url: URL): string {
  return url.searchParams.get("page") ?? "1";
}

function linkOf(row: Element | undefined): HTMLElement | null {
  return row?.querySelector<HTMLElement>("th a, .fold") ?? null;
}

function hiddenRun(id: string): HTMLInputElement {
  const input = document.createElement("input");
  input.type = "hidden";
  input.name = "run";
  input.value = id;
  return input;
}

/** One menu at a time. */
function closeOthers(event: Event): void {
  const opened = event.target;
  if (!(opened instanceof HTMLDetailsElement) || !opened.open || !opened.matches(".menu")) return;
  for (const each of document.querySelectorAll<HTMLDetailsElement>(".menu[open]")) each.open = each === opened;
}

document.addEventListener("click", (event) => {
  const inside = event.target instanceof Element ? event.target.closest(".menu") : null;
  for (const each of document.querySelectorAll<HTMLDetailsElement>(".menu[open]")) {
    if (each !== inside && event.target instanceof Node && event.target.isConnected) each.open = false;
  }
});

new RunsPage().start();
