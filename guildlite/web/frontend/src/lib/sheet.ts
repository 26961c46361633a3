/** The sheet of keys: what `?` shows, made from what is bound on this page. */
import { keysOn, registeredKeys, switchKeys } from "./keys.ts";

let sheet: HTMLDialogElement | undefined;

export function showSheet(): void {
  if (sheet?.open) return;
  sheet ??= makeSheet();
  const title = element("h2", "Keys");
  title.id = "keys-title";
  // What every page has stands last; it is bound first.
  const [everywhere, ...own] = [...registeredKeys()];
  const parts = [...own, everywhere!].map(([name, bindings]) => {
    const list = element("dl");
    const shown = new Map(bindings.map((each) => [each.key, each.label]));
    for (const [key, label] of shown) {
      const row = element("div");
      const term = element("dt");
      term.append(...pressed(key));
      row.append(term, element("dd", label));
      list.append(row);
    }
    const part = element("section");
    part.append(element("h3", name), list);
    return part;
  });
  const columns = element("div");
  columns.className = "columns";
  columns.append(...parts);
  sheet.replaceChildren(title, closing(sheet), columns, switching());
  sheet.showModal();
}

function makeSheet(): HTMLDialogElement {
  const made = document.body.appendChild(document.createElement("dialog"));
  made.className = "overlay keys";
  made.setAttribute("aria-labelledby", "keys-title");
  made.addEventListener("keydown", (event) => {
    if (event.key === "Escape") made.close(); // by itself it would close a moment later
  });
  made.addEventListener("click", (event) => event.target === made && made.close());
  return made;
}

function closing(dialog: HTMLDialogElement): HTMLElement {
  const button = element("button", "Close");
  button.className = "close";
  button.addEventListener("click", () => dialog.close());
  return button;
}

function switching(): HTMLElement {
  const label = element("label");
  label.className = "switching";
  const box = element("input") as HTMLInputElement;
  box.type = "checkbox";
  box.checked = keysOn();
  box.addEventListener("change", () => switchKeys(box.checked));
  label.append(box, " Keys without Ctrl are on");
  return label;
}

const WORDS: Record<string, string> = {
  ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", " ": "Space",
};

/** Return a key as its caps: "g r" is two, one after the other, "Ctrl+K" two at once. */
function pressed(key: string): (Node | string)[] {
  const caps = key === " " ? [key] : key.split(/[ +](?!$)/);
  const between = key.includes("+") && key.length > 1 ? "+" : " then ";
  return caps.flatMap((cap, n) => [...(n ? [between] : []), element("kbd", WORDS[cap] ?? cap)]);
}

function element(name: string, text = ""): HTMLElement {
  const made = document.createElement(name);
  if (name === "button") made.setAttribute("type", "button");
  made.textContent = text;
  return made;
}
