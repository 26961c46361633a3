/** A finished run once more, at a chosen pace: what is shown is what was known then. */
import { REPLAY_PACES, type Replay } from "../lib/state.ts";
import { formatSeconds } from "../lib/numbers.ts";
import { button, make } from "./panel.ts";
import type { Line, Series } from "./series.ts";

/** How far a replay is, for each line. */
export interface Clock {
  /** Time up to which a line is shown; below 0, minus the share of its points where it has no times. */
  until(line: Line): number;
}

/** Runs begin together: each at its own first point. */
export function clockOf(all: readonly Series[], share: number): Clock & { at_s: number } {
  const zero = new Map<string, number>();
  let longest = 0;
  const spans = all.flatMap((series) => {
    const { span } = series;
    if (span) zero.set(series.run, Math.min(zero.get(series.run) ?? Infinity, span[0]));
    return span ? [{ run: series.run, end: span[1] }] : [];
  });
  for (const { run, end } of spans) longest = Math.max(longest, end - zero.get(run)!);
  return {
    at_s: (share * longest) / 1000,
    until: (line) => {
      const from = zero.get(line.run);
      const timed = from !== undefined && longest > 0 && line.times.length > 0 && line.times[0] === line.times[0];
      if (!timed) return -Math.max(share, 1e-9);
      return from + share * longest;
    },
  };
}

/** The bar with play, pause, place and pace. */
export class ReplayBar {
  readonly element: HTMLElement;
  private readonly play: HTMLButtonElement;
  private readonly place: HTMLInputElement;
  private readonly pace: HTMLSelectElement;
  private readonly output = make("output", {});
  private state: Replay = { pace: 30, share: 0 };
  private playing = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private last = 0;

  constructor(
    private readonly events: {
      /** `still` says that nothing moves now, so it is worth an address. */
      change(replay: Replay | null, still: boolean): void;
      /** Seconds the run took. */
      duration(): number;
    },
  ) {
    this.play = button("Play", "Play or pause", "", () => this.toggle());
    this.place = make("input", { type: "range", min: "0", max: "1", step: "0.001", "aria-label": "Place in the replay" });
    this.place.addEventListener("input", () => this.go(Number(this.place.value), true));
    const words: Record<number, string> = { 10: "in 10 s", 30: "in 30 s", 60: "in a minute", 300: "in 5 minutes", 0: "as long as it took" };
    this.pace = make("select", { "aria-label": "Pace of the replay" },
      ...REPLAY_PACES.map((each) => make("option", { value: String(each) }, words[each]!)));
    this.pace.addEventListener("change", () => {
      this.state = { ...this.state, pace: Number(this.pace.value) };
      this.events.change(this.state, !this.playing);
    });
    const close = button("End replay", "Show everything again", "", () => this.close());
    this.element = make("div", { class: "replay", role: "group", "aria-label": "Replay", hidden: "" },
      this.play, this.place, this.output, make("label", {}, "the whole ", this.pace), close);
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== " " || event.target !== this.place) return;
      event.preventDefault();
      this.toggle();
    });
  }

  /** Show where a replay is; null is none. */
  show(replay: Replay | null, text: string): void {
    this.element.hidden = replay === null;
    if (!replay) return this.pause();
    this.state = replay;
    this.place.value = String(replay.share);
    this.place.setAttribute("aria-valuetext", text);
    this.pace.value = String(replay.pace);
    this.output.value = text;
    this.play.textContent = this.playing ? "Pause" : replay.share >= 1 ? "Again" : "Play";
  }

  open(): void {
    this.state = { ...this.state, share: 0 };
    this.element.hidden = false;
    // Who asked for less motion starts it by hand.
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) this.events.change(this.state, true);
    else this.start();
    this.play.focus();
  }

  close(): void {
    this.pause();
    this.events.change(null, true);
  }

  toggle(): void {
    if (this.playing) {
      this.pause();
      this.events.change(this.state, true);
    } else this.start();
  }

  private start(): void {
    if (this.state.share >= 1) this.state = { ...this.state, share: 0 };
    this.playing = true;
    this.last = performance.now();
    this.events.change(this.state, false);
    this.tick();
  }

  private pause(): void {
    this.playing = false;
    clearTimeout(this.timer);
  }

  private tick(): void {
    if (!this.playing) return;
    // Eight times a second, as the recorded trainings were; less where motion disturbs.
    const every = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 125;
    this.timer = setTimeout(() => {
      const now = performance.now();
      const whole = this.state.pace || Math.max(1, this.events.duration());
      const share = this.state.share + (now - this.last) / 1000 / whole;
      this.last = now;
      this.go(share, false);
      this.tick();
    }, every);
  }

  private go(share: number, still: boolean): void {
    this.state = { ...this.state, share: Math.min(1, share) };
    if (share >= 1) this.pause();
    this.events.change(this.state, still || share >= 1);
  }
}

export function replayText(at_s: number, step: number | null): string {
  const time = formatSeconds(Math.round(at_s * 10) / 10);
  return step === null ? time : `${time}, step ${Math.round(step).toLocaleString("en-US")}`;
}
