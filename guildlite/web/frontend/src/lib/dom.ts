/** Elements with attributes and children; text goes in as text. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | boolean | ((event: Event) => void)> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A list to choose from; entries are [value, text], with a title between groups where it changes. */
export function choice(
  label: string,
  entries: readonly (readonly [string, string, string?])[],
  value: string,
  chosen: (value: string) => void,
): HTMLLabelElement {
  const select = make("select", { onchange: (event) => chosen((event.target as HTMLSelectElement).value) });
  const groups = new Map<string, HTMLElement>();
  for (const [word, text, group] of entries) {
    const option = make("option", { value: word }, text);
    if (!group) select.append(option);
    else {
      if (!groups.has(group)) {
        groups.set(group, make("optgroup", { label: group }));
        select.append(groups.get(group)!);
      }
      groups.get(group)!.append(option);
    }
  }
  select.value = value;
  return make("label", {}, `${label} `, select);
}

export function save(name: string, blob: Blob): void {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
