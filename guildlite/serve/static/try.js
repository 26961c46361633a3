// The tools of the page. Without this file the page is still its own documentation.
"use strict";

const MAX_BARS = 50;
const MAX_ROWS = 200;

const $ = (id) => document.getElementById(id);
const settings = JSON.parse($("settings").textContent);
const form = $("try");
const request = $("request");
const answer = $("answer");
const bars = $("bars");
const output = $("output");

function say(text, bad = false) {
  $("status").className = bad ? "bad" : "";
  $("status").textContent = text;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

// Answers

function softmax(values) {
  const most = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

// Whether the values are the probabilities of classes; a sum of float32 is only nearly 1.
function areShares(values) {
  const sum = values.reduce((total, value) => total + value, 0);
  return values.length > 1 && Math.abs(sum - 1) < 1e-3 && values.every((value) => value >= 0);
}

function shown(value, share) {
  return share ? `${(100 * value).toFixed(1)} %` : value.toPrecision(5);
}

// The first output of a classifier; softmax only where the signature file says logits.
function asClasses(name, values) {
  const first = name === settings.output;
  return {
    values: first && settings.logits ? softmax(values) : values,
    labels: first && settings.classes.length === values.length ? settings.classes : null,
  };
}

// One row per value of a short list of numbers, the largest marked: classes, most often.
function showBars(name, given) {
  const { values, labels } = asClasses(name, given);
  bars.append(element("h3", name));
  const shares = areShares(values);
  const low = Math.min(0, ...values);
  const high = Math.max(...values);
  values.forEach((value, index) => {
    const row = element("div", "", value === high ? "bar top" : "bar");
    const bar = document.createElement("progress");
    bar.max = shares || high <= low ? 1 : high - low;
    bar.value = value - low;
    const label = labels ? labels[index] : String(index);
    bar.setAttribute("aria-label", `${name} ${label}`);
    row.append(element("span", label), bar, element("span", shown(value, shares)));
    bars.append(row);
  });
}

function isVector(value) {
  return Array.isArray(value) && value.length > 1 && value.length <= MAX_BARS &&
    value.every((item) => typeof item === "number");
}

function short(name, value) {
  if (!isVector(value)) return JSON.stringify(value).slice(0, 60);
  const { values, labels } = asClasses(name, value);
  const top = values.indexOf(Math.max(...values));
  return `${labels ? labels[top] : top}  ${shown(values[top], areShares(values))}`;
}

// Several instances: a line each, with the largest value of each output.
function showRows(answers) {
  const table = document.createElement("table");
  const names = Object.keys(answers[0]);
  const head = table.createTHead().insertRow();
  for (const name of ["", ...names]) head.append(element("th", name));
  answers.slice(0, MAX_ROWS).forEach((one, index) => {
    const row = table.insertRow();
    row.append(element("th", String(index)));
    for (const name of names) row.append(element("td", short(name, one[name])));
  });
  bars.append(table);
}

function show(body) {
  bars.replaceChildren();
  if (Array.isArray(body) && body.length === 1) {
    for (const [name, value] of Object.entries(body[0])) {
      if (isVector(value)) showBars(name, value);
    }
  } else if (Array.isArray(body) && body.length > 1) {
    showRows(body);
  }
  output.textContent = JSON.stringify(body);
  answer.hidden = false;
}

async function run() {
  say("running");
  const begin = performance.now();
  try {
    const response = await fetch("run", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: request.value,
    });
    const body = await response.json();
    const took = (performance.now() - begin).toFixed(1);
    if (response.ok) say(`answered in ${took} ms`);
    else say(`${response.status}: ${body.error}`, true);
    show(body);
  } catch (error) {
    say(`no answer: ${error.message}`, true);
  }
}

function ask(instances) {
  request.value = JSON.stringify(instances);
  return run();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});

// Snippets

async function copy(text) {
  $("snippet").textContent = text;
  $("snippet").hidden = false;
  try {
    await navigator.clipboard.writeText(text);
    say("copied");
  } catch {
    say("copy it from below");
  }
}

const address = new URL("run", location.href).href;
const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

$("curl").addEventListener("click", () => {
  const token = settings.token ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const declared = settings.declared ? ' -H "Content-Type: application/json"' : "";
  copy(`curl${token}${declared} ${address} -d ${shellQuoted(request.value)}`);
});

$("python").addEventListener("click", () => {
  const token = settings.token ? ', "Authorization": "Bearer " + os.environ["TOKEN"]' : "";
  copy([
    settings.token ? "import json, os, urllib.request" : "import json, urllib.request",
    "",
    `body = ${JSON.stringify(request.value)}.encode()`,
    `headers = {"Content-Type": "application/json"${token}}`,
    `request = urllib.request.Request("${address}", body, headers)`,
    "print(json.load(urllib.request.urlopen(request)))",
  ].join("\n"));
});

$("example").addEventListener("click", async () => {
  const response = await fetch("example");
  if (response.ok) request.value = await response.text();
  else say("this model has no example", true);
});

// Pictures

const image = settings.image;
const pad = $("pad");
const pen = pad ? pad.getContext("2d", { willReadFrequently: true }) : null;

function clearPad() {
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, pad.width, pad.height);
}

function channel(pixels, at, number) {
  if (image.mode === "RGB") return pixels[at + number];
  return 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
}

function scaled(byte, number) {
  const [low, high] = image.range;
  let value = low + (high - low) * (image.invert ? 255 - byte : byte) / 255;
  const of = (list, otherwise) => (Array.isArray(list) ? list[number] ?? list[0] : list ?? otherwise);
  value = (value - of(image.mean, 0)) / of(image.std, 1);
  return image.whole ? Math.round(value) : Number(value.toFixed(4));
}

// The drawing cut out and centred, as data sets of handwriting do it, with a margin around it.
function fitted(margin) {
  const { data } = pen.getImageData(0, 0, pad.width, pad.height);
  let [left, top, right, bottom] = [pad.width, pad.height, -1, -1];
  for (let y = 0; y < pad.height; y++) {
    for (let x = 0; x < pad.width; x++) {
      if (data[4 * (y * pad.width + x)] > 200) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  if (right < 0) return pad;
  const [width, height] = [right - left + 1, bottom - top + 1];
  const cut = document.createElement("canvas");
  [cut.width, cut.height] = [pad.width, pad.height];
  const scale = (1 - 2 * margin) * Math.min(cut.width / width, cut.height / height);
  const context = cut.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, cut.width, cut.height);
  context.drawImage(
    pad, left, top, width, height, (cut.width - scale * width) / 2,
    (cut.height - scale * height) / 2, scale * width, scale * height,
  );
  return cut;
}

// Halving until it is close, or thin lines would fall between the pixels that are looked at.
function shrink(from) {
  while (from.width / 2 >= image.width && from.height / 2 >= image.height) {
    const half = document.createElement("canvas");
    half.width = Math.floor(from.width / 2);
    half.height = Math.floor(from.height / 2);
    half.getContext("2d").drawImage(from, 0, 0, half.width, half.height);
    from = half;
  }
  const small = document.createElement("canvas");
  small.width = image.width;
  small.height = image.height;
  const context = small.getContext("2d");
  context.drawImage(from, 0, 0, image.width, image.height);
  return context.getImageData(0, 0, image.width, image.height).data;
}

function picture(from) {
  const pixels = shrink(from);
  const channels = image.mode === "RGB" ? 3 : 1;
  const count = image.width * image.height;
  const values = [];
  if (image.layout === "CHW") {
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < count; p++) values.push(scaled(channel(pixels, 4 * p, c), c));
    }
  } else {
    for (let p = 0; p < count; p++) {
      for (let c = 0; c < channels; c++) values.push(scaled(channel(pixels, 4 * p, c), c));
    }
  }
  return [{ [image.input]: values }];
}

async function openPicture(file) {
  try {
    const bitmap = await createImageBitmap(file);
    clearPad();
    pen.drawImage(bitmap, 0, 0, pad.width, pad.height);
    await ask(picture(pad));
  } catch {
    say("this picture cannot be read", true);
  }
}

if (pad) {
  let last = null;
  const place = (event) => [
    event.offsetX * pad.width / pad.clientWidth, event.offsetY * pad.height / pad.clientHeight,
  ];
  const draw = (event) => {
    const [x, y] = place(event);
    pen.lineWidth = Math.max(2, pad.width / 11);
    pen.lineCap = pen.lineJoin = "round";
    pen.strokeStyle = "#000";
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(x, y);
    pen.stroke();
    last = [x, y];
  };
  clearPad();
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    last = place(event);
    draw(event);
  });
  pad.addEventListener("pointermove", (event) => last && draw(event));
  pad.addEventListener("pointerup", () => {
    if (last) ask(picture(typeof image.margin === "number" ? fitted(image.margin) : pad));
    last = null;
  });
  $("clear").addEventListener("click", clearPad);
  $("picture").addEventListener("change", (event) => openPicture(event.target.files[0]));
}

// Tables

// Lines of cells; quotes may hold commas, line ends and doubled quotes.
function parseCsv(text) {
  const comma = text.split("\n", 1)[0].includes("\t") ? "\t" : ",";
  const rows = [[]];
  let cell = "";
  let quoted = false;
  const endCell = () => { rows.at(-1).push(cell.trim()); cell = ""; };
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (quoted && char === '"' && text[at + 1] === '"') { cell += '"'; at++; }
    else if (char === '"') quoted = !quoted;
    else if (!quoted && char === comma) endCell();
    else if (!quoted && char === "\n") { endCell(); rows.push([]); }
    else cell += char;
  }
  endCell();
  return rows.filter((row) => row.some((value) => value !== ""));
}

function tableInstances(text) {
  const { columns, input, text: words } = settings.table;
  let rows = parseCsv(text);
  const isHead = rows.length > 1 && rows[0].some((cell) => cell !== "" && Number.isNaN(Number(cell)));
  const head = isHead ? rows[0] : null;
  if (isHead) rows = rows.slice(1);
  const order = columns.length && head && columns.every((name) => head.includes(name))
    ? columns.map((name) => head.indexOf(name))
    : rows[0].map((_, index) => index);
  // An empty cell stays a string, which the server refuses with its place.
  const value = (cell, name) => (words.includes(name) || cell === "" ? cell : Number(cell));
  return rows.map((row) => {
    if (input !== null) return { [input]: order.map((at) => value(row[at] ?? "", input)) };
    return Object.fromEntries(columns.map((name, at) => [name, value(row[order[at]] ?? "", name)]));
  });
}

async function openTable(file) {
  const text = await file.text();
  if (text.trim() === "") say("this file is empty", true);
  else await ask(tableInstances(text));
}

if (settings.table) {
  $("csv").addEventListener("change", (event) => openTable(event.target.files[0]));
}

// Dropped files

form.addEventListener("dragover", (event) => event.preventDefault());
form.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (!file) return;
  if (file.type.startsWith("image/") && pad) openPicture(file);
  else if (/\.json$/.test(file.name)) file.text().then((text) => { request.value = text; return run(); });
  else if (settings.table) openTable(file);
  else say("this model takes neither pictures nor tables", true);
});

form.hidden = false;
