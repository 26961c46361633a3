/** Keys of a page: one listener, off while something is typed. */
export interface KeyBinding {
  /** As `KeyboardEvent.key` has it: letters, not places on the keyboard. */
  key: string;
  label: string;
  run: (event: KeyboardEvent) => void;
}

export function registerKeys(section: string, bindings: KeyBinding[]): void {
  void section;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (event.key !== "Escape" && target.closest("input:not([type=checkbox], [type=range]), select, textarea")) return;
    bindings.find((each) => each.key === event.key)?.run(event);
  });
}
