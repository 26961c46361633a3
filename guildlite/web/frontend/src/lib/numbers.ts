/** Numbers for people, in the same words as the server's pages (held by tests/test_web_frontend.py). */
const MINUS = "\u2212";
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Kinds of unit: "" is a plain number, "ratio" shown as a percentage, "bytes", "bytes/s", "W"... */
export type Unit = string;

/** Divide by `factor` and append `suffix`, so that values up to `top` are easily read. */
export function scaleOf(top: number, unit: Unit): { factor: number; suffix: string } {
  if (unit === "ratio") return { factor: 0.01, suffix: "%" };
  if (unit === "bytes" || unit === "bytes/s") {
    let power = 0;
    while (top >= 1024 ** (power + 1) && power < BINARY.length - 1) power++;
    return { factor: 1024 ** power, suffix: ` ${BINARY[power]}${unit === "bytes/s" ? "/s" : ""}` };
  }
  return { factor: 1, suffix: unit ? ` ${unit}` : "" };
}

export function formatNumber(value: number, unit: Unit = ""): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : `${MINUS}\u221e`;
  if (unit) {
    const { factor, suffix } = scaleOf(Math.abs(value), unit);
    const scaled = value / factor;
    return signed(Math.abs(scaled) < 1000 ? significant(scaled, 3) : scaled.toFixed(0)) + suffix;
  }
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return signed(value.toLocaleString("en-US"));
  if (size >= 1e3 && size < 1e9) return signed(value.toLocaleString("en-US", { maximumFractionDigits: 0 }));
  return signed(significant(value, 4));
}

/** As many significant digits, without zeros at the end; an exponent beyond 1e-5 and the digits. */
function significant(value: number, digits: number): string {
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e") as [string, string];
  const power = Number(exponent);
  const trim = (text: string): string => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (power >= -4 && power < digits) return trim(value.toFixed(digits - 1 - power));
  const size = String(Math.abs(power)).padStart(2, "0");
  return `${trim(mantissa)}e${power < 0 ? "-" : "+"}${size}`;
}

function signed(text: string): string {
  return text.includes("e-") ? text : text.replaceAll("-", MINUS);
}

/** Labels for ticks, alike in unit and with as many decimals as tell them apart. */
export function tickLabels(ticks: readonly number[], unit: Unit = ""): string[] {
  const top = Math.max(...ticks.map(Math.abs), 0);
  const { factor, suffix } = scaleOf(top, unit);
  const gaps = ticks.slice(1).map((tick, i) => Math.abs(tick - ticks[i]!) / factor);
  const gap = Math.min(...gaps);
  let decimals = 0;
  // A gap of 2.5 has a decimal more than its size says.
  while (Number.isFinite(gap) && decimals < 12 && Math.abs(Number(gap.toFixed(decimals)) / gap - 1) > 1e-3) {
    decimals++;
  }
  if (!unit && (decimals > 6 || top >= 1e7)) {
    return ticks.map((tick) => signed(significant(tick, 4)));
  }
  return ticks.map((tick) => {
    const scaled = tick / factor;
    const text = scaled.toLocaleString("en-US", {
      minimumFractionDigits: 0,
      maximumFractionDigits: decimals,
    });
    return scaled === 0 ? "0" : signed(text) + suffix;
  });
}

/** A span of seconds on an axis: `40 s`, `2:30`, `1 h 05`, `3 d`. */
export function formatSeconds(seconds: number): string {
  const sign = seconds < 0 ? MINUS : "";
  const size = Math.abs(seconds);
  if (size === 0) return "0";
  if (size < 60) return `${sign}${significant(size, 3)} s`;
  const whole = Math.round(size);
  if (whole % 86400 === 0) return `${sign}${whole / 86400} d`;
  const two = (part: number): string => String(part).padStart(2, "0");
  if (whole >= 3600) {
    const minutes = Math.floor((whole % 3600) / 60);
    return `${sign}${Math.floor(whole / 3600)} h${minutes ? ` ${two(minutes)}` : ""}`;
  }
  const rest = whole % 60;
  return rest ? `${sign}${Math.floor(whole / 60)}:${two(rest)}` : `${sign}${whole / 60} min`;
}

/** A moment by the reader's own clock. */
export function formatMoment(ms: number): string {
  const date = new Date(ms);
  const two = (part: number): string => String(part).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
