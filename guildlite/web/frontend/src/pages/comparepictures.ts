/** Images of runs side by side: a slider over the steps that they have, and new ones as they come. */
import { Enlarged } from "../charts/enlarged.ts";
import { make } from "../lib/dom.ts";
import { morph } from "../lib/morph.ts";

const PACE_S = 3;

export class Pictures {
  private busy = false;
  private wished: string | null = null;

  start(): void {
    const part = document.querySelector<HTMLElement>("#images");
    if (!part) return;
    this.addSlider(part);
    this.addLight(part);
    const viewer = new Enlarged({ onClose: () => undefined });
    document.querySelector("#main")!.addEventListener("click", (event) => {
      const picture = (event.target as HTMLElement).closest<HTMLElement>(".pictures a");
      const { ctrlKey, metaKey, shiftKey, button } = event as MouseEvent;
      if (!picture || ctrlKey || metaKey || shiftKey || button) return;
      event.preventDefault();
      viewer.show(picture.querySelector("img")!);
    });
    if (document.querySelector<HTMLElement>("#main")?.dataset["live"] === "1") {
      setInterval(() => !document.hidden && !this.busy && void this.fetch(), PACE_S * 1000);
    }
  }

  private addSlider(part: HTMLElement): void {
    const { first, last } = part.dataset;
    const field = part.querySelector<HTMLInputElement>("#step");
    if (!field || first === undefined || first === last || !part.querySelector("form")) return;
    const slider = make("input", {
      type: "range", min: first, max: last!, step: "any", value: field.value || last!, "aria-label": "Step of all images",
    });
    const steps = (part.dataset["steps"] ?? "").split(",").filter(Boolean).map(Number);
    const nearest = (): number => {
      const at = Number(slider.value);
      if (!steps.length) return Math.round(at);
      return steps.reduce((best, each) => (Math.abs(each - at) < Math.abs(best - at) ? each : best));
    };
    slider.addEventListener("input", () => this.wish(String(nearest())));
    slider.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (!way || !steps.length) return;
      event.preventDefault();
      const to = steps[Math.max(0, Math.min(steps.length - 1, steps.indexOf(nearest()) + way))]!;
      slider.value = String(to);
      this.wish(String(to));
    });
    // Beside the parts that are taken over from the server again and again.
    part.before(make("div", { class: "image-slider" }, make("label", { class: "wide" }, "Step ", slider)));
  }

  /** Brightness and contrast of all images alike, as on the media page. */
  private addLight(part: HTMLElement): void {
    const fields = ([["brightness", "Brightness", 2], ["contrast", "Contrast", 5]] as const).map(([name, title, most]) => {
      const said = Number(new URLSearchParams(location.search).get(name) ?? 1);
      const value = Number.isFinite(said) ? Math.min(most, Math.max(0, said)) : 1;
      const field = make("input", { type: "range", min: "0", max: String(most), step: "0.05", value: String(value) });
      const set = (): void => document.documentElement.style.setProperty(`--${name}`, field.value);
      field.addEventListener("input", set);
      field.addEventListener("change", () => {
        const url = new URL(location.href);
        if (Number(field.value) === 1) url.searchParams.delete(name);
        else url.searchParams.set(name, field.value);
        history.replaceState(null, "", url);
      });
      set();
      return make("label", {}, `${title} `, field);
    });
    part.before(make("div", { class: "image-slider" }, ...fields));
  }

  private wish(step: string): void {
    this.wished = step;
    if (!this.busy) void this.fulfil();
  }

  private async fulfil(): Promise<void> {
    this.busy = true;
    while (this.wished !== null) {
      const url = new URL(location.href);
      const last = document.querySelector<HTMLElement>("#images")?.dataset["last"];
      // The last one is not held: it goes on following what is written.
      if (this.wished === last) url.searchParams.delete("step");
      else url.searchParams.set("step", this.wished);
      this.wished = null;
      history.replaceState(null, "", url);
      await this.fetch();
    }
    this.busy = false;
  }

  private async fetch(): Promise<void> {
    const response = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
    if (!response?.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const id of ["images", "differs"]) {
      const [here, there] = [document.getElementById(id), page.getElementById(id)];
      if (here && there) morph(here, there);
    }
    const slider = document.querySelector<HTMLInputElement>(".image-slider .wide input");
    const part = document.querySelector<HTMLElement>("#images");
    if (!slider || !part) return;
    slider.max = part.dataset["last"]!;
    const step = new URLSearchParams(location.search).get("step");
    if (slider !== document.activeElement) slider.value = step ?? slider.max;
    const field = part.querySelector<HTMLInputElement>("#step");
    if (field && field !== document.activeElement) field.value = step ?? "";
  }
}
