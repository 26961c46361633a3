// The Run button. Without this file the page is still its own documentation.
"use strict";

const MAX_BARS = 50;

const form = document.getElementById("try");
const request = document.getElementById("request");
const said = document.getElementById("status");
const answer = document.getElementById("answer");
const bars = document.getElementById("bars");
const output = document.getElementById("output");

// One row per value of a short list of numbers, the largest marked: classes, most often.
function showBars(name, values) {
  const heading = document.createElement("h3");
  heading.textContent = name;
  bars.append(heading);
  const low = Math.min(0, ...values);
  const high = Math.max(...values);
  values.forEach((value, index) => {
    const row = document.createElement("div");
    row.className = value === high ? "bar top" : "bar";
    const label = document.createElement("span");
    label.textContent = String(index);
    const bar = document.createElement("progress");
    bar.max = high > low ? high - low : 1;
    bar.value = value - low;
    bar.setAttribute("aria-label", `${name} ${index}`);
    const number = document.createElement("span");
    number.textContent = value.toPrecision(5);
    row.append(label, bar, number);
    bars.append(row);
  });
}

function isShortVector(value) {
  return Array.isArray(value) && value.length > 1 && value.length <= MAX_BARS &&
    value.every((item) => typeof item === "number");
}

function show(body) {
  bars.replaceChildren();
  if (Array.isArray(body) && body.length === 1) {
    for (const [name, value] of Object.entries(body[0])) {
      if (isShortVector(value)) showBars(name, value);
    }
  }
  output.textContent = JSON.stringify(body);
  answer.hidden = false;
}

async function run() {
  const begin = performance.now();
  const response = await fetch("/run", { method: "POST", body: request.value });
  const body = await response.json();
  const took = (performance.now() - begin).toFixed(1);
  said.className = response.ok ? "" : "bad";
  said.textContent = response.ok ? `answered in ${took} ms` : `${response.status}: ${body.error}`;
  show(body);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  said.textContent = "running";
  try {
    await run();
  } catch (error) {
    said.className = "bad";
    said.textContent = `no answer: ${error.message}`;
  } finally {
    button.disabled = false;
  }
});

form.hidden = false;
