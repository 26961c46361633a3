/** Which runs are chosen, over all pages of the table, in the order of choosing. */
const MOST_ADDRESS = 3000;

export class Choice {
  private ids: Set<string>;
  /** Whether there are more than an address can hold. */
  private many = false;

  constructor(query: URLSearchParams) {
    this.ids = parse(query);
  }

  get size(): number {
    return this.ids.size;
  }

  list(): string[] {
    return [...this.ids];
  }

  has(id: string): boolean {
    return this.ids.has(id);
  }

  set(id: string, chosen: boolean): void {
    if (chosen) this.ids.add(id);
    else this.ids.delete(id);
  }

  clear(): void {
    this.ids.clear();
  }

  /** Take over what another address says, unless it could not say all. */
  read(query: URLSearchParams): void {
    if (!this.many) this.ids = parse(query);
  }

  /** Put the choice into an address, as far as it has room. */
  write(query: URLSearchParams): void {
    const word = this.list().join(",");
    this.many = word.length > MOST_ADDRESS;
    if (word && !this.many) query.set("sel", word);
    else query.delete("sel");
  }
}

function parse(query: URLSearchParams): Set<string> {
  return new Set((query.get("sel") ?? "").split(",").filter(Boolean));
}
