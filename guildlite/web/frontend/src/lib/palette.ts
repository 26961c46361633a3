/**
 * The command palette: every page, run and action, by a few letters of its name.
 *
 * Commands come from the caller, so the palette knows nothing of runs. Some are known at once, so that
 * typing and Enter never wait; what is asked for is added when it comes, if the query is still the same.
 */
import { fuzzyScore } from "./fuzzy.ts";

export interface Command {
  /** Heading it stands under. */
  group: string;
  name: string;
  /** Beside the name, searched too. */
  detail?: string;
  /** Where it leads, which opens in a new tab with Ctrl; or what it does. */
  href?: string;
  run?: () => void | Promise<void>;
}

/** Commands that are known at once, whatever is typed. */
export type Known = () => Command[];
/** Commands that must be asked for. */
export type Asked = (query: string, signal: AbortSignal) => Promise<Command[]>;

const MOST = 40;
const PAUSE_MS = 120;

export class Palette {
  private readonly dialog = document.createElement("dialog");
  private readonly field = document.createElement("input");
  private readonly list = document.createElement("div");
  private readonly said = document.createElement("p");
  private found: Command[] = [];
  private shown: { command: Command; element: HTMLElement }[] = [];
  private at = 0;
  private query = "";
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked: AbortController | undefined;

  constructor(
    private readonly known: Known,
    private readonly more: Asked,
  ) {
    this.dialog.className = "overlay palette";
    this.dialog.setAttribute("aria-label", "Go to a page, a run or an action");
    this.list.id = "palette-list";
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Found");
    this.said.className = "soft";
    this.said.setAttribute("role", "status");
    this.field.type = "text";
    this.field.autocomplete = "off";
    this.field.spellcheck = false;
    this.field.placeholder = "page, run or action";
    for (const [name, value] of Object.entries({
      role: "combobox", "aria-label": "Page, run or action", "aria-expanded": "true",
      "aria-controls": this.list.id, "aria-autocomplete": "list",
    })) this.field.setAttribute(name, value);
    this.dialog.append(this.field, this.list, this.said);
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => this.asked?.abort());
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.field.addEventListener("input", () => this.ask(PAUSE_MS));
    document.body.append(this.dialog);
  }

  toggle(): void {
    if (this.dialog.open) return this.dialog.close();
    this.field.value = "";
    this.found = [];
    this.dialog.showModal();
    this.field.focus();
    this.ask(0);
  }

  /** Look again: at once in what is known, after a pause in what must be asked for. */
  private ask(pause_ms: number): void {
    this.query = this.field.value.trim();
    this.at = 0;
    this.draw();
    clearTimeout(this.timer);
    this.asked?.abort();
    const mine = (this.asked = new AbortController());
    this.timer = setTimeout(() => void this.take(mine.signal), pause_ms);
  }

  private async take(signal: AbortSignal): Promise<void> {
    let found: Command[];
    try {
      found = await this.more(this.query, signal);
    } catch {
      return; // what was found before stays
    }
    if (signal.aborted) return;
    this.found = found;
    this.draw();
  }

  /** Groups stand in the order of their best command, so that the first line is the best of all. */
  private draw(): void {
    const scored = [...this.known(), ...this.found]
      .map((command, place) => ({ command, place, score: fuzzyScore(this.query, `${command.name} ${command.detail ?? ""}`) }))
      .filter((each) => each.score !== null)
      .sort((a, b) => b.score! - a.score! || a.place - b.place)
      .slice(0, MOST);
    const groups = new Map<string, Command[]>();
    for (const { command } of scored) groups.set(command.group, [...(groups.get(command.group) ?? []), command]);
    this.shown = [];
    this.list.replaceChildren(...[...groups].map(([name, commands], n) => this.group(name, commands, n)));
    this.said.textContent = scored.length ? `${scored.length} found` : "Nothing found";
    this.said.classList.toggle("hidden", scored.length > 0);
    this.mark(Math.min(this.at, Math.max(0, scored.length - 1)));
  }

  private group(name: string, commands: Command[], number: number): HTMLElement {
    const group = document.createElement("div");
    const title = document.createElement("p");
    title.id = `palette-group-${number}`;
    title.className = "soft";
    title.textContent = name;
    group.setAttribute("role", "group");
    group.setAttribute("aria-labelledby", title.id);
    title.setAttribute("role", "presentation");
    group.append(title, ...commands.map((command) => this.option(command)));
    return group;
  }

  private option(command: Command): HTMLElement {
    const option = document.createElement("div");
    const number = this.shown.length;
    option.id = `palette-option-${number}`;
    option.setAttribute("role", "option");
    const name = document.createElement("bdi");
    name.textContent = command.name;
    option.append(name);
    if (command.detail) {
      const detail = document.createElement("span");
      detail.className = "soft";
      detail.textContent = command.detail;
      option.append(" ", detail);
    }
    option.addEventListener("pointermove", () => this.at !== number && this.mark(number, false));
    option.addEventListener("click", (event) => this.choose(number, event.ctrlKey || event.metaKey));
    this.shown.push({ command, element: option });
    return option;
  }

  private mark(number: number, scroll = true): void {
    this.at = number;
    for (const [n, { element }] of this.shown.entries()) element.setAttribute("aria-selected", String(n === number));
    const chosen = this.shown[number]?.element;
    if (chosen) this.field.setAttribute("aria-activedescendant", chosen.id);
    else this.field.removeAttribute("aria-activedescendant");
    if (scroll) chosen?.scrollIntoView({ block: "nearest" });
  }

  private key(event: KeyboardEvent): void {
    const count = this.shown.length;
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    const step = steps[event.key];
    if (step !== undefined && count) {
      const to = Math.abs(step) === 1 ? (this.at + step + count) % count : Math.min(count - 1, Math.max(0, this.at + step));
      this.mark(to);
    } else if (event.key === "Escape") this.dialog.close(); // by itself it would close a moment later
    else if (event.key === "Enter" && !event.isComposing) this.choose(this.at, event.ctrlKey || event.metaKey);
    else return;
    event.preventDefault();
  }

  private choose(number: number, apart: boolean): void {
    const command = this.shown[number]?.command;
    if (!command) return;
    this.dialog.close();
    if (command.run) void command.run();
    else if (command.href && apart) open(command.href, "_blank", "noopener");
    else if (command.href) location.assign(command.href);
  }
}
