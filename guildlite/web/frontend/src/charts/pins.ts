/** Charts kept at the top: they move there, and back to their place. */
import { make } from "./panel.ts";

export class Pins {
  private section: HTMLElement | null = null;
  private readonly places = new Map<HTMLElement, Comment>();

  show(pins: readonly string[]): void {
    const articles = [...document.querySelectorAll<HTMLElement>("article[data-title]")];
    const pinned = pins.flatMap((pin) => articles.filter((each) => each.dataset["title"] === pin));
    for (const [article, place] of this.places) {
      if (pinned.includes(article)) continue;
      place.replaceWith(article);
      this.places.delete(article);
    }
    if (pinned.length) this.open(pinned);
    else {
      this.section?.remove();
      this.section = null;
    }
    for (const group of document.querySelectorAll<HTMLElement>("section.group")) {
      if (group !== this.section) group.hidden = !group.querySelector("article");
    }
  }

  private open(pinned: readonly HTMLElement[]): void {
    if (!this.section) {
      const first = document.querySelector("section.group");
      if (!first) return;
      this.section = make("section", { class: "group" }, make("h2", {}, "Pinned"), make("div", { class: "cards" }));
      first.before(this.section);
    }
    const cards = this.section.querySelector(".cards")!;
    for (const article of pinned) {
      if (!this.places.has(article)) {
        const place = document.createComment("pinned");
        article.before(place);
        this.places.set(article, place);
      }
    }
    if (String([...cards.children]) !== String(pinned) || [...cards.children].some((each, i) => each !== pinned[i])) {
      cards.append(...pinned);
    }
  }
}
