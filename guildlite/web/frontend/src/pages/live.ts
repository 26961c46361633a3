/**
 * Pages of text and tables, kept as they would be if loaded now, without loading them again.
 *
 * The server makes the page; only what differs is changed here, so a selection, an open part or a
 * field that is typed into stays. A page that shows the end of the output goes on showing it.
 */
import { Bar } from "../lib/bar.ts";
import { morph } from "../lib/morph.ts";

const RETRY_S = 3;

class LivePage {
  private readonly bar = new Bar(document.querySelector<HTMLElement>(".live"));
  private every_s = Number(document.body.dataset["every"] ?? 0);
  private timer: ReturnType<typeof setTimeout> | undefined;

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
    let text: string;
    try {
      const response = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!response.ok) throw new Error(String(response.status));
      text = await response.text();
    } catch {
      this.bar.lost();
      this.schedule(RETRY_S);
      return;
    }
    this.take(new DOMParser().parseFromString(text, "text/html"));
    this.schedule(this.every_s);
  }

  private take(page: Document): void {
    const root = document.documentElement;
    const atEnd = root.scrollHeight - innerHeight - scrollY < 40;
    for (const part of ["#main", ".live"]) {
      const here = document.querySelector(part);
      const there = page.querySelector(part);
      if (here && there) morph(here, there);
    }
    document.title = page.title;
    this.every_s = Number(page.body.dataset["every"] ?? 0);
    if (atEnd && document.querySelector("[data-follow]")) scrollTo(0, root.scrollHeight);
  }
}

new LivePage().start();
