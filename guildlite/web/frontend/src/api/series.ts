/** Series from the server: whole when short, else thinned; afterwards only what is new. */

/** As `/api/v1/series` answers; see guildlite/web/seriesdata.py for what each means. */
export interface SeriesAnswer {
  run: string;
  tag: string;
  /** Whether this replaces what is known; else it goes on from `after`. */
  anew: boolean;
  cursor: number;
  n: number;
  x: number[];
  y: number[];
  time: (number | null)[];
  smooth: { x: number[]; y: number[]; time: (number | null)[] } | null;
  non_finite: [number, string, number | null][];
  sampled: boolean;
  start: number | null;
}

export interface Answer {
  series: SeriesAnswer[];
  live: boolean;
}

export interface Wanted {
  runs: readonly string[];
  tags: string[];
  /** For each run and tag, run by run, how many points are known; -1 asks for the series anew. */
  after: number[];
  px: number;
  smooth: number;
  /** Stretch of steps or ms since the epoch, by `axis`. */
  from?: number;
  to?: number;
  axis: "step" | "time";
}

/** The server cannot be asked just now; what is shown stays. */
export class Unreachable extends Error {}

/** The server says no, in a sentence for people. */
export class Refused extends Error {}

export async function fetchSeries(wanted: Wanted, signal?: AbortSignal): Promise<Answer> {
  const query = new URLSearchParams({ run: wanted.runs.join(","), px: String(wanted.px) });
  for (const tag of wanted.tags) query.append("tag", tag);
  if (wanted.after.some((each) => each >= 0)) query.set("after", wanted.after.join(","));
  if (wanted.smooth) query.set("smooth", String(wanted.smooth));
  if (wanted.from !== undefined && wanted.to !== undefined) {
    query.set("from", String(wanted.from));
    query.set("to", String(wanted.to));
    query.set("axis", wanted.axis);
  }
  return (await getJson(`/api/v1/series?${query}`, signal)) as Answer;
}

async function getJson(url: string, signal?: AbortSignal): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { accept: "application/json" }, signal: signal ?? null });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable("the viewer does not answer");
  }
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body;
  const said = (body as { error?: unknown } | null)?.error;
  throw new Refused(typeof said === "string" ? said : `the viewer answered ${response.status}`);
}
