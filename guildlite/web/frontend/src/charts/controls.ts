/** The bar above the charts: what it says of the state, and what it changes. */
import { csvUrl } from "../api/series.ts";
import { formatMoment } from "../lib/numbers.ts";
import { DEFAULTS, metricOf, type State } from "../lib/state.ts";
import { make, slideToWeight, weightToSlide } from "./panel.ts";
import { ReplayBar } from "./replay.ts";

export interface ControlEvents {
  change(changes: Partial<State>): void;
  /** Somebody is about to smooth: the points may as well be fetched now. */
  prepare(): void;
  replay: ConstructorParameters<typeof ReplayBar>[0];
}

export class Controls {
  readonly replay: ReplayBar;
  private readonly form = document.querySelector<HTMLFormElement>("[data-controls]");
  private readonly moment = document.querySelector<HTMLElement>("[data-moment]");

  constructor(private readonly events: ControlEvents) {
    this.replay = new ReplayBar(events.replay);
    const { form } = this;
    if (!form) return;
    form.after(this.replay.element);
    this.grown();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.read());
    const smooth = this.field("smooth");
    for (const event of ["pointerenter", "focus"]) smooth?.addEventListener(event, () => events.prepare());
    this.on("reset", () => events.change({ zoom: null, own: {} }));
    this.on("show", () => events.change({ hidden: [] }));
    this.on("hide", () => events.change({ hidden: this.keys() }));
    this.on("replay", () => this.replay.open());
    this.on("moment", () => events.change({ at: null }));
    // The filter is the server's; what else is in the address stays.
    document.querySelector<HTMLFormElement>("form.filter")?.addEventListener("submit", (event) => {
      event.preventDefault();
      const query = new URLSearchParams(location.search);
      query.delete("page");
      const tags = document.querySelector<HTMLInputElement>("#tags")!.value.trim();
      if (tags) query.set("tags", tags);
      else query.delete("tags");
      location.search = query.toString();
    });
    const csv = form.querySelector<HTMLAnchorElement>("[data-act=csv]");
    csv?.addEventListener("click", () => {
      const of = form.dataset["runs"]!;
      const more: Record<string, string> = form.dataset["system"] === "1" ? { system: "true" } : {};
      const tags = new URLSearchParams(location.search).get("tags");
      csv.href = csvUrl(of.split(","), [], { ...more, ...(tags ? { tags } : {}) });
    });
  }

  private on(name: string, act: () => void): void {
    this.form?.querySelector(`[data-act=${name}]`)?.addEventListener("click", act);
  }

  private field(name: string): HTMLInputElement | null {
    return (this.form?.elements.namedItem(name) ?? null) as HTMLInputElement | null;
  }

  /** Everything that can be hidden: runs where charts have several, else series. */
  private keys(): string[] {
    const keys = [...document.querySelectorAll<HTMLElement>("article[data-lines]")].flatMap((article) => {
      const lines = JSON.parse(article.dataset["lines"]!) as { run: string; tag: string }[];
      const several = new Set(lines.map((line) => line.run)).size > 1;
      return lines.map((line) => (several ? line.run : line.tag));
    });
    return [...new Set(keys)];
  }

  /** There may be other charts than before; without any there is nothing to control. */
  grown(): void {
    if (!this.form) return;
    this.form.hidden = !document.querySelector("article[data-lines]");
    this.offerMetrics();
  }

  /** Any series of this page can be the x axis of the others. */
  private offerMetrics(): void {
    const select = this.field("x") as unknown as HTMLSelectElement | null;
    if (!select) return;
    const tags = [...document.querySelectorAll<HTMLElement>("article[data-lines]")].flatMap((article) =>
      (JSON.parse(article.dataset["lines"]!) as { tag: string }[]).map((line) => line.tag),
    );
    const offered = new Set([...select.options].map((each) => each.value));
    const more = [...new Set(tags)].filter((tag) => !offered.has(`metric:${tag}`));
    if (!more.length) return;
    const group = select.querySelector("optgroup") ?? make("optgroup", { label: "another metric" });
    group.append(...more.map((tag) => make("option", { value: `metric:${tag}` }, tag)));
    if (!group.isConnected) select.append(group);
  }

  private read(): void {
    const checked = (name: string): boolean => this.field(name)?.checked ?? false;
    const value = (name: string, fallback: string): string => this.field(name)?.value ?? fallback;
    this.events.change({
      x: value("x", "step"),
      smooth: slideToWeight(Number(value("smooth", "0"))),
      xLog: checked("xlog"),
      yLog: checked("ylog"),
      outliers: !checked("outliers"),
      joined: checked("joined"),
      layout: value("layout", "overlap") as State["layout"],
      pace: Number(value("pace", String(DEFAULTS.pace))),
      group: value("group", ""),
      band: value("band", "std") as State["band"],
      members: checked("members"),
    });
  }

  show(state: State, facts: { segmented: boolean; lines: number; step: string; ended: boolean }): void {
    const { form } = this;
    if (!form) return;
    const put = (name: string, value: string): void => {
      const field = this.field(name);
      if (field && field.value !== value) field.value = value;
    };
    const check = (name: string, on: boolean): void => {
      const field = this.field(name);
      if (field) field.checked = on;
    };
    const x = this.field("x") as unknown as HTMLSelectElement | null;
    if (x && metricOf(state.x) && ![...x.options].some((each) => each.value === state.x)) {
      x.append(make("option", { value: state.x }, metricOf(state.x)));
    }
    put("x", state.x);
    if (document.activeElement !== this.field("smooth")) put("smooth", String(weightToSlide(state.smooth)));
    form.querySelector<HTMLOutputElement>("[data-smooth]")!.value = state.smooth.toFixed(state.smooth > 0.99 ? 3 : 2);
    check("xlog", state.xLog);
    check("ylog", state.yLog);
    check("outliers", !state.outliers);
    check("joined", state.joined);
    check("members", state.members);
    put("layout", state.layout);
    put("pace", String(state.pace));
    put("group", state.group);
    put("band", state.band);
    this.reveal("[data-if=segments]", facts.segmented || state.joined);
    this.reveal("[data-if=lines]", facts.lines > 1);
    this.reveal("[data-if=grouped]", state.group !== "");
    this.reveal("[data-act=reset]", state.zoom !== null || Object.values(state.own).some((look) => look.yZoom));
    this.reveal("[data-act=show]", state.hidden.length > 0);
    this.reveal("[data-act=hide]", facts.lines > 1 && state.hidden.length === 0);
    this.reveal("[data-act=replay]", facts.ended && state.replay === null);
    const step = form.querySelector<HTMLOutputElement>("[data-step]");
    if (step) step.value = facts.step;
    this.reveal("[data-moment]", state.at !== null);
    const words = this.moment?.querySelector("time");
    if (words && state.at !== null) words.textContent = formatMoment(state.at).slice(11);
  }

  private reveal(what: string, on: boolean): void {
    for (const each of this.form?.querySelectorAll<HTMLElement>(what) ?? []) each.hidden = !on;
  }
}
