/**
 * A text field with a list of what can follow at the cursor: the ARIA combobox pattern.
 *
 * The list never takes the focus. Down and Up go through it, Enter and Tab take what is marked,
 * Escape closes it, and then leaves the field; nothing is marked at first, so Enter alone sends the field as it is.
 */
export interface Candidate {
  text: string;
  kind: string;
  help: string;
}

export interface Completion {
  /** Candidates replace the text from here to the cursor. */
  start: number;
  candidates: Candidate[];
  more: number;
}

export type Complete = (text: string, at: number, signal: AbortSignal) => Promise<Completion>;

const PAUSE_MS = 60;
/** What stands at the end of a candidate, so that typing goes on behind it. */
const OPEN = /[(]$/;

export class Combobox {
  private readonly list = document.createElement("ul");
  private options: HTMLElement[] = [];
  private found: Completion | null = null;
  private at = 0;
  private active = -1;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private latest: AbortController | undefined;

  constructor(
    private readonly input: HTMLInputElement,
    private readonly complete: Complete,
    private readonly changed: () => void,
  ) {
    this.list.id = `${input.id}-list`;
    this.list.className = "candidates";
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "What can follow");
    this.list.hidden = true;
    // Outside of what is replaced when the page follows.
    document.body.append(this.list);
    this.describe();
    input.addEventListener("input", () => this.ask());
    input.addEventListener("click", () => this.ask());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.press(event));
    this.list.addEventListener("mousedown", (event) => {
      event.preventDefault(); // the field keeps the focus
      const option = event.target instanceof Element ? event.target.closest<HTMLElement>("[role=option]") : null;
      if (option) this.take(this.options.indexOf(option));
    });
    addEventListener("resize", () => this.close());
  }

  get isOpen(): boolean {
    return !this.list.hidden;
  }

  /** Say what the field is; to be said again when its attributes were taken away. */
  describe(): void {
    const { input, list } = this;
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    input.setAttribute("aria-expanded", String(!list.hidden));
    const marked = this.options[this.active];
    if (marked) input.setAttribute("aria-activedescendant", marked.id);
    else input.removeAttribute("aria-activedescendant");
  }

  close(): void {
    clearTimeout(this.timer);
    this.latest?.abort();
    this.list.hidden = true;
    this.active = -1;
    this.describe();
  }

  private ask(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.look(), PAUSE_MS);
  }

  private async look(): Promise<void> {
    this.latest?.abort();
    const mine = (this.latest = new AbortController());
    const at = this.input.selectionStart ?? this.input.value.length;
    let found: Completion;
    try {
      found = await this.complete(this.input.value, at, mine.signal);
    } catch {
      return; // a newer one is under way, or the server is gone: the page says so
    }
    if (mine.signal.aborted || document.activeElement !== this.input) return;
    this.found = found;
    this.at = at;
    this.show();
  }

  private show(): void {
    const { candidates, start, more } = this.found!;
    const marked = this.isOpen ? this.options[this.active]?.querySelector("bdi")?.textContent : undefined;
    const typed = this.input.value.slice(start, this.at);
    // What stands there already need not be offered.
    const useful = candidates.length > 1 || (candidates[0] && candidates[0].text !== typed);
    this.active = -1;
    this.options = candidates.map((each, index) => this.option(each, index));
    this.list.replaceChildren(...this.options);
    if (more) {
      const rest = document.createElement("li");
      rest.className = "soft";
      rest.setAttribute("aria-hidden", "true");
      rest.textContent = `and ${more} more`;
      this.list.append(rest);
    }
    this.list.hidden = !useful;
    if (useful) this.place();
    // An answer that comes late leaves the mark where a key has put it.
    if (useful && marked) this.mark(candidates.findIndex((each) => each.text === marked));
    this.describe();
  }

  private option(candidate: Candidate, index: number): HTMLElement {
    const option = document.createElement("li");
    option.id = `${this.list.id}-${index}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    const text = document.createElement("bdi");
    text.textContent = candidate.text;
    option.append(text);
    if (candidate.help) {
      const help = document.createElement("span");
      help.className = "soft";
      help.textContent = candidate.help.replaceAll("`", "");
      option.append(help);
    }
    return option;
  }

  private place(): void {
    const box = this.input.getBoundingClientRect();
    this.list.style.left = `${box.left + scrollX}px`;
    this.list.style.top = `${box.bottom + scrollY + 4}px`;
    this.list.style.minWidth = `${box.width}px`;
  }

  private press(event: KeyboardEvent): void {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (this.isOpen) this.mark(event.key === "ArrowDown" ? this.active + 1 : this.active - 1);
      else void this.look();
    } else if (event.key === "Escape") {
      event.preventDefault(); // else it would empty the field
      if (this.isOpen) this.close();
      else this.input.blur();
    } else if ((event.key === "Enter" || event.key === "Tab") && this.isOpen && this.active >= 0) {
      event.preventDefault();
      this.take(this.active);
    } else if (event.key === "Enter") this.close();
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.ask();
  }

  private mark(index: number): void {
    const count = this.options.length;
    if (!count) return;
    this.options[this.active]?.setAttribute("aria-selected", "false");
    // Beyond either end nothing is marked, and Enter sends what is typed.
    this.active = index >= count ? -1 : index < -1 ? count - 1 : index;
    const marked = this.options[this.active];
    marked?.setAttribute("aria-selected", "true");
    marked?.scrollIntoView({ block: "nearest" });
    this.describe();
  }

  private take(index: number): void {
    const candidate = this.found?.candidates[index];
    if (!candidate || !this.found) return;
    const { value, selectionStart } = this.input;
    // Letters typed since the answer are of the word that is taken.
    const after = value.slice(Math.max(this.at, selectionStart ?? 0));
    const space = OPEN.test(candidate.text) || after.startsWith(" ") ? "" : " ";
    const before = value.slice(0, this.found.start) + candidate.text + space;
    this.input.value = before + after;
    this.input.setSelectionRange(before.length, before.length);
    this.close();
    this.changed();
    this.ask();
  }
}
