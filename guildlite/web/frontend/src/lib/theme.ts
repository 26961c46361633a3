/**
 * The theme: as the system has it, light, or dark.
 *
 * The choice is a cookie and the server makes each page with it, so that nothing flashes. Whatever
 * draws its colours itself listens for `themechange` on the document.
 */
import { remember, remembered } from "./remember.ts";

export type Theme = "" | "light" | "dark";

const COOKIE = "gl_theme";
const root = document.documentElement;

export function theme(): Theme {
  const chosen = remembered(COOKIE);
  return chosen === "light" || chosen === "dark" ? chosen : "";
}

/** Whether the page is dark now, by choice or as the system is. */
export function isDark(): boolean {
  return theme() === "dark" || (!theme() && matchMedia("(prefers-color-scheme: dark)").matches);
}

export function chooseTheme(chosen: Theme): void {
  remember(COOKIE, chosen || null);
  apply(chosen);
}

/** Follow the switches of the page, the system, and other tabs. */
export function followTheme(switches: Iterable<HTMLInputElement>): void {
  const inputs = [...switches];
  for (const each of inputs) each.addEventListener("change", () => chooseTheme(each.value as Theme));
  document.addEventListener("themechange", () => {
    for (const each of inputs) each.checked = each.value === theme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  // Another tab may have chosen meanwhile, and a page the back button brings is as it was left.
  for (const event of ["visibilitychange", "pageshow"]) {
    (event === "pageshow" ? window : document).addEventListener(event, () => apply(theme()));
  }
}

function apply(chosen: Theme): void {
  if ((root.dataset["theme"] ?? "") === chosen) return;
  if (chosen) root.dataset["theme"] = chosen;
  else delete root.dataset["theme"];
  document.querySelector("meta[name=color-scheme]")?.setAttribute("content", chosen || "light dark");
  tell();
}

function tell(): void {
  document.dispatchEvent(new Event("themechange"));
}
