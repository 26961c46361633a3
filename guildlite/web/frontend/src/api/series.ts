/** Series from the server: whole when short, else thinned; afterwards only what is new. */

/** As `/api/v1/series` answers; see guildlite/web/seriesdata.py for what each means. */
export interface SeriesAnswer extends Curve {
  run: string;
  tag: string;
  /** Whether this replaces what is known; else it goes on from `after`. */
  anew: boolean;
  cursor: number;
  n: number;
  smooth: Curve | null;
  non_finite: [number, string, number | null][];
  sampled: boolean;
  start: number | null;
  overwritten: number;
  unmatched: number;
}

export interface Curve {
  x: ArrayLike<number>;
  y: ArrayLike<number | null>;
  time: ArrayLike<number | null>;
  at: number[] | null;
}

export interface Answer {
  series: SeriesAnswer[];
  live: boolean;
  /** For each run a word that changes when a series comes, or becomes a curve. */
  keys: Record<string, string>;
}

export interface Wanted {
  runs: readonly string[];
  tags: string[];
  /** For each run and tag, run by run, how many points are known; -1 asks for the series anew. */
  after: number[];
  px: number;
  smooth: number;
  joined: boolean;
  /** `step`, `time` or `metric:KEY`. */
  x: string;
  /** Stretch of the axis: steps, ms since the epoch, or values of the metric. */
  zoom: [number, number] | null;
  /** Up to so many points a series comes whole, 0 for the usual. */
  whole: number;
}

/** A group of runs; see guildlite/web/groups.py. */
export interface GroupCurve {
  value: string | null;
  runs: string[];
  x: number[];
  mean: number[];
  low: number[];
  high: number[];
  n: number[];
  aligned: boolean;
}

export interface GroupsWanted {
  runs: readonly string[];
  tags: string[];
  by: string;
  band: string;
  x: string;
  px: number;
  smooth: number;
  zoom: [number, number] | null;
}

/** The server cannot be asked just now; what is shown stays. */
export class Unreachable extends Error {}

/** The server says no, in a sentence for people. */
export class Refused extends Error {}

const BINARY = "application/octet-stream";

export async function fetchSeries(wanted: Wanted): Promise<Answer> {
  const query = queryOf(wanted);
  if (wanted.after.some((each) => each >= 0)) query.set("after", wanted.after.join(","));
  if (wanted.smooth) query.set("smooth", String(wanted.smooth));
  if (wanted.joined) query.set("segments", "joined");
  if (wanted.x !== "step") query.set("x", wanted.x);
  if (wanted.whole) query.set("whole", String(wanted.whole));
  const response = await get(`/api/v1/series?${query}`, wanted.whole ? BINARY : "application/json");
  if (response.headers.get("content-type") === BINARY) return unpack(await response.arrayBuffer());
  return (await response.json()) as Answer;
}

export async function fetchGroups(
  wanted: GroupsWanted,
): Promise<{ tags: { tag: string; groups: GroupCurve[] }[]; live: boolean }> {
  const query = queryOf(wanted);
  query.set("by", wanted.by);
  query.set("band", wanted.band);
  query.set("x", wanted.x);
  if (wanted.smooth) query.set("smooth", String(wanted.smooth));
  const response = await get(`/api/v1/groups?${query}`, "application/json");
  return (await response.json()) as { tags: { tag: string; groups: GroupCurve[] }[]; live: boolean };
}

/** Ask only whether more may come, and for the words that change with what series there are. */
export async function fetchKeys(runs: readonly string[]): Promise<Omit<Answer, "series">> {
  const response = await get(`/api/v1/series?${new URLSearchParams({ run: runs.join(",") })}`, "application/json");
  return (await response.json()) as Answer;
}

/** The page as it would be if it were loaded now. */
export async function fetchPage(): Promise<Document> {
  const response = await get(location.href, "text/html");
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

/** Address of every point of these series, as CSV. */
export function csvUrl(runs: readonly string[], tags: readonly string[], more: Record<string, string> = {}): string {
  const query = new URLSearchParams({ run: runs.join(","), ...more });
  for (const tag of tags) query.append("tag", tag);
  return `/api/v1/series.csv?${query}`;
}

function queryOf(wanted: { runs: readonly string[]; tags: string[]; px: number; zoom: [number, number] | null }): URLSearchParams {
  const query = new URLSearchParams({ run: wanted.runs.join(","), px: String(wanted.px) });
  for (const tag of wanted.tags) query.append("tag", tag);
  if (wanted.zoom) {
    query.set("from", String(wanted.zoom[0]));
    query.set("to", String(wanted.zoom[1]));
  }
  return query;
}

/** Columns of numbers behind a JSON header: see `packed` in guildlite/web/seriesapi.py. */
export function unpack(buffer: ArrayBuffer): Answer {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as {
    series: (Omit<SeriesAnswer, "x" | "y" | "time"> & { x: number; y: number; time: number })[];
    live: boolean;
    keys: Record<string, string>;
  };
  let at = 8 + length;
  const column = (count: number): Float64Array => {
    const found = new Float64Array(buffer, at, count);
    at += 8 * count;
    return found;
  };
  return {
    ...answer,
    series: answer.series.map((each) => ({ ...each, x: column(each.x), y: column(each.y), time: column(each.time) })),
  };
}

async function get(url: string, accept: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { accept } });
  } catch {
    throw new Unreachable("the viewer does not answer");
  }
  if (response.ok) return response;
  const said = ((await response.json().catch(() => null)) as { error?: unknown } | null)?.error;
  throw new Refused(typeof said === "string" ? said : `the viewer answered ${response.status}`);
}
