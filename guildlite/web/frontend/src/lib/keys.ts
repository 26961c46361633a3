/** Keys of a page: letters that do something while nobody types. */
export interface Binding {
  /** As `KeyboardEvent.key` says it, so that nothing depends on a layout. */
  key: string;
  label: string;
  run: (event: KeyboardEvent) => void;
}

const bindings = new Map<string, Binding>();

/** Make keys do something on this page; `section` is the heading they are listed under. */
export function registerKeys(section: string, added: Binding[]): void {
  void section;
  if (!bindings.size) document.addEventListener("keydown", press);
  for (const each of added) bindings.set(each.key, each);
}

function press(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const found = bindings.get(event.key);
  if (!found) return;
  event.preventDefault();
  found.run(event);
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button", "submit", "range"].includes(target.type);
  return target.isContentEditable || target.matches("textarea, select");
}
