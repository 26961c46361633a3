/** What stands around a card's charts: legend, buttons, options, notes, numbers. Only markup. */
import type { Look, Layout } from "../lib/state.ts";
import { MAX_SMOOTH } from "../lib/state.ts";
import { swatch } from "./palette.ts";

/** Make an element; texts are texts. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Record<string, string> = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function button(text: string, title: string, of: string, act: () => void): HTMLButtonElement {
  const made = make("button", { type: "button", title, "aria-label": of ? `${title}: ${of}` : title }, text);
  made.addEventListener("click", act);
  return made;
}

export interface Row {
  key: string;
  name: string;
  slot: number;
  value: string;
  off: boolean;
}

export interface LegendEvents {
  toggle(key: string): void;
  only(key: string): void;
}

/** The list of lines: names that show and hide them, and values. */
export class Legend {
  private made = "";
  private items: { item: HTMLElement; value: HTMLElement; button: HTMLButtonElement | null }[] = [];

  constructor(private readonly list: HTMLElement, private readonly events: LegendEvents) {}

  show(rows: readonly Row[]): void {
    const key = JSON.stringify(rows.map((row) => [row.key, row.name, row.slot]));
    if (key !== this.made) this.build(rows, key);
    rows.forEach((row, i) => {
      const { item, value, button } = this.items[i]!;
      item.classList.toggle("off", row.off);
      button?.setAttribute("aria-pressed", String(!row.off));
      if (value.textContent !== row.value) value.textContent = row.value;
    });
  }

  private build(rows: readonly Row[], key: string): void {
    this.made = key;
    this.items = rows.map((row) => {
      const value = make("b");
      const words = [swatch(row.slot), make("bdi", {}, row.name)];
      if (rows.length < 2) {
        const name = make("span", { class: "key" }, ...words);
        return { item: make("li", {}, name, " ", value), value, button: null };
      }
      const name = make("button", { type: "button", class: "key", title: "Show or hide; double click shows only this one" }, ...words);
      // Pointing at what names a line raises it, here and in other parts of the page.
      const item = make("li", { "data-raise": row.key }, name, " ", value);
      // The second click of a double one undoes the first before "only this" is set.
      name.addEventListener("click", () => this.events.toggle(row.key));
      name.addEventListener("dblclick", () => this.events.only(row.key));
      return { item, value, button: name };
    });
    this.list.replaceChildren(...this.items.map(({ item }) => item));
    this.list.classList.toggle("long", rows.length > 12);
  }
}

export interface ToolEvents {
  pin(): void;
  full(): void;
  png(): void;
  svg(): void;
  csv(): string;
  look(look: Partial<Look>): void;
  /** Back to what the page has. */
  asPage(): void;
  smoothed(tag: string, on: boolean): void;
}

/** Buttons of a card, and what it may have otherwise than the page. */
export class Tools {
  readonly element: HTMLElement;
  private readonly pinButton: HTMLButtonElement;
  private readonly layout: HTMLSelectElement;
  private readonly log: HTMLInputElement;
  private readonly outliers: HTMLInputElement;
  private readonly smooth: HTMLInputElement;
  private readonly reset: HTMLButtonElement;
  private readonly ticks = new Map<string, HTMLInputElement>();

  constructor(title: string, tags: readonly string[], lines: number, events: ToolEvents) {
    this.pinButton = button("Pin", "Keep at the top", title, events.pin);
    const csv = make("a", { download: "", title: "Every point" }, "CSV");
    const files = menu("Save", title, () => [
      button("PNG", "Save as a picture", title, events.png),
      button("SVG", "Save as a drawing", title, events.svg),
      csv,
    ]);
    csv.addEventListener("click", () => csv.setAttribute("href", events.csv()));
    csv.setAttribute("href", "#");
    this.layout = make("select", {}, option("overlap", "one chart"), option("stacked", "stacked"), option("side", "side by side"));
    this.layout.addEventListener("change", () => events.look({ layout: this.layout.value as Layout }));
    this.log = tick((on) => events.look({ yLog: on }));
    this.outliers = tick((on) => events.look({ outliers: !on }));
    this.smooth = make("input", { type: "range", min: "0", max: "1", step: "0.01" });
    this.smooth.addEventListener("input", () => events.look({ smooth: slideToWeight(Number(this.smooth.value)) }));
    this.reset = button("As the page", "Same settings as the other charts", title, events.asPage);
    for (const [field, name] of [[this.layout, "Lines"], [this.smooth, "Smoothing"], [this.log, "log y"], [this.outliers, "without outliers"]] as const) {
      field.setAttribute("aria-label", `${name}: ${title}`);
    }
    const rows: HTMLElement[] = [];
    if (lines > 1) rows.push(make("label", {}, "Lines ", this.layout));
    rows.push(make("label", {}, "Smoothing ", this.smooth), make("label", {}, this.log, " log y"));
    rows.push(make("label", {}, this.outliers, " without outliers"));
    if (tags.length > 1) {
      const list = make("div", { role: "group", "aria-label": "Smoothed lines", class: "smoothed" }, make("span", { class: "soft" }, "Smooth"));
      for (const tag of tags) {
        const box = tick((on) => events.smoothed(tag, on));
        this.ticks.set(tag, box);
        list.append(make("label", {}, box, " ", make("bdi", {}, tag)));
      }
      rows.push(list);
    }
    rows.push(this.reset);
    const options = menu("Options", title, () => rows);
    const full = button("Full", "Fill the window, Esc ends", title, events.full);
    this.element = make("div", { class: "card-tools" }, this.pinButton, options, files, full);
  }

  show(look: Look, own: boolean, raw: readonly string[], pinned: boolean): void {
    this.layout.value = look.layout;
    this.log.checked = look.yLog;
    this.outliers.checked = !look.outliers;
    if (document.activeElement !== this.smooth) this.smooth.value = String(weightToSlide(look.smooth));
    this.reset.hidden = !own;
    for (const [tag, box] of this.ticks) box.checked = !raw.includes(tag);
    this.pinButton.textContent = pinned ? "Unpin" : "Pin";
    this.pinButton.setAttribute("aria-pressed", String(pinned));
  }
}

function option(value: string, text: string): HTMLOptionElement {
  return make("option", { value }, text);
}

function tick(act: (on: boolean) => void): HTMLInputElement {
  const box = make("input", { type: "checkbox" });
  box.addEventListener("change", () => act(box.checked));
  return box;
}

/** A small panel that opens below its name and closes when the reader goes on. */
function menu(name: string, of: string, children: () => readonly HTMLElement[]): HTMLDetailsElement {
  const summary = make("summary", { "aria-label": `${name}: ${of}` }, name);
  const panel = make("div", {});
  const made = make("details", { class: "menu" }, summary, panel);
  made.addEventListener("toggle", () => {
    if (!made.open) return;
    if (!panel.hasChildNodes()) panel.append(...children());
    const close = (event: Event): void => {
      if (event instanceof KeyboardEvent ? event.key !== "Escape" : made.contains(event.target as Node)) return;
      made.open = false;
      if (event instanceof KeyboardEvent) summary.focus();
      document.removeEventListener("pointerdown", close, true);
      document.removeEventListener("keydown", close, true);
    };
    document.addEventListener("pointerdown", close, true);
    document.addEventListener("keydown", close, true);
  });
  return made;
}

/** The slider is finer where smoothing is strong: its way is the logarithm of what is forgotten. */
export function slideToWeight(slide: number): number {
  return Math.min(MAX_SMOOTH, Number((1 - 10 ** (-3 * slide)).toFixed(3)));
}

export function weightToSlide(weight: number): number {
  return -Math.log10(1 - weight) / 3;
}

/** Rows of a card's table: evenly chosen positions, first and last among them. */
export function fillTable(
  table: HTMLTableElement, xName: string, names: readonly string[], rows: readonly (readonly string[])[],
): void {
  const head = make("tr", {}, ...[xName, ...names].map((name) => make("th", { scope: "col", class: "num" }, make("bdi", {}, name))));
  const body = rows.map((row) =>
    make("tr", {}, ...row.map((text, i) => (i ? make("td", { class: "num" }, text) : make("th", { scope: "row", class: "num" }, text)))),
  );
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}
