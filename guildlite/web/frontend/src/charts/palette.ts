/** Colours and dashes of lines, those of static/page.css. */
const HUES = 6;
export const DASHES: readonly (readonly number[])[] = [[], [8, 5], [2, 4]];

let known = new Map<string, string>();

/** Value of a custom property of the page, as in `--muted`. */
export function colour(name: string): string {
  let found = known.get(name);
  if (found === undefined) {
    found = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    known.set(name, found);
  }
  return found;
}

/** After a change between light and dark. */
export function forgetColours(): void {
  known = new Map();
}

export function colourOf(slot: number): string {
  return colour(`--c${(slot % HUES) + 1}`);
}

export function dashOf(slot: number): readonly number[] {
  return DASHES[Math.floor(slot / HUES) % DASHES.length]!;
}

/** The small line that stands before a name in a legend, as `charts.swatch` draws it. */
export function swatch(slot: number): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("viewBox", "0 0 24 8");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("class", `line c${(slot % HUES) + 1} d${Math.floor(slot / HUES) % DASHES.length}`);
  path.setAttribute("d", "M2 4H22");
  svg.append(path);
  return svg;
}
