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

  /** What stands in a card's own place: itself, or the mark it left when it was pinned. */
  placeOf(article: HTMLElement): HTMLElement | Comment {
    return this.places.get(article) ?? article;
  }

  /** One card takes the place of another, pinned or not. */
  replace(old: HTMLElement, article: HTMLElement): void {
    old.replaceWith(article);
    const place = this.places.get(old);
    this.places.delete(old);
    if (place) this.places.set(article, place);
  }

  /** A card goes, and the mark of its place. */
  remove(article: HTMLElement): void {
    this.places.get(article)?.remove();
    this.places.delete(article);
    article.remove();
  }

  private open(pinned: readonly HTMLElement[]): void {
    if (!this.section) {
      const first = document.querySelector("section.group");
      if (!first) return;
      this.section = make("section", { class: "group", "data-pinned": "" }, make("h2", {}, "Pinned"), make("div", { class: "cards" }));
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
