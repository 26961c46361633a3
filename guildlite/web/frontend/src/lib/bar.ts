/** How long until a viewer that does not answer is asked again. */
export const RETRY_S = 4;

/** The mark in the page's bar that says whether what is shown is of now. */
export class Bar {
  private shown = "";
  private countdown: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly element: HTMLElement | null) {}

  reached(live: boolean, pace_s: number): void {
    if (live && pace_s) this.show("on", "live", `every ${pace_s} s`);
    else if (live) this.show("", "paused", "");
    else this.show("", this.shown && this.shown.startsWith("off") ? "connected" : "", "");
  }

  /** Nobody answered; the caller asks again after `retry_s`. */
  lost(retry_s = RETRY_S): void {
    let left = retry_s;
    const tick = (): void => {
      this.show("off", "offline", left > 0 ? `, retrying in ${left} s` : ", retrying", "retrying by itself");
      left -= 1;
      if (left >= 0) this.countdown = setTimeout(tick, 1000);
    };
    tick();
  }

  /** The viewer was started anew and does not know this browser. */
  signedOut(): void {
    this.show("off", "signed out", ": open the link that gl view printed");
  }

  refused(message: string): void {
    this.show("off", "refused", message);
  }

  /** `heard` is said instead of `more`, where that changes each second. */
  private show(kind: "on" | "off" | "", word: string, more: string, heard = ""): void {
    clearTimeout(this.countdown);
    const key = `${kind} ${word} ${more}`;
    if (!this.element?.isConnected || !word || key === this.shown) return;
    const rest = this.element.querySelector<HTMLElement>("[data-more]");
    if (heard && rest && this.shown.startsWith(`${kind} ${word} `)) {
      rest.textContent = more;
      this.shown = key;
      return;
    }
    this.shown = key;
    this.element.className = `live ${kind}`;
    this.element.replaceChildren(dot(), word, ...(heard ? [text(more, true), text(heard, false)] : [" ", text(more)]));
  }
}

function dot(): HTMLElement {
  const made = document.createElement("span");
  made.className = "dot";
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** A text that is `seen` only, heard only, or, without saying which, both. */
function text(words: string, seen?: boolean): HTMLElement {
  const made = document.createElement("span");
  made.className = seen === false ? "hidden" : "soft";
  if (seen) {
    made.setAttribute("aria-hidden", "true");
    made.dataset["more"] = "";
  }
  made.textContent = seen === false ? ` ${words}` : words;
  return made;
}
