/** Columns of runs from the server, asked for again only when they changed. */
import type { Column } from "../charts/axis.ts";

/** As `/api/v1/compare/columns` answers; see guildlite/web/compared/api.py. */
export interface Compared {
  matching: number;
  of: number;
  live: boolean;
  runs: { id: string; label: string; status: string }[];
  columns: Column[];
  /** Every column that can be asked for. */
  names: { name: string; head: string; group: string }[];
}

export class ComparedSource {
  private version = "";
  private asked = "";

  /** `which` are the words of the address that say which runs. */
  constructor(private readonly which: URLSearchParams) {}

  /** Return the columns of these names, or of what differs; null when nothing changed. */
  async read(names: readonly string[]): Promise<Compared | null> {
    const query = new URLSearchParams(this.which);
    for (const name of names) query.append("column", name);
    const asked = query.toString();
    const headers: Record<string, string> = { accept: "application/json" };
    if (asked === this.asked && this.version) headers["if-none-match"] = this.version;
    const response = await fetch(`/api/v1/compare/columns?${asked}`, { headers, cache: "no-store" });
    if (response.status === 304) return null;
    const body = (await response.json()) as Compared & { error?: string };
    if (!response.ok) throw new Error(body.error ?? `the viewer answered ${response.status}`);
    this.version = response.headers.get("etag") ?? "";
    this.asked = asked;
    return body;
  }
}

export function runUrl(id: string): string {
  return `/runs/${encodeURIComponent(id)}`;
}
