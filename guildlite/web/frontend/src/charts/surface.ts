/** Something to draw on: a canvas, or an SVG file with the same strokes. */
export interface Pen {
  moveTo(x: number, y: number): void;
  lineTo(x: number, y: number): void;
}

export interface TextStyle {
  colour: string;
  align?: "left" | "center" | "right";
  bold?: boolean;
  /** Quarter turns to the left. */
  turned?: boolean;
}

export interface Surface {
  stroke(colour: string, width: number, alpha: number, draw: (pen: Pen) => void): void;
  rect(x: number, y: number, width: number, height: number, fill: string, alpha: number, border?: string): void;
  /** Small discs, or rings for what is not chosen. */
  dots(colour: string, radius: number, alpha: number, at: readonly (readonly [number, number])[], hollow?: boolean): void;
  text(x: number, y: number, words: string, style: TextStyle): void;
}

export const FONT_SIZE = 12;

export class CanvasSurface implements Surface {
  constructor(private readonly ctx: CanvasRenderingContext2D, private readonly font: string) {}

  stroke(colour: string, width: number, alpha: number, draw: (pen: Pen) => void): void {
    const { ctx } = this;
    ctx.globalAlpha = alpha;
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.beginPath();
    draw(ctx);
    ctx.stroke();
    ctx.globalAlpha = 1;
  }

  rect(x: number, y: number, width: number, height: number, fill: string, alpha: number, border?: string): void {
    const { ctx } = this;
    ctx.globalAlpha = alpha;
    ctx.fillStyle = fill;
    ctx.fillRect(x, y, width, height);
    ctx.globalAlpha = 1;
    if (!border) return;
    ctx.strokeStyle = border;
    ctx.lineWidth = 1;
    ctx.strokeRect(x, y, width, height);
  }

  dots(colour: string, radius: number, alpha: number, at: readonly (readonly [number, number])[], hollow = false): void {
    const { ctx } = this;
    ctx.globalAlpha = alpha;
    ctx.fillStyle = ctx.strokeStyle = colour;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const [x, y] of at) {
      ctx.moveTo(x + radius, y);
      ctx.arc(x, y, radius, 0, 2 * Math.PI);
    }
    if (hollow) ctx.stroke();
    else ctx.fill();
    ctx.globalAlpha = 1;
  }

  text(x: number, y: number, words: string, style: TextStyle): void {
    const { ctx } = this;
    ctx.save();
    ctx.translate(x, y);
    if (style.turned) ctx.rotate(-Math.PI / 2);
    ctx.font = `${style.bold ? "600 " : ""}${FONT_SIZE}px ${this.font}`;
    ctx.textAlign = style.align ?? "left";
    ctx.textBaseline = "middle";
    ctx.fillStyle = style.colour;
    ctx.fillText(words, 0, 0);
    ctx.restore();
  }
}

export class SvgSurface implements Surface {
  private readonly parts: string[] = [];

  constructor(private readonly width: number, private readonly height: number, private readonly font: string, paper: string) {
    this.rect(0, 0, width, height, paper, 1);
  }

  stroke(colour: string, width: number, alpha: number, draw: (pen: Pen) => void): void {
    const path: string[] = [];
    draw({
      moveTo: (x, y) => void path.push(`M${short(x)} ${short(y)}`),
      lineTo: (x, y) => void path.push(`L${short(x)} ${short(y)}`),
    });
    if (path.length) this.parts.push(`<path d="${path.join("")}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-opacity="${alpha}"/>`);
  }

  rect(x: number, y: number, width: number, height: number, fill: string, alpha: number, border?: string): void {
    const edge = border ? ` stroke="${border}"` : "";
    this.parts.push(`<rect x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}" fill="${fill}" fill-opacity="${alpha}"${edge}/>`);
  }

  dots(colour: string, radius: number, alpha: number, at: readonly (readonly [number, number])[], hollow = false): void {
    const look = hollow ? `fill="none" stroke="${colour}" stroke-opacity="${alpha}"` : `fill="${colour}" fill-opacity="${alpha}"`;
    for (const [x, y] of at) this.parts.push(`<circle cx="${short(x)}" cy="${short(y)}" r="${radius}" ${look}/>`);
  }

  text(x: number, y: number, words: string, style: TextStyle): void {
    const anchor = { left: "start", center: "middle", right: "end" }[style.align ?? "left"];
    const turn = style.turned ? ` transform="rotate(-90 ${short(x)} ${short(y)})"` : "";
    this.parts.push(
      `<text x="${short(x)}" y="${short(y)}" dominant-baseline="central" text-anchor="${anchor}" fill="${style.colour}"` +
        `${style.bold ? ' font-weight="600"' : ""}${turn}>${escaped(words)}</text>`,
    );
  }

  toString(): string {
    const { width, height } = this;
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
      `font-family="${escaped(this.font)}" font-size="${FONT_SIZE}">${this.parts.join("")}</svg>\n`
    );
  }
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (each) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[each]!);
}

/** A colour of the page's styles, as it is in this theme. */
export function themed(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
