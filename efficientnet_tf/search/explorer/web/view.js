"use strict";
// The page itself: settings from the controls, everything drawn from them.

const COLORS = [
  "#4a5560", "#7b4fa3", "#3f6fb5", "#2a8a9d", "#2f8f5b",
  "#7f9327", "#c08a1e", "#c9622b", "#b3261e", "#4a5560", "#8a949d",
];
const MAX_BARS = 400;

const byId = (id) => document.getElementById(id);
const FIELDS = ["phi", "alpha", "beta", "gamma", "resolution"];

const settings = {
  family: Object.keys(DATA.families)[0],
  phi: 0,
  ...DATA.coefficients,
  resolution: null,
  named: null,
  axis: "multiply_adds",
};

function element(parent, tag, attributes = {}, text = "") {
  const svg = ["svg", "rect", "circle", "line", "path", "text", "title"];
  const node = svg.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, value);
  }
  node.textContent = text;
  parent.append(node);
  return node;
}

// Numbers for people: 5.29 M; the exact one is in the row's data-value.
function short(value) {
  const units = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  for (const [size, letter] of units) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${letter}`;
  }
  return String(value);
}

const current = () => findNamed(makeVariant(settings), settings.family);

const trim = (value, digits = 2) => String(Number(value.toFixed(digits)));

// ---- Controls

function fillControls() {
  for (const name of Object.keys(DATA.families)) {
    const label = element(byId("families"), "label");
    const input = element(label, "input", {
      type: "radio", name: "family", value: name,
    });
    label.append(` ${name}`);
    input.addEventListener("change", () =>
      change({ family: name, named: null }));
  }
  for (const name of FIELDS) {
    const { low, high } = LIMITS[name];
    byId(name).min = low;
    byId(name).max = high;
    byId(name).addEventListener("input", () => readField(name));
  }
  byId("slider").addEventListener("input", () =>
    change({ phi: byId("slider").valueAsNumber, named: null }, "slider"));
  byId("reset").addEventListener("click", () =>
    change({ ...DATA.coefficients, resolution: null, named: null }));
  byId("controls").addEventListener("submit", (e) => e.preventDefault());
  for (const input of document.querySelectorAll("[name=axis]")) {
    input.addEventListener("change", () => change({ axis: input.value }));
  }
  window.addEventListener("resize", () => show());
}

// Returns what is wrong with a field's value, or "".
function findFault(name) {
  const input = byId(name);
  const { low, high } = LIMITS[name];
  const value = input.valueAsNumber;
  const empty = input.value === "" && !input.validity.badInput;
  if (name === "resolution" && empty) return "";
  const title = document.querySelector(`label[for=${name}]`).textContent;
  const whole = name === "resolution";
  if (!(value >= low && value <= high) || (whole && value % 1)) {
    const kind = whole ? "a whole number" : "a number";
    return `${title}: must be ${kind} from ${low} to ${high}.`;
  }
  return "";
}

// The result can be invalid although each field is valid.
function findPixelFault() {
  const { resolution } = makeVariant(settings);
  if (resolution >= DATA.min_resolution) return "";
  return `φ gives ${resolution} pixels and the network strides by `
    + `${DATA.min_resolution}: choose a larger φ.`;
}

function readField(name) {
  if (findFault(name)) {
    showFaults();
    return;
  }
  const value = byId(name).valueAsNumber;
  change({ [name]: Number.isNaN(value) ? null : value, named: null }, name);
}

// Shows the faults and dims the rest, which shows the last valid settings.
// Returns whether all fields are valid.
function showFaults() {
  const faults = FIELDS.map(findFault);
  FIELDS.forEach((field, i) =>
    byId(field).setAttribute("aria-invalid", faults[i] !== ""));
  const text = [...faults, findPixelFault()].filter(Boolean).join(" ");
  byId("error").textContent = text;
  document.body.classList.toggle("stale", text !== "");
  return text === "";
}

// `source` is the field that is being changed; one step back undoes all that
// was done to it at a time.
function change(changes, source = null) {
  Object.assign(settings, changes);
  byId("address").textContent = "";
  if (show(source)) rememberAddress(source);
}

// Shows the settings; returns whether they are valid. What is being typed into
// `source` is not overwritten.
function show(source = null) {
  for (const name of FIELDS) {
    if (name === source) continue;
    const value = settings[name];
    byId(name).value = value === null ? "" : trim(value, 4);
  }
  byId("slider").value = settings.phi;
  for (const input of document.querySelectorAll("[name=family]")) {
    input.checked = input.value === settings.family;
  }
  for (const input of document.querySelectorAll("[name=axis]")) {
    input.checked = input.value === settings.axis;
  }
  const valid = showFaults();
  if (valid) draw();
  return valid;
}

function chooseNamed(name) {
  const { family, phi } = DATA.named[name];
  change({ ...DATA.coefficients, family, phi, resolution: null, named: name });
}

function drawNamed() {
  const { min, max } = byId("slider");
  const box = byId("named");
  const focused = document.activeElement?.dataset?.name;
  box.querySelectorAll("button").forEach((node) => node.remove());
  const marks = byId("marks");
  marks.replaceChildren();
  let labelled = -Infinity;  // Position of the last labelled mark.
  for (const [name, row] of Object.entries(DATA.named)) {
    if (row.family !== settings.family) continue;
    const button = element(box, "button", {
      type: "button",
      "data-name": name,
      "aria-pressed": name === current(),
    }, row.label);
    button.addEventListener("click", () => chooseNamed(name));
    if (name === focused) button.focus();
    if (row.phi > max) continue;
    const part = (row.phi - min) / (max - min);
    const x = part * marks.clientWidth;
    const label = x - labelled < 18 ? "" : row.label.replace(/Lite|V2-/, "");
    if (label) labelled = x;
    element(marks, "span", { style: `left: ${100 * part}%` }, label);
  }
}

// ---- Costs

function drawTotals(variant, total) {
  const base = sumStages(countStages(DATA.families[settings.family]));
  const rows = [
    ["Parameters", "params", total.params, short(total.params)],
    ["Multiply-adds", "multiply_adds", total.multiply_adds,
      short(total.multiply_adds)],
    ["Activations", "activations", total.activations,
      short(total.activations)],
  ];
  const list = byId("totals");
  list.replaceChildren();
  for (const [title, key, value, text] of rows) {
    const item = element(list, "div");
    element(item, "dt", {}, title);
    const dd = element(item, "dd", { id: key, "data-value": value }, text);
    element(dd, "small", {}, `${trim(value / base[key])} × the base’s`);
  }
  const item = element(list, "div");
  element(item, "dt", {}, "Input");
  const size = variant.resolution;
  const dd = element(item, "dd", {}, `${size} × ${size}`);
  element(dd, "small", {},
    `depth ×\u00a0${trim(variant.depth, 3)}, `
    + `width ×\u00a0${trim(variant.width, 3)}`);
}

function drawConstraint() {
  const value = constraint(settings);
  const near = Math.abs(value - DATA.growth) <= DATA.tolerance + 1e-9;
  const text = byId("constraint");
  text.replaceChildren("α·β²·γ² = ");
  element(text, "b", near ? {} : { class: "off" }, value.toFixed(3));
  text.append(
    near
      ? ` ≈ ${DATA.growth}: a step of φ about doubles the multiply-adds, `
      : `, not ≈ ${DATA.growth} as the paper asks: a step of φ multiplies the `
        + `multiply-adds by ${trim(value)}, `,
    "before rounding. ",
    `At φ = ${trim(settings.phi)} that predicts `,
    `×\u00a0${trim(value ** settings.phi)}.`,
  );
}

function drawNote(variant) {
  const row = DATA.named[current()];
  byId("resolution").placeholder = variant.resolution;
  let text = "On the curve of α, β, γ. The published networks are only near "
    + "it: their marks stand at the mean φ of their depth, width and pixels.";
  if (row) {
    const curve = makeVariant({ ...settings, named: null });
    text = `${row.label} with its published coefficients: depth ${row.depth}, `
      + `width ${row.width}, ${row.resolution} pixels. On the curve, `
      + `φ = ${trim(row.phi)} would give ${trim(curve.depth)}, `
      + `${trim(curve.width)} and ${curve.resolution} pixels.`;
  } else if (settings.resolution !== null) {
    text = `${variant.resolution} pixels as you set them; leave the field `
      + "empty, and γ gives them.";
  }
  byId("note").textContent = text;
}

// ---- The network

function drawPicture(stages) {
  const box = byId("picture");
  const width = box.clientWidth;
  const height = 150;
  const bars = stages.slice(0, -1).flatMap((stage, index) => {
    const side = Math.ceil(stage.resolution / stage.strides);
    const bar = { index, stage, side, weight: Math.sqrt(stage.filters) };
    return Array(Math.min(stage.repeats, MAX_BARS)).fill(bar);
  });
  const gap = bars.length > width / 4 ? 0 : 1;
  const weights = bars.reduce((sum, bar) => sum + bar.weight, 0);
  // B7 fills the width; larger networks are compressed.
  const unit = (width - gap * bars.length) / Math.max(weights, DATA.full_width);
  const octaves = Math.log2(DATA.largest_side);
  box.replaceChildren();
  const svg = element(box, "svg", {
    width, height: height + 18, role: "img",
    "aria-label": `${bars.length} convolutions and blocks; see the table`,
  });
  let x = 0;
  let last = -1;
  let labelled = 0;  // Where the last label ends.
  for (const { index, stage, side, weight } of bars) {
    const high = Math.min(1, Math.log2(side) / octaves) * height;
    const wide = Math.max(0.5, weight * unit);
    const rect = element(svg, "rect", {
      x, y: (height - high) / 2, width: wide, height: high,
      fill: COLORS[index],
    });
    element(rect, "title", {}, `${stage.name}: ${stage.operator}`);
    if (index !== last) {
      const label = stage.name.replace("block", "");
      if (x >= labelled) {
        element(svg, "text", { x, y: height + 14 }, label);
        labelled = x + 7 * label.length + 4;
      }
      last = index;
    }
    x += wide + gap;
  }
}

function drawTable(stages, total) {
  const body = byId("stages");
  body.replaceChildren();
  stages.forEach((stage, i) => {
    const side = Math.ceil(stage.resolution / stage.strides);
    const dense = stage.operator === "Dense";
    const kernel = `${stage.kernel_size} × ${stage.kernel_size}`;
    const row = element(body, "tr");
    const first = element(row, "td");
    element(first, "span", {
      class: "swatch", style: `background: ${COLORS[i]}`,
    });
    first.append(stage.name);
    const cells = [
      ["Operator", stage.operator],
      ["Kernel", dense ? "–" : kernel],
      ["Stride", dense ? "–" : stage.strides],
      ["Output", dense ? stage.filters
        : `${stage.filters} × ${side} × ${side}`],
      ["Repeats", stage.repeats],
      ["Parameters", short(stage.params)],
      ["Multiply-adds", short(stage.multiply_adds)],
    ];
    for (const [label, text] of cells) {
      element(row, "td", { "data-label": label }, text);
    }
    const share = (100 * stage.multiply_adds) / total.multiply_adds;
    element(row.lastChild, "span", {
      class: "share",
      style: `width: ${share}%; background: ${COLORS[i]}`,
    });
  });
}

function draw() {
  const variant = makeVariant(settings);
  const stages = countStages(variant);
  const total = sumStages(stages);
  drawNamed();
  drawConstraint();
  drawTotals(variant, total);
  drawNote(variant);
  drawPicture(stages);
  drawTable(stages, total);
  drawPlot();
}

// The other scripts follow.
document.addEventListener("DOMContentLoaded", () => {
  fillControls();
  followAddress();
});
