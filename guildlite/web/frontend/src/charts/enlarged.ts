/** A picture over the whole window: zoomed by wheel, pinch, buttons and keys, moved by dragging. */
import { make } from "../lib/dom.ts";

const MOST = 64;
const LEAST = 1;

export interface EnlargedEvents {
  onClose(): void;
}

export class Enlarged {
  readonly dialog: HTMLDialogElement;
  private readonly image = make("img", { alt: "", draggable: "false" });
  private readonly caption = make("p");
  private readonly scaled = make("output", { "aria-label": "Pixels on the screen for one of the picture" });
  private readonly stage = make("div", { class: "stage" });
  /** Times the size at which the picture fits, and how far its middle is from the stage's. */
  private zoom = 1;
  private x = 0;
  private y = 0;
  private readonly fingers = new Map<number, [number, number]>();
  private dragged = false;

  constructor(events: EnlargedEvents, ...more: HTMLElement[]) {
    const button = (text: string, title: string, act: () => void): HTMLButtonElement =>
      make("button", { type: "button", title, "aria-label": title, onclick: act }, text);
    const bar = make(
      "div", { class: "stage-bar" },
      button("\u2212", "Zoom out", () => this.by(1 / 1.5)),
      this.scaled,
      button("+", "Zoom in", () => this.by(1.5)),
      button("Fit", "Fit the window", () => this.fit()),
      button("1:1", "Pixel for pixel", () => this.actual()),
      ...more,
      button("Close", "Close", () => this.dialog.close()),
    );
    this.stage.append(this.image);
    this.dialog = make("dialog", { class: "enlarged", "aria-label": "Enlarged picture" }, bar, this.stage, this.caption);
    this.dialog.addEventListener("close", () => events.onClose());
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.image.addEventListener("load", () => this.place());
    addEventListener("resize", () => this.dialog.open && this.place());
    this.pointers();
    document.body.append(this.dialog);
  }

  /** Show a picture; another step of the same keeps zoom and place, so that steps can be compared. */
  show(from: HTMLImageElement): void {
    if (this.image.src !== from.src) this.image.src = from.src;
    this.image.alt = from.alt;
    this.caption.textContent = from.alt;
    if (!this.dialog.open) {
      this.fit();
      this.dialog.showModal();
      this.stage.tabIndex = -1;
      this.stage.focus();
    }
    this.place();
  }

  private key(event: KeyboardEvent): void {
    if ((event.target as HTMLElement).closest("input")) return;
    if (event.key === "+" || event.key === "=") this.by(1.5);
    else if (event.key === "-") this.by(1 / 1.5);
    else if (event.key === "0") this.fit();
    else if (event.key === "1") this.actual();
    else if ((event.key === "ArrowUp" || event.key === "ArrowDown") && this.zoom > 1) {
      this.y += event.key === "ArrowUp" ? 60 : -60;
      this.place();
    } else return;
    event.preventDefault();
  }

  private pointers(): void {
    const { stage } = this;
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.by(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), this.spot(event));
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      if (!this.fingers.size) this.dragged = false;
      this.fingers.set(event.pointerId, this.spot(event));
    });
    stage.addEventListener("pointermove", (event) => this.moved(event));
    for (const end of ["pointerup", "pointercancel"] as const) {
      stage.addEventListener(end, (event) => this.fingers.delete(event.pointerId));
    }
    stage.addEventListener("dblclick", (event) => (this.zoom > 1 ? this.fit() : this.by(4, this.spot(event))));
    // Beside the picture, as where a dialog is left; a drag that ends there is none.
    stage.addEventListener("click", (event) => {
      const { left, right, top, bottom } = this.image.getBoundingClientRect();
      const beside = event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
      if (beside && !this.dragged) this.dialog.close();
    });
  }

  /** Place of the pointer from the middle of the stage. */
  private spot(event: MouseEvent): [number, number] {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    return [event.clientX - left - width / 2, event.clientY - top - height / 2];
  }

  private moved(event: PointerEvent): void {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now = this.spot(event);
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, now);
    this.dragged ||= Math.hypot(now[0] - before[0], now[1] - before[1]) > 2;
    if (other) {
      const apart = (at: [number, number]): number => Math.hypot(at[0] - other[0], at[1] - other[1]);
      const middle: [number, number] = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
      this.x += (now[0] - before[0]) / 2;
      this.y += (now[1] - before[1]) / 2;
      this.by(apart(now) / Math.max(1, apart(before)), middle);
    } else {
      this.x += now[0] - before[0];
      this.y += now[1] - before[1];
      this.place();
    }
  }

  /** Zoom by a factor; what is at `at` stays there. */
  private by(factor: number, at: [number, number] = [0, 0]): void {
    const zoom = Math.min(MOST, Math.max(LEAST, this.zoom * factor));
    const real = zoom / this.zoom;
    this.x = at[0] - (at[0] - this.x) * real;
    this.y = at[1] - (at[1] - this.y) * real;
    this.zoom = zoom;
    this.place();
  }

  private fit(): void {
    [this.zoom, this.x, this.y] = [1, 0, 0];
    this.place();
  }

  private actual(): void {
    this.by(1 / this.fitting() / this.zoom);
  }

  /** CSS pixels for one pixel of the picture when it fits. */
  private fitting(): number {
    const { clientWidth, clientHeight } = this.stage;
    const { naturalWidth, naturalHeight } = this.image;
    return naturalWidth && naturalHeight ? Math.min(clientWidth / naturalWidth, clientHeight / naturalHeight) : 1;
  }

  private place(): void {
    const scale = this.fitting() * this.zoom;
    const { naturalWidth, naturalHeight, style } = this.image;
    const limit = (size: number, room: number): number => Math.max(0, (size * scale - room) / 2);
    const [farX, farY] = [limit(naturalWidth, this.stage.clientWidth), limit(naturalHeight, this.stage.clientHeight)];
    this.x = Math.min(farX, Math.max(-farX, this.x));
    this.y = Math.min(farY, Math.max(-farY, this.y));
    style.width = `${naturalWidth * scale}px`;
    style.height = `${naturalHeight * scale}px`;
    style.transform = `translate(-50%, -50%) translate(${this.x}px, ${this.y}px)`;
    this.stage.classList.toggle("zoomed", this.zoom > 1);
    this.scaled.value = `${scale >= 1 ? scale.toFixed(scale < 10 ? 1 : 0).replace(/\.0$/, "") : scale.toFixed(2)}\u00d7`;
  }
}
