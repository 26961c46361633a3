/** A card's charts as a file: SVG made from the lines themselves, PNG from the canvases. */
import { FEW_POINTS, bandOf, marksOf, seamsOf, strokesOf, type Frame, type Spot } from "./draw.ts";
import type { LineChart } from "./linechart.ts";
import { colour, colourOf, dashOf } from "./palette.ts";
import type { Line } from "./series.ts";

export interface Entry {
  name: string;
  value: string;
  slot: number;
}

/** What a picture says around its charts. */
export interface Words {
  title: string;
  legend: readonly Entry[];
  xName: string;
  yName: string;
}

const WIDTH = 640;
const HEIGHT = 320;
const LEFT = 70;
const RIGHT = 16;
const ROW = 18;

/** One SVG document with title, legend, axes and lines; texts as text, colours of the page now. */
export function svgOf(charts: readonly LineChart[], words: Words): string {
  const head = 30 + ROW * words.legend.length;
  const height = head + (HEIGHT + 12) * charts.length;
  const text = colour("--text");
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="${escape(colour("--sans"))}" font-size="12">`,
    `<title>${escape(words.title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="${colour("--paper")}"/>`,
    `<text x="12" y="20" font-size="14" font-weight="600" fill="${text}">${escape(words.title)}</text>`,
    ...words.legend.map(
      ({ name, value, slot }, i) =>
        `<path d="M12 ${34 + ROW * i}h22" ${strokeOf(slot, 2)}/>` +
        `<text x="42" y="${38 + ROW * i}" fill="${text}">${escape(name)} <tspan font-weight="600">${escape(value)}</tspan></text>`,
    ),
    ...charts.map((chart, i) => chartOf(chart, words, head + (HEIGHT + 12) * i, i)),
    "</svg>",
  ];
  return parts.join("\n") + "\n";
}

function chartOf(chart: LineChart, words: Words, top: number, number: number): string {
  const plot = { left: LEFT, top: top + 8, width: WIDTH - LEFT - RIGHT, height: HEIGHT - 60 };
  const bottom = plot.top + plot.height;
  const frame = chart.frame(plot.width, plot.height, plot.left, plot.top);
  const muted = colour("--muted");
  const parts = [
    `<clipPath id="plot${number}"><rect x="${plot.left}" y="${plot.top}" width="${plot.width}" height="${plot.height}"/></clipPath>`,
  ];
  chart.ticks.y.at.forEach((tick, i) => {
    const label = chart.ticks.y.labels[i];
    const y = round(frame.y(tick));
    if (label == null || y < plot.top - 1 || y > bottom + 1) return;
    parts.push(`<path d="M${plot.left} ${y}h${plot.width}" stroke="${colour("--border")}"/>`);
    parts.push(`<text x="${plot.left - 6}" y="${y + 4}" text-anchor="end" fill="${muted}">${escape(label)}</text>`);
  });
  chart.ticks.x.at.forEach((tick, i) => {
    const label = chart.ticks.x.labels[i];
    const x = round(frame.x(tick));
    if (label == null || x < plot.left - 1 || x > plot.left + plot.width + 1) return;
    parts.push(`<path d="M${x} ${bottom}v4" stroke="${muted}"/>`);
    parts.push(`<text x="${x}" y="${bottom + 18}" text-anchor="middle" fill="${muted}">${escape(label)}</text>`);
  });
  parts.push(`<path d="M${plot.left} ${bottom}h${plot.width}" stroke="${muted}"/>`);
  const middle = plot.left + plot.width / 2;
  parts.push(`<text x="${middle}" y="${bottom + 38}" text-anchor="middle" fill="${muted}">${escape(words.xName)}</text>`);
  const centre = plot.top + plot.height / 2;
  parts.push(
    `<text x="14" y="${centre}" text-anchor="middle" transform="rotate(-90 14 ${centre})" fill="${muted}">${escape(words.yName)}</text>`,
  );
  parts.push(`<g clip-path="url(#plot${number})" fill="none" stroke-linejoin="round" stroke-linecap="round">`);
  for (const line of chart.shown) parts.push(lineOf(chart, line, frame, plot.top, bottom));
  parts.push("</g>");
  return parts.join("\n");
}

function lineOf(chart: LineChart, line: Line, frame: Frame, top: number, bottom: number): string {
  const ink = colourOf(line.slot);
  const parts = [`<title>${escape(line.name)}</title>`];
  const band = bandOf(line, frame);
  if (band.length) parts.push(`<path d="${path(band)}Z" fill="${ink}" fill-opacity="0.18" stroke="none"/>`);
  if (line.raw) {
    const raw = strokesOf(line.raw, line.rising, frame, chart.endOf(line.raw, line));
    parts.push(`<path d="${raw.map(({ spots }) => path(spots)).join("")}" stroke="${ink}" stroke-width="1.5" stroke-opacity="0.3"/>`);
  }
  const end = chart.endOf(line);
  const strokes = strokesOf(line, line.rising, frame, end);
  parts.push(
    `<path d="${strokes.map(({ spots }) => path(spots)).join("")}" ${strokeOf(line.slot, line.band ? 2.2 : 1.5)} stroke-opacity="${line.alpha}"/>`,
  );
  const dot = ([x, y]: Spot, hollow = false): string =>
    `<circle cx="${round(x)}" cy="${round(y)}" r="3" ${hollow ? `stroke="${ink}"` : `fill="${ink}"`}/>`;
  if (end <= FEW_POINTS) parts.push(...strokes.flatMap(({ spots }) => spots.map((spot) => dot(spot))));
  for (const [last, first] of seamsOf(line, frame, end)) parts.push(dot(last, true), dot(first));
  for (const { at, above } of marksOf(line, frame)) {
    parts.push(`<path d="M${round(at)} ${above ? top : bottom}l-4 ${above ? 8 : -8}h8z" fill="${ink}"/>`);
  }
  return `<g>${parts.join("")}</g>`;
}

function path(spots: readonly Spot[]): string {
  if (!spots.length) return "";
  const text = spots.map(([x, y]) => `${round(x)} ${round(y)}`);
  return `M${text[0]}${text.length > 1 ? `L${text.slice(1).join(" ")}` : "h0"}`;
}

function strokeOf(slot: number, width: number): string {
  const dash = dashOf(slot);
  return `stroke="${colourOf(slot)}" stroke-width="${width}"${dash.length ? ` stroke-dasharray="${dash.join(" ")}"` : ""}`;
}

function round(at: number): number {
  return Math.round(at * 10) / 10;
}

function escape(text: string): string {
  // What XML has no place for in any form would make the whole file unreadable.
  return text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd")
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** A picture of the canvases as they are, with title, legend and names of the axes. */
export function pngOf(charts: readonly LineChart[], words: Words): Promise<Blob | null> {
  const canvases = charts.flatMap((chart) => chart.canvas ?? []);
  const ratio = devicePixelRatio || 1;
  const row = ROW * ratio;
  const head = row * (words.legend.length + 1) + row / 2;
  const picture = document.createElement("canvas");
  const widest = Math.max(0, ...canvases.map((each) => each.width));
  picture.width = widest + row * 1.2;
  picture.height = head + canvases.reduce((sum, each) => sum + each.height + row * 0.3, 0);
  const pen = picture.getContext("2d")!;
  const write = (text: string, x: number, y: number, ink: string, font: string): void => {
    pen.font = `${font} ${colour("--sans")}`;
    pen.fillStyle = colour(ink);
    pen.fillText(text, x, y);
  };
  pen.fillStyle = colour("--paper");
  pen.fillRect(0, 0, picture.width, picture.height);
  pen.textBaseline = "middle";
  write(words.title, row / 2, row * 0.7, "--text", `600 ${14 * ratio}px`);
  words.legend.forEach(({ name, value, slot }, i) => {
    const y = row * (i + 1.7);
    pen.strokeStyle = colourOf(slot);
    pen.lineWidth = 2 * ratio;
    pen.setLineDash(dashOf(slot).map((each) => each * ratio));
    pen.beginPath();
    pen.moveTo(row / 2, y);
    pen.lineTo(row * 1.7, y);
    pen.stroke();
    write(`${name}  ${value}`, row * 2, y, "--text", `${12 * ratio}px`);
  });
  pen.setLineDash([]);
  pen.textAlign = "center";
  let top = head;
  for (const canvas of canvases) {
    pen.drawImage(canvas, row * 1.2, top);
    pen.save();
    pen.translate(row * 0.7, top + canvas.height / 2);
    pen.rotate(-Math.PI / 2);
    write(words.yName, 0, 0, "--muted", `${12 * ratio}px`);
    pen.restore();
    top += canvas.height + row * 0.3;
  }
  return new Promise((done) => picture.toBlob(done));
}

export function save(name: string, blob: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function fileName(title: string): string {
  return title.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^-+|-+$/g, "") || "chart";
}
