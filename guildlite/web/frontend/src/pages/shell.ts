/** What every page has: keys, the palette of commands, the theme, buttons that copy. */
import "./shell.css";
import { copyText } from "../lib/copy.ts";
import { keysOn, registerKeys, switchKeys, type Binding } from "../lib/keys.ts";
import { Palette, type Asked, type Command } from "../lib/palette.ts";
import { showSheet } from "../lib/sheet.ts";
import { chooseTheme, followTheme } from "../lib/theme.ts";

const run = document.querySelector<HTMLElement>(".run-page[data-run]")?.dataset["run"];
const links = (within: string): HTMLAnchorElement[] => [...document.querySelectorAll<HTMLAnchorElement>(`${within} a[href]`)];

// The palette

const places = (): Command[] => [
  ...links("nav.sections").map((link) => command("This run", link)),
  ...links(".bar nav").map((link) => command("Pages", link)),
];

function command(group: string, link: HTMLAnchorElement): Command {
  return { group, name: link.textContent!.trim(), href: link.href };
}

/** Runs by name, model and label; the newest where nothing is typed. */
const runs: Asked = async (query, signal) => {
  const words = query.match(/[\p{L}\p{N}_.]+/gu) ?? [];
  const response = await fetch(`/api/v1/runs?${new URLSearchParams({ q: words.join(" ") })}`, {
    headers: { accept: "application/json" },
    signal,
  });
  if (!response.ok) throw new Error(String(response.status));
  const { rows } = (await response.json()) as { rows: { id: string; label: string; status: string; model: string }[] };
  return rows.map((row) => ({
    group: "Runs",
    name: row.label || row.id,
    detail: [row.label ? row.id : "", row.model, row.status].filter(Boolean).join(" · "),
    href: `/runs/${encodeURIComponent(row.id)}`,
  }));
};

const actions = (): Command[] => {
  const found: Command[] = [];
  const act = (name: string, run: Command["run"] & object): number => found.push({ group: "Actions", name, run });
  for (const button of document.querySelectorAll<HTMLButtonElement>(".actions > form button")) {
    act(`${button.textContent!.trim()} (this run)`, () => button.click());
  }
  for (const link of links(".actions")) found.push(command("Actions", link));
  if (run) act("Copy the command of this run", () => copyCommand(run));
  act("Copy the address of this page", () => copied(location.href));
  act("Theme: as the system", () => chooseTheme(""));
  act("Theme: light", () => chooseTheme("light"));
  act("Theme: dark", () => chooseTheme("dark"));
  act(keysOn() ? "Keys without Ctrl: off" : "Keys without Ctrl: on", () => switchKeys(!keysOn()));
  act("Keys", showSheet);
  return found;
};

async function copyCommand(id: string): Promise<void> {
  const response = await fetch(`/api/v1/runs/${encodeURIComponent(id)}`, { headers: { accept: "application/json" } });
  if (response.ok) await copied(((await response.json()) as { command: string }).command);
  else say("The command could not be read");
}

async function copied(text: string): Promise<void> {
  say((await copyText(text)) ? "Copied" : "This browser does not let pages copy");
}

// Metrics and System stand on one clock: the x axis chosen on one is that of the other

document.querySelector("nav.sections")?.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[href]") : null;
  const x = new URLSearchParams(location.search).get("x");
  if (!link || !x || !/\/(scalars|system)$/.test(link.pathname)) return;
  link.search = new URLSearchParams({ x }).toString();
});

// A word that is also heard

const spoken = document.body.appendChild(document.createElement("p"));
spoken.className = "toast";
spoken.setAttribute("role", "status");
let fading: ReturnType<typeof setTimeout> | undefined;

function say(text: string): void {
  spoken.textContent = text;
  spoken.classList.add("on");
  clearTimeout(fading);
  fading = setTimeout(() => spoken.classList.remove("on"), 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest<HTMLElement>("button[data-copy]") : null;
  if (button) void copied(document.getElementById(button.dataset["copy"]!)?.textContent ?? "");
});

// Keys

const palette = new Palette(() => [...places(), ...actions()], runs);
const go = (href: string): (() => void) => () => location.assign(href);
const everywhere: Binding[] = [
  { key: "Ctrl+K", label: "Go to a page, a run or an action", run: () => palette.toggle() },
  { key: "/", label: "Go to the filter or search", run: focusFilter },
  { key: "g r", label: "Runs", run: go("/runs") },
  { key: "g c", label: "Compare", run: go("/compare") },
];
if (document.querySelector('.bar nav a[href="/new"]')) everywhere.push({ key: "g n", label: "New run", run: go("/new") });
everywhere.push(
  { key: "?", label: "This list", run: showSheet },
  { key: "Escape", label: "Close what is open", run: closeMenus },
);
registerKeys("Everywhere", everywhere);

function focusFilter(): void {
  const field = document.querySelector<HTMLInputElement>("main :is(input[type=search], #q, #tags)");
  field?.focus();
  field?.select();
}

function closeMenus(): void {
  for (const menu of document.querySelectorAll<HTMLDetailsElement>("details:is(.picker, .menu)[open]")) {
    const inside = menu.contains(document.activeElement);
    menu.open = false;
    if (inside) menu.querySelector("summary")?.focus();
  }
}

document.querySelector(".shell .find")?.addEventListener("click", () => palette.toggle());
document.querySelector(".shell .sheet")?.addEventListener("click", showSheet);
followTheme(document.querySelectorAll<HTMLInputElement>(".theme input"));

// On a narrow page the strip of sections or views may be longer than the window.
for (const here of document.querySelectorAll<HTMLElement>(".sections [aria-current], .tabs [aria-current]")) {
  const strip = here.closest<HTMLElement>(".sections ul, .tabs")!;
  const [at, whole] = [here.getBoundingClientRect(), strip.getBoundingClientRect()];
  strip.scrollLeft += at.left + at.width / 2 - whole.left - whole.width / 2;
}
