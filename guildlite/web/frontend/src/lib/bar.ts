/** The mark in the page's bar that says whether what is shown is of now. */
export class Bar {
  private shown = "";

  constructor(private readonly element: HTMLElement | null) {}

  reached(live: boolean, pace_s: number): void {
    if (live && pace_s) this.show("on", "live", `every ${pace_s} s`);
    else if (live) this.show("", "paused", "");
    else this.show("", this.shown && this.shown.startsWith("off") ? "connected" : "", "");
  }

  lost(): void {
    this.show("off", "offline", "the viewer does not answer, trying again every 3 s");
  }

  refused(message: string): void {
    this.show("off", "refused", message);
  }

  private show(kind: "on" | "off" | "", word: string, more: string): void {
    const key = `${kind} ${word} ${more}`;
    if (!this.element?.isConnected || !word || key === this.shown) return;
    this.shown = key;
    this.element.className = `live ${kind}`;
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.setAttribute("aria-hidden", "true");
    const rest = document.createElement("span");
    rest.className = "soft";
    rest.textContent = more;
    this.element.replaceChildren(dot, `${word} `, rest);
  }
}
