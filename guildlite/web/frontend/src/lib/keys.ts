/** Keys of the pages: what each does, for those who press them and for the sheet that lists them. */
interface Binding {
  key: string;
  label: string;
  run: (event: KeyboardEvent) => void;
}

/** Let keys do something while nobody types. Keys are told by what they write, not by their place. */
export function registerKeys(section: string, bindings: Binding[]): void {
  void section;
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea")) return;
    bindings.find((each) => each.key === event.key)?.run(event);
  });
}
