/** Lines of output under the keyboard: j and k move, Enter shows the moment on the charts. */
import { registerKeys } from "./keys.ts";

export function bindLines(section: string): void {
  registerKeys(section, [
    { key: "j", label: "Next line; Enter shows its moment on the charts", run: () => move(1) },
    { key: "k", label: "Line before", run: () => move(-1) },
  ]);
}

function move(by: 1 | -1): void {
  const lines = [...document.querySelectorAll<HTMLElement>(".log li")];
  const now = lines.findIndex((line) => line.contains(document.activeElement));
  const from = now >= 0 ? now + by : lines.findIndex((line) => line.matches(":target, .match") || onScreen(line));
  const next = lines[Math.min(lines.length - 1, Math.max(0, from))];
  (next?.querySelector<HTMLElement>("a.t") ?? next?.querySelector<HTMLElement>(".n a"))?.focus();
}

function onScreen(line: HTMLElement): boolean {
  const { top, bottom } = line.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}
