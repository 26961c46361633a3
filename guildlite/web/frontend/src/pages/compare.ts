/**
 * Runs compared on charts: parallel coordinates and scatter plots over one table, images by step.
 *
 * Brushes choose runs; the table below a chart lists exactly these. The page holds a table of all
 * runs without this script; what is chosen here is in the address.
 */
import "./metrics.css";
import "./media.css";
import "./compare.css";
import { ComparedSource, runUrl, type Compared } from "../api/compare.ts";
import { Axis, type Column } from "../charts/axis.ts";
import { byColumn, byRun, type Colouring } from "../charts/colours.ts";
import { ParallelChart } from "../charts/parallel.ts";
import { ScatterChart } from "../charts/scatter.ts";
import { filterOf, orderOf, selected, type Brush } from "../charts/select.ts";
import { Bar } from "../lib/bar.ts";
import { parseComparison, usualScale, writeComparison, type Comparison } from "../lib/comparison.ts";
import { pearson, spearman } from "../lib/correlation.ts";
import { choice, make, save } from "../lib/dom.ts";
import { registerKeys } from "../lib/keys.ts";
import { isDark } from "../lib/theme.ts";
import { Pictures } from "./comparepictures.ts";

const PACE_S = 3;
const ROWS = 50;
/** Runs that have a colour of their own, and a line on every chart. */
const MOST_CURVES = 18;
/** Runs that colour alone tells apart. */
const HUES = 6;
/** Ids of this many runs fit into an address. */
const MOST_IDS = 60;
const MATRIX_SIDE = 4;

class ComparePage {
  private state: Comparison = parseComparison(new URLSearchParams(location.search));
  private readonly source: ComparedSource;
  private readonly bar = new Bar(document.querySelector<HTMLElement>(".live"));
  private data: Compared | null = null;
  private columns = new Map<string, Column>();
  private readonly axes = new Map<string, Axis>();
  private coloured: { axis: Axis | null; dark: boolean; data: Compared | null; colouring: Colouring } | null = null;
  private mask: Uint8Array = new Uint8Array();
  private shownRows = ROWS;
  private readonly controls = make("div", { class: "controls", role: "group", "aria-label": "What the chart shows" });
  private readonly plot = make("div");
  private readonly hint = make("p", { class: "soft hint" });
  private readonly said = make("p", { class: "pointed", "aria-live": "polite" });
  private readonly legend = make("p", { class: "key-row" });
  private readonly list = make("div");
  private readonly chosen = make("section", { id: "chosen", "aria-label": "Chosen runs" });
  private chart!: ParallelChart | ScatterChart;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: HTMLElement, private readonly kind: "parallel" | "scatter") {
    const query = new URLSearchParams(location.search);
    const which = new URLSearchParams();
    for (const name of ["run", "q"]) for (const value of query.getAll(name)) which.append(name, value);
    this.source = new ComparedSource(which);
  }

  async start(): Promise<void> {
    document.querySelector<HTMLElement>("#differs")!.hidden = true;
    this.host.replaceChildren(make("p", { class: "soft" }, "Loading\u2026"));
    this.chart = this.kind === "parallel" ? this.parallel() : this.scatter();
    registerKeys("Compare", [{ key: "Escape", label: "Take all brushes away", run: () => this.clear() }]);
    addEventListener("resize", () => this.data && this.show());
    document.addEventListener("themechange", () => this.data && this.show());
    document.addEventListener("visibilitychange", () => !document.hidden && this.data?.live && void this.look());
    addEventListener("popstate", () => {
      this.state = parseComparison(new URLSearchParams(location.search));
      void this.look();
    });
    await this.look();
  }

  // Data

  private async look(): Promise<void> {
    clearTimeout(this.timer);
    try {
      const answer = await this.source.read(this.wanted());
      if (answer) this.take(answer);
      this.bar.reached(this.data?.live ?? false, PACE_S);
    } catch (error) {
      if (!this.data) this.host.replaceChildren(make("p", { class: "problem" }, `Nothing can be shown: ${(error as Error).message}`));
      this.bar.lost();
      this.timer = setTimeout(() => void this.look(), PACE_S * 1000);
      return;
    }
    if (this.data?.live && !document.hidden) this.timer = setTimeout(() => void this.look(), PACE_S * 1000);
  }

  /** Names of the columns to ask for; none at first, which is what differs. */
  private wanted(): string[] {
    const { axes, colour, x, y, brushes } = this.state;
    const named = [...(axes ?? []), colour, x, y, ...brushes.keys()].filter((each): each is string => each !== null && each !== "run");
    if (!this.data && (!axes || this.kind === "scatter")) return [];
    return [...new Set([...this.columns.keys(), ...named])];
  }

  private take(answer: Compared): void {
    this.data = answer;
    this.columns = new Map(answer.columns.map((each) => [each.name, each]));
    this.axes.clear();
    const known = new Set(answer.names.map((each) => each.name));
    const lacking = this.wanted().filter((each) => known.has(each) && !this.columns.has(each));
    if (lacking.length) return void this.look();
    if (!this.plot.isConnected) this.place();
    this.show();
  }

  /** Put all parts in at once: what is there already would be moved by what comes later. */
  private place(): void {
    const scroll = make("div", { class: "chart-scroll" }, this.plot);
    this.host.replaceChildren(this.controls, this.legend, scroll, this.said, this.hint, this.list);
    this.host.after(this.chosen);
  }

  /** The axis of a column; the same object while nothing about it changes. */
  private axis(name: string): Axis | null {
    const column = this.columns.get(name);
    if (!column) return null;
    const scale = this.state.scales.get(name) ?? usualScale(column);
    const flipped = this.kind === "parallel" && this.state.flipped.has(name);
    const key = `${scale}${flipped ? "!" : ""} ${name}`;
    const found = this.axes.get(key) ?? new Axis(column, scale, flipped);
    this.axes.set(key, found);
    return found;
  }

  // State

  private change(changes: Partial<Comparison>, write = true): void {
    this.state = { ...this.state, ...changes };
    if (write) {
      const query = new URLSearchParams(location.search);
      writeComparison(this.state, query);
      history.replaceState(null, "", `${location.pathname}?${query}`);
    }
    if (this.wanted().every((each) => this.columns.has(each) || !this.data?.names.some(({ name }) => name === each))) this.show();
    else void this.look();
  }

  private clear(): void {
    if (this.state.brushes.size) this.change({ brushes: new Map() });
  }

  private setBrushes(own: readonly (readonly [string, Brush[]])[], done: boolean): void {
    const brushes = new Map(this.state.brushes);
    for (const [name, each] of own) {
      if (each.length) brushes.set(name, each);
      else brushes.delete(name);
    }
    if (done) this.change({ brushes });
    else {
      // While a hand moves only what is chosen is drawn; the table and the address follow when it rests.
      this.state = { ...this.state, brushes };
      this.draw();
    }
  }

  private shownAxes(): string[] {
    if (this.kind === "scatter" && !this.state.matrix) return [this.xName(), this.yName()];
    const axes = this.state.axes ?? this.data!.columns.filter((each) => varies(each)).map((each) => each.name);
    return axes.filter((name) => this.columns.has(name));
  }

  private xName(): string {
    const usual = [...this.columns.values()];
    return this.state.x ?? (usual.find((each) => each.group === "flag" && each.type === "number") ?? usual[0])?.name ?? "started";
  }

  private yName(): string {
    const usual = [...this.columns.values()];
    return this.state.y ?? (usual.find((each) => each.group === "metric") ?? usual.at(-1))?.name ?? "duration";
  }

  private colourName(): string {
    if (this.state.colour) return this.state.colour;
    if (this.data!.runs.length <= HUES) return "run";
    const metrics = [...this.columns.values()].filter((each) => each.group === "metric");
    return (metrics.find((each) => each.goal) ?? metrics[0])?.name ?? "run";
  }

  private colouring(): Colouring {
    const axis = this.colourName() === "run" ? null : this.axis(this.colourName());
    const dark = isDark();
    const last = this.coloured;
    if (last && last.axis === axis && last.dark === dark && last.data === this.data) return last.colouring;
    const colouring = axis ? byColumn(axis, dark) : byRun(this.data!.runs.length);
    this.coloured = { axis, dark, data: this.data, colouring };
    return colouring;
  }

  // Showing

  private show(): void {
    this.shownRows = ROWS;
    this.showControls();
    this.draw();
    this.showLegend();
    this.showAxes();
    this.showTable();
    this.hint.textContent = this.hintWords();
  }

  private draw(): void {
    const columns = [...this.columns.values()];
    this.mask = selected(this.data!.runs.length, columns, this.state.brushes);
    const common = { brushes: this.state.brushes, colouring: this.colouring(), mask: this.mask };
    const axes = this.shownAxes().map((name) => this.axis(name)!);
    if (this.chart instanceof ParallelChart) this.chart.show({ ...common, axes }, this.sentence(axes));
    else {
      const matrix = this.state.matrix;
      const across = matrix ? axes.filter((each) => each.column.group !== "metric").slice(0, MATRIX_SIDE) : [this.axis(this.xName())];
      const down = matrix ? axes.filter((each) => each.column.group === "metric").slice(0, MATRIX_SIDE) : [this.axis(this.yName())];
      const some = (list: (Axis | null)[]): Axis[] => list.filter((each): each is Axis => each !== null);
      this.chart.show({ ...common, across: some(across), down: some(down) }, this.sentence(axes));
    }
  }

  private parallel(): ParallelChart {
    return new ParallelChart(this.plot, {
      onBrush: (name, own, done) => this.setBrushes([[name, own]], done),
      onMove: (name, to) => this.move(name, to),
      onFlip: (name) => this.flip(name),
      onHover: (run) => this.point(run),
      onPick: (run) => location.assign(runUrl(this.data!.runs[run]!.id)),
    });
  }

  private scatter(): ScatterChart {
    return new ScatterChart(this.plot, {
      onBox: (x, y, box, done) => {
        if (!box) return this.clear();
        const others = [...this.state.brushes.keys()].filter((each) => each !== x && each !== y);
        this.setBrushes([...others.map((each): [string, Brush[]] => [each, []]), [x, [box[0]]], [y, [box[1]]]], done);
      },
      onHover: (run) => this.point(run),
      onPick: (run) => location.assign(runUrl(this.data!.runs[run]!.id)),
    });
  }

  /** Name the run that is pointed at, with its values. */
  private point(run: number | null): void {
    if (run === null) return this.said.replaceChildren();
    const { id, label } = this.data!.runs[run]!;
    const values = this.shownAxes().map((name) => {
      const axis = this.axis(name)!;
      return `${axis.column.head} ${axis.format(axis.column.values[run]!)}`;
    });
    this.said.replaceChildren(make("b", {}, label || id), ` ${values.join(" \u00b7 ")}`);
  }

  private sentence(axes: readonly (Axis | null)[]): string {
    const heads = axes.filter((each): each is Axis => each !== null).map((each) => each.column.head);
    const what = this.kind === "parallel" ? "Parallel coordinates" : "Scatter plot";
    const of = this.data!.runs.length;
    const chosen = this.mask.reduce((sum, each) => sum + each, 0);
    return `${what} of ${of.toLocaleString("en-US")} runs over ${heads.join(", ")}; ${chosen.toLocaleString("en-US")} chosen, listed in the table below`;
  }

  private hintWords(): string {
    if (this.kind === "parallel") {
      return "Drag along an axis to choose runs, again for another stretch; drag a stretch to move it, click it to remove it. Drag a name to move its axis, click it to flip it. Esc takes all stretches away.";
    }
    const { length } = this.data!.runs;
    const [x, y] = [this.axis(this.xName()), this.axis(this.yName())];
    const lacking = !this.state.matrix && x && y ? x.column.values.filter((each, i) => each === null || y.column.values[i] === null).length : 0;
    const said = lacking ? ` ${lacking.toLocaleString("en-US")} of ${length.toLocaleString("en-US")} runs lack one of the two values and are not drawn.` : "";
    return `Drag a box to choose runs; click a point to open its run. Esc takes the box away.${said}${this.together(x, y)}`;
  }

  private together(x: Axis | null, y: Axis | null): string {
    if (this.state.matrix || !x || !y || x.categories || y.categories) return "";
    const pairs = this.data!.runs
      .map((_, i) => [x.column.values[i], y.column.values[i]] as const)
      .filter((pair, i): pair is readonly [number, number] => Boolean(this.mask[i]) && typeof pair[0] === "number" && typeof pair[1] === "number");
    const [r, rho] = [pearson(pairs), spearman(pairs)];
    if (r === null || rho === null) return "";
    const set = (value: number): string => value.toFixed(2).replace("-", "\u2212");
    return ` Of ${pairs.length.toLocaleString("en-US")} runs: Pearson ${set(r)}, Spearman ${set(rho)}.`;
  }

  private showLegend(): void {
    const { legend, ramp } = this.colouring();
    const column = this.columns.get(this.colourName());
    this.legend.replaceChildren();
    if (!column || !legend.length) return;
    this.legend.append(make("span", { class: "soft" }, column.head));
    for (const { colour, label } of legend) {
      const swatch = make("span", { class: ramp ? "swatch-box ramp" : "swatch-box" });
      swatch.style.background = colour;
      this.legend.append(make("span", { class: "entry" }, swatch, label));
    }
  }

  // Controls

  private showControls(): void {
    if (this.controls.contains(document.activeElement) && this.controls.childElementCount) return;
    const names = this.entries();
    const parts: HTMLElement[] = [];
    if (this.kind === "scatter") {
      if (!this.state.matrix) {
        parts.push(choice("x", names, this.xName(), (x) => this.change({ x, brushes: new Map() })));
        parts.push(choice("y", names, this.yName(), (y) => this.change({ y, brushes: new Map() })));
        parts.push(this.button("Swap", "Swap the axes", () => this.change({ x: this.yName(), y: this.xName() })));
      }
      const box = make("input", { type: "checkbox", onchange: (event) => this.change({ matrix: (event.target as HTMLInputElement).checked }) });
      box.checked = this.state.matrix;
      parts.push(make("label", { title: "Flags against metrics, with one brush" }, box, " matrix"));
    }
    parts.push(choice("Colour", [["run", "each run"], ...names], this.colourName(), (colour) => this.change({ colour })));
    if (this.kind === "parallel" || this.state.matrix) {
      const shown = new Set(this.shownAxes());
      const more: [string, string, string?][] = [["", "choose\u2026"], ...names.filter(([name]) => !shown.has(name))];
      parts.push(choice("Add an axis", more, "", (name) => name && this.change({ axes: [...this.shownAxes(), name] })));
    }
    if (this.state.brushes.size) parts.push(this.button("Clear", "Take all brushes away", () => this.clear()));
    parts.push(
      this.button("PNG", "Save as a picture", () => this.chart.png((blob) => blob && save(`${this.kind}.png`, blob)), "push"),
      this.button("SVG", "Save as a drawing", () => save(`${this.kind}.svg`, new Blob([this.chart.svg()], { type: "image/svg+xml" }))),
      this.button("CSV", "Save the values of the chosen runs", () => save(`${this.kind}.csv`, new Blob([this.csv()], { type: "text/csv" }))),
    );
    this.controls.replaceChildren(...parts);
  }

  private button(text: string, title: string, act: () => void, kind = ""): HTMLButtonElement {
    const named = { type: "button", title, "aria-label": title, class: kind };
    const after = (): void => {
      act();
      if (this.data) this.showControls();
    };
    return make("button", { ...named, onclick: after }, text);
  }

  private entries(): [string, string, string][] {
    const titles: Record<string, string> = { fact: "Run", flag: "Flags", metric: "Metrics", attribute: "Attributes" };
    const order = Object.keys(titles);
    return this.data!.names
      .map(({ name, head, group }): [string, string, string] => [name, head, titles[group] ?? group])
      .sort((a, b) => order.findIndex((each) => titles[each] === a[2]) - order.findIndex((each) => titles[each] === b[2]));
  }

  /** The axes as a list of fields: everything the pointer does, for the keyboard. */
  private showAxes(): void {
    if (this.list.contains(document.activeElement)) return;
    const open = this.list.querySelector("details")?.open ?? false;
    const names = this.shownAxes();
    const items = names.map((name, i) => this.axisFields(name, i, names.length));
    const details = make("details", { class: "axes" }, make("summary", {}, "Axes and ranges"), make("ol", {}, ...items));
    details.open = open;
    this.list.replaceChildren(details);
  }

  private axisFields(name: string, i: number, count: number): HTMLLIElement {
    const axis = this.axis(name)!;
    const { head } = axis.column;
    const parts: HTMLElement[] = [make("b", {}, head)];
    if (!axis.categories) {
      const scales: [string, string][] = [["linear", "linear"], ...(axis.canLog ? [["log", "log"] as [string, string]] : []), ["quantile", "quantile"]];
      parts.push(choice("scale", scales, axis.scale, (scale) => this.change({ scales: new Map([...this.state.scales, [name, scale as Axis["scale"]]]) })));
    }
    parts.push(...this.rangeFields(axis));
    if (this.kind === "parallel") {
      const again = (act: () => void) => () => {
        act();
        (document.activeElement as HTMLElement | null)?.blur();
        this.showAxes();
        this.list.querySelector("summary")?.focus();
      };
      parts.push(
        this.button("Flip", `Flip ${head}`, again(() => this.flip(name))),
        ...(i ? [this.button("\u2190", `Move ${head} to the left`, again(() => this.move(name, i - 1)))] : []),
        ...(i < count - 1 ? [this.button("\u2192", `Move ${head} to the right`, again(() => this.move(name, i + 1)))] : []),
        ...(count > 1 ? [this.button("Remove", `Remove ${head}`, again(() => this.change({ axes: this.shownAxes().filter((each) => each !== name) })))] : []),
      );
    }
    return make("li", {}, ...parts);
  }

  private rangeFields(axis: Axis): HTMLElement[] {
    const { name, head } = axis.column;
    const brush = (this.state.brushes.get(name) ?? []).find((each) => each !== "none");
    const ends = brush === undefined ? ["", ""] : [brush.low, brush.high].map(String);
    const set = (side: 0 | 1, value: string): void => {
      ends[side] = value;
      const low = ends[0] || String(axis.valueAt(axis.flipped ? 1 : 0));
      const high = ends[1] || String(axis.valueAt(axis.flipped ? 0 : 1));
      this.setBrushes([[name, ends[0] || ends[1] ? [{ low, high }] : []]], true);
    };
    return ([0, 1] as const).map((side) => {
      const word = side ? "to" : "from";
      if (axis.categories) {
        return choice(word, [["", "any"], ...axis.categories.map((each): [string, string] => [each, each])], ends[side]!, (value) => set(side, value));
      }
      const field = make("input", {
        type: "number", step: "any", value: ends[side]!, "aria-label": `${head} ${word}`,
        placeholder: String(Number(Number(axis.valueAt((side === 0) === axis.flipped ? 1 : 0)).toPrecision(6))),
        onchange: (event) => set(side, (event.target as HTMLInputElement).value),
      });
      return make("label", {}, `${word} `, field);
    });
  }

  private move(name: string, to: number): void {
    const axes = this.shownAxes().filter((each) => each !== name);
    axes.splice(to, 0, name);
    this.change({ axes });
  }

  private flip(name: string): void {
    const flipped = new Set(this.state.flipped);
    if (!flipped.delete(name)) flipped.add(name);
    this.change({ flipped });
  }

  // The runs

  private rows(): number[] {
    const rows: number[] = [];
    this.mask.forEach((each, i) => each && rows.push(i));
    const column = this.columns.get(this.state.sort.replace(/^-/, ""));
    if (!column) return rows;
    const order = orderOf(column);
    const way = this.state.sort.startsWith("-") ? -1 : 1;
    const at = (i: number): number => (column.values[i] === null ? NaN : order(column.values[i]!));
    // Runs without a value stand at the end either way.
    return rows.sort((a, b) => (Number.isNaN(at(a)) ? 1 : Number.isNaN(at(b)) ? -1 : way * (at(a) - at(b))));
  }

  private showTable(): void {
    const rows = this.rows();
    const axes = this.shownAxes().map((name) => this.axis(name)!);
    const all = this.data!.runs.length;
    const words = rows.length === all ? `${all.toLocaleString("en-US")} runs` : `${rows.length.toLocaleString("en-US")} of ${all.toLocaleString("en-US")} runs chosen`;
    const head = make("tr", {}, make("th", { scope: "col" }, "Run"), ...axes.map((axis) => this.heading(axis)));
    const body = make("tbody");
    for (const run of rows.slice(0, this.shownRows)) body.append(this.row(run, axes));
    const table = make("table", { class: "runs compared" }, make("caption", { class: "hidden" }, "Chosen runs"), make("thead", {}, head), body);
    const parts: HTMLElement[] = [
      make("div", { class: "tools" }, make("h2", { role: "status" }, words), make("p", {}, ...this.ways(rows))),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Chosen runs" }, table),
    ];
    if (rows.length > this.shownRows) {
      const more = (rows.length - this.shownRows).toLocaleString("en-US");
      const button = make("button", { type: "button", class: "more", onclick: () => {
        this.shownRows = Math.min(rows.length, this.shownRows + 500);
        this.showTable();
      } }, `Show more of ${more}`);
      parts.push(button);
    }
    this.chosen.replaceChildren(...parts);
  }

  private heading(axis: Axis): HTMLTableCellElement {
    const { name, head, type } = axis.column;
    const down = this.state.sort === `-${name}`;
    const up = this.state.sort === name;
    const button = make("button", { type: "button", class: "sorter", onclick: () => {
      this.change({ sort: down ? name : `-${name}` });
      [...this.chosen.querySelectorAll<HTMLElement>(".sorter")].find((each) => each.dataset["name"] === name)?.focus();
    } }, head, down ? " \u2193" : up ? " \u2191" : "");
    button.dataset["name"] = name;
    const cell = make("th", { scope: "col", class: type === "text" ? "" : "num" }, button);
    if (up || down) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    return cell;
  }

  private row(run: number, axes: readonly Axis[]): HTMLTableRowElement {
    const { id, label } = this.data!.runs[run]!;
    const raise = (to: number | null) => () => this.chart.raise(to);
    const cells = axes.map((axis) => {
      const value = axis.column.values[run]!;
      return make("td", { class: axis.categories ? "" : "num" }, value === null ? make("span", { class: "soft" }, "none") : axis.format(value));
    });
    const { colours, of } = this.colouring();
    const swatch = make("span", { class: "swatch-box" });
    swatch.style.background = colours[of[run]!]!;
    const link = make("a", { href: runUrl(id), onfocus: raise(run), onblur: raise(null) }, make("bdi", {}, label || id));
    const row = make("tr", { onpointerenter: raise(run), onpointerleave: raise(null) }, make("th", { scope: "row" }, swatch, link), ...cells);
    row.dataset["run"] = id;
    return row;
  }

  /** Where to go with the chosen runs: their curves, themselves alone, the filter for a terminal. */
  private ways(rows: readonly number[]): (Node | string)[] {
    const ids = rows.map((i) => this.data!.runs[i]!.id);
    const parts: (Node | string)[] = [];
    if (ids.length > 1 && ids.length <= MOST_CURVES) {
      parts.push(make("a", { href: `/compare?run=${ids.map(encodeURIComponent).join(",")}&view=curves` }, "Their curves"));
    }
    if (!ids.length || ids.length === this.data!.runs.length) return parts;
    const own = filterOf([...this.columns.values()], this.state.brushes);
    const given = new URLSearchParams(location.search).get("q")?.trim();
    const query = new URLSearchParams({ view: this.kind });
    if (ids.length <= MOST_IDS) query.set("run", ids.join(","));
    else query.set("q", given ? `(${given}) and ${own}` : own);
    parts.push(...(parts.length ? [" \u00b7 "] : []), make("a", { href: `/compare?${query}` }, "Only these"));
    if (own) parts.push(" \u00b7 ", make("code", { class: "filter-text", title: "As a filter of gl runs" }, own));
    return parts;
  }

  private csv(): string {
    const axes = this.shownAxes().map((name) => this.axis(name)!);
    const quote = (text: string): string => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [["run", ...axes.map((axis) => axis.column.name)].map(quote).join(",")];
    for (const run of this.rows()) {
      const values = axes.map((axis) => axis.column.values[run]);
      lines.push([this.data!.runs[run]!.id, ...values.map((each) => (each === null ? "" : String(each)))].map(quote).join(","));
    }
    return `${lines.join("\n")}\n`;
  }
}

function varies(column: Column): boolean {
  const first = column.values.find((each) => each !== null);
  return column.values.some((each) => each !== null && each !== first);
}

const host = document.querySelector<HTMLElement>("[data-chart]");
if (host) void new ComparePage(host, host.dataset["chart"] === "scatter" ? "scatter" : "parallel").start();
new Pictures().start();
