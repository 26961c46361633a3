/**
 * A page of text and tables, kept as it would be if loaded now, without loading it again.
 *
 * The server makes the page; only what differs is changed here, so a selection, an open part or a
 * field that is typed into stays. A page that shows the end of the output goes on showing it.
 */
import { Bar, RETRY_S } from "./bar.ts";
import { morph } from "./morph.ts";

export class LivePage {
  private readonly bar = new Bar(document.querySelector<HTMLElement>(".live"));
  private every_s = Number(document.body.dataset["every"] ?? 0);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked: AbortController | undefined;

  /** `onChange` is called after each look that was answered. */
  constructor(private readonly onChange: () => void = () => {}) {}

  start(): void {
    if (!this.every_s) return;
    document.addEventListener("visibilitychange", () => this.schedule(0));
    this.schedule(this.every_s);
  }

  private schedule(delay_s: number): void {
    clearTimeout(this.timer);
    if (document.hidden || !this.every_s) return;
    this.timer = setTimeout(() => void this.look(), delay_s * 1000);
  }

  private async look(): Promise<void> {
    this.asked?.abort();
    const mine = (this.asked = new AbortController());
    let text: string;
    try {
      const response = await fetch(location.href, { headers: { accept: "text/html" }, signal: mine.signal });
      if (response.status === 401) return this.later(() => this.bar.signedOut());
      if (!response.ok) throw new Error(String(response.status));
      text = await response.text();
    } catch {
      if (!mine.signal.aborted) this.later(() => this.bar.lost());
      return;
    }
    this.take(new DOMParser().parseFromString(text, "text/html"));
    this.schedule(this.every_s);
  }

  private later(say: () => void): void {
    say();
    this.schedule(RETRY_S);
  }

  private take(page: Document): void {
    const root = document.documentElement;
    const atEnd = root.scrollHeight - innerHeight - scrollY < 40;
    const focused = document.activeElement;
    for (const part of ["#main", ".live"]) {
      const here = document.querySelector(part);
      const there = page.querySelector(part);
      if (here && there) morph(here, there);
    }
    if (focused && !focused.isConnected) focusAgain(focused);
    document.title = page.title;
    this.every_s = Number(page.body.dataset["every"] ?? 0);
    this.onChange();
    if (atEnd && document.querySelector("[data-follow]")) scrollTo(0, root.scrollHeight);
  }
}

/** What had the focus is gone: its successor by id or address has it, else the content. */
function focusAgain(gone: Element): void {
  const href = gone.getAttribute("href");
  const same = gone.id ? document.getElementById(gone.id) : href ? document.querySelector<HTMLElement>(`#main a[href="${CSS.escape(href)}"]`) : null;
  const main = document.querySelector<HTMLElement>("#main")!;
  if (same) return same.focus({ preventScroll: true });
  main.tabIndex = -1;
  main.focus({ preventScroll: true });
}
