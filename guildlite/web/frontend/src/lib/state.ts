/** What the metrics page shows, all of it in the address: a copied link shows the same. */
export interface State {
  x: "step" | "relative" | "wall";
  xLog: boolean;
  yLog: boolean;
  /** 0 up to 0.999. */
  smooth: number;
  /** Whether the axes leave out the most extreme values. */
  outliers: boolean;
  /** Shown stretch of the x axis, in its unit. */
  zoom: [number, number] | null;
  /** Seconds between looks at a running run; 0 is none. */
  pace: number;
  pins: string[];
}

export const PACES = [0, 5, 1, 0.5] as const;
export const MAX_SMOOTH = 0.999;

export const DEFAULTS: State = {
  x: "step",
  xLog: false,
  yLog: false,
  smooth: 0,
  outliers: true,
  zoom: null,
  pace: 1,
  pins: [],
};

/** Read the state from an address's query; what makes no sense is as if it were not there. */
export function parseState(query: URLSearchParams): State {
  const x = query.get("x");
  const smooth = Number(query.get("smooth") ?? 0);
  const zoom = (query.get("zoom") ?? "").split(":").map(Number);
  const pace = query.has("pace") ? Number(query.get("pace")) : query.get("live") === "0" ? 0 : 1;
  const [from, to] = zoom;
  return {
    x: x === "relative" || x === "wall" ? x : "step",
    xLog: query.get("xlog") === "1",
    yLog: query.get("y") === "log",
    smooth: smooth >= 0 ? Math.min(smooth, MAX_SMOOTH) : 0,
    outliers: query.get("outliers") !== "0",
    zoom:
      zoom.length === 2 && Number.isFinite(from) && Number.isFinite(to) && from! < to!
        ? [from!, to!]
        : null,
    pace: (PACES as readonly number[]).includes(pace) ? pace : DEFAULTS.pace,
    pins: query.getAll("pin"),
  };
}

/** Put the state into a query that may hold other words; defaults are left out. */
export function writeState(state: State, query: URLSearchParams): void {
  const put = (name: string, value: string, fallback: string): void => {
    if (value === fallback) query.delete(name);
    else query.set(name, value);
  };
  put("x", state.x, "step");
  put("xlog", state.xLog ? "1" : "", "");
  put("y", state.yLog ? "log" : "", "");
  put("smooth", String(Number(state.smooth.toFixed(3))), "0");
  put("outliers", state.outliers ? "" : "0", "");
  put("zoom", state.zoom ? state.zoom.map((each) => Number(each.toPrecision(12))).join(":") : "", "");
  put("pace", String(state.pace), String(DEFAULTS.pace));
  query.delete("live");
  query.delete("pin");
  for (const pin of state.pins) query.append("pin", pin);
}
