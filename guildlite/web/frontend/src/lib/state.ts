/** What the metrics page shows, all of it in the address: a copied link shows the same. */

/** What a card may have otherwise than the page: `y=log` is for all, `y=loss:log` for the card "loss". */
export interface Look {
  yLog: boolean;
  /** 0 up to 0.999. */
  smooth: number;
  /** Whether the axes reach to the most extreme values. */
  outliers: boolean;
  layout: Layout;
  /** Shown stretch of the y axis; null is what the values need. */
  yZoom: [number, number] | null;
}

export type Layout = "overlap" | "stacked" | "side";

export interface State extends Look {
  /** `step`, `relstep` (since the first), `relative` (seconds), `wall`, or `metric:KEY`. */
  x: string;
  xLog: boolean;
  /** Whether what a resumed training wrote again is left out, so that each line is one. */
  joined: boolean;
  /** Shown stretch of the x axis, in its unit. */
  zoom: [number, number] | null;
  /** Seconds between looks at a running run; 0 is none. */
  pace: number;
  pins: string[];
  /** Lines that are not shown: a run where a card has several, else a series. */
  hidden: string[];
  /** Series that are drawn as written, whatever the smoothing. */
  raw: string[];
  /** Cards that differ, by title. */
  own: Record<string, Partial<Look>>;
  replay: Replay | null;
  /** A moment that is marked on every chart, ms since the epoch. */
  at: number | null;
  /** What runs are put together by, as in `flag.lr`; "" is not at all. */
  group: string;
  band: Band;
  /** Whether the runs of a group are drawn too. */
  members: boolean;
}

export interface Replay {
  /** Seconds the whole takes; 0 is as long as it took. */
  pace: number;
  /** How far it is, 0 to 1. */
  share: number;
}

export const PACES = [0, 5, 1, 0.5] as const;
export const REPLAY_PACES = [10, 30, 60, 300, 0] as const;
export const LAYOUTS = ["overlap", "stacked", "side"] as const;
export const BANDS = ["std", "sem", "minmax"] as const;
export type Band = (typeof BANDS)[number];
export const MAX_SMOOTH = 0.999;
const METRIC = "metric:";

export const DEFAULTS: State = {
  x: "step",
  xLog: false,
  joined: false,
  yLog: false,
  smooth: 0,
  outliers: true,
  layout: "overlap",
  yZoom: null,
  zoom: null,
  pace: 1,
  pins: [],
  hidden: [],
  raw: [],
  own: {},
  replay: null,
  at: null,
  group: "",
  band: "std",
  members: false,
};

/** What a card looks like: its own settings before those of the page. */
export function lookOf(state: State, title: string): Look {
  const { yLog, smooth, outliers, layout, yZoom } = state;
  return { yLog, smooth, outliers, layout, yZoom, ...state.own[title] };
}

/** Key of the metric on the x axis, "" where it is steps or time. */
export function metricOf(x: string): string {
  return x.startsWith(METRIC) ? x.slice(METRIC.length) : "";
}

/** Words of one setting, `VALUE` or `TITLE:VALUE`; a title may have colons itself. */
const LOOKS: {
  word: string;
  name: keyof Look;
  /** Colons inside the value. */
  colons: number;
  read(text: string): Look[keyof Look] | undefined;
  write(value: never): string;
}[] = [
  {
    word: "y", name: "yLog", colons: 0,
    read: (text) => (text === "log" ? true : text === "linear" ? false : undefined),
    write: (value: boolean) => (value ? "log" : "linear"),
  },
  {
    word: "smooth", name: "smooth", colons: 0,
    read: (text) => (Number(text) >= 0 && text !== "" ? Math.min(Number(text), MAX_SMOOTH) : undefined),
    write: (value: number) => String(Number(value.toFixed(3))),
  },
  {
    word: "outliers", name: "outliers", colons: 0,
    read: (text) => (text === "0" ? false : text === "1" ? true : undefined),
    write: (value: boolean) => (value ? "1" : "0"),
  },
  {
    word: "layout", name: "layout", colons: 0,
    read: (text) => LAYOUTS.find((each) => each === text),
    write: (value: Layout) => value,
  },
  {
    word: "yzoom", name: "yZoom", colons: 1,
    read: (text) => parseStretch(text) ?? undefined,
    write: (value: [number, number] | null) => (value ? formatStretch(value) : ""),
  },
];

function parseStretch(text: string): [number, number] | null {
  const parts = text.split(":");
  const [from, to] = parts.map(Number);
  const good = parts.length === 2 && parts.every(Boolean) && Number.isFinite(from) && Number.isFinite(to) && from! < to!;
  return good ? [from!, to!] : null;
}

function formatStretch(stretch: [number, number]): string {
  return stretch.map((each) => Number(each.toPrecision(12))).join(":");
}

/** Read the state from an address's query; what makes no sense is as if it were not there. */
export function parseState(query: URLSearchParams): State {
  const state: State = { ...DEFAULTS, own: {} };
  for (const { word, name, colons, read } of LOOKS) {
    for (const text of query.getAll(word)) {
      const parts = text.split(":");
      const value = read(parts.slice(-1 - colons).join(":"));
      const title = parts.slice(0, -1 - colons).join(":");
      if (value === undefined) continue;
      if (title) state.own[title] = { ...state.own[title], [name]: value };
      else if (parts.length === 1 + colons) Object.assign(state, { [name]: value });
    }
  }
  const x = query.get("x") ?? "";
  const pace = query.has("pace") ? Number(query.get("pace")) : query.get("live") === "0" ? 0 : DEFAULTS.pace;
  const at = Number(query.get("at"));
  return {
    ...state,
    x: ["relstep", "relative", "wall"].includes(x) || metricOf(x) ? x : "step",
    xLog: query.get("xlog") === "1",
    joined: query.get("segments") === "joined",
    zoom: parseStretch(query.get("zoom") ?? ""),
    pace: PACES.find((each) => each === pace) ?? DEFAULTS.pace,
    pins: query.getAll("pin"),
    hidden: query.getAll("hide"),
    raw: query.getAll("raw"),
    replay: parseReplay(query.get("replay")),
    at: Number.isFinite(at) && at > 0 ? at : null,
    group: query.get("group") ?? "",
    band: BANDS.find((each) => each === query.get("band")) ?? "std",
    members: query.get("members") === "1",
  };
}

/** `30:0.25` is a quarter of a replay of thirty seconds. */
function parseReplay(text: string | null): Replay | null {
  if (text === null) return null;
  const [pace, share] = text.split(":").map(Number);
  const found = REPLAY_PACES.find((each) => each === pace);
  if (found === undefined) return null;
  return { pace: found, share: share !== undefined && share >= 0 && share <= 1 ? share : 0 };
}

/** Put the state into a query that may hold other words; defaults are left out. */
export function writeState(state: State, query: URLSearchParams): void {
  const put = (name: string, values: readonly string[]): void => {
    query.delete(name);
    for (const value of values) query.append(name, value);
  };
  const unless = (value: string, usual: string): string[] => (value === usual ? [] : [value]);
  for (const { word, name, write } of LOOKS) {
    const text = (value: Look[keyof Look]): string => write(value as never);
    const own = Object.entries(state.own).flatMap(([title, look]) => {
      const value = look[name];
      return value === undefined || value === state[name] || !text(value) ? [] : [`${title}:${text(value)}`];
    });
    put(word, [...unless(text(state[name]), text(DEFAULTS[name])), ...own]);
  }
  put("x", unless(state.x, "step"));
  put("xlog", state.xLog ? ["1"] : []);
  put("segments", state.joined ? ["joined"] : []);
  put("zoom", state.zoom ? [formatStretch(state.zoom)] : []);
  put("pace", unless(String(state.pace), String(DEFAULTS.pace)));
  put("pin", state.pins);
  put("hide", state.hidden);
  put("raw", state.raw);
  put("replay", state.replay ? [`${state.replay.pace}:${Number(state.replay.share.toFixed(4))}`] : []);
  put("at", state.at ? [String(state.at)] : []);
  put("group", unless(state.group, ""));
  put("band", unless(state.band, "std"));
  put("members", state.members ? ["1"] : []);
  query.delete("live");
}
