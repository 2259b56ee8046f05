// The page: takes an image, shows what the network says and what speaks for it.

import { paint } from "./heat.js";
import { load } from "./network.js";
import { decode, findSeen, inputSize, prepare } from "./prepare.js";

const TOP = 5;
const MOST_NUMBERS = 50;
// Pixels of the longer side of the picture; a smaller one gets larger pixels.
const LEAST_SIDE = 240;
const MOST_SIDE = 512;
const PNG = [137, 80, 78, 71, 13, 10, 26, 10];
const PNG_DEPTH = 24; // Where a PNG says how many bits a sample has.

const byId = (id) => document.getElementById(id);
const settings = await fetchSettings();
// Numbers, as they are, in their own order; else the most probable classes.
const numeric = settings.target === "numbers";
const network = await startNetwork();
let shown = null; // { bitmap, map, output } of the last image.
if (settings.target === "labels") byId("map-of").textContent = "label";
let turn = 0; // Of several images, the last one is shown.

async function fetchSettings() {
  const answer = await fetch("classifier.json");
  if (!answer.ok) fail(`classifier.json: HTTP ${answer.status}`);
  return answer.json();
}

async function startNetwork() {
  try {
    return await load("model.tflite", inputSize(settings));
  } catch (error) {
    byId("status").textContent = "";
    fail(`The network cannot be loaded: ${error.message}`);
    throw error;
  }
}

// Returns what the page shows of an image file: probabilities, the map of all
// classes, milliseconds of preparation and of the network.
export async function classify(blob) {
  const bitmap = await decode(blob);
  const begin = performance.now();
  const { input, transparent } = prepare(bitmap, settings);
  const prepared = performance.now();
  const found = await network.run(input);
  return {
    ...found,
    bitmap,
    transparent,
    prepareMs: prepared - begin,
    networkMs: performance.now() - prepared,
  };
}

async function show(blob, name) {
  const own = ++turn;
  byId("error").textContent = "";
  byId("result").classList.add("stale");
  try {
    const found = await classify(blob);
    const note = await describe(blob, found);
    if (own === turn) display(found, note);
  } catch (error) {
    if (own === turn) refuse(name, error);
  }
}

function refuse(name, error) {
  byId("result").hidden = true;
  const unreadable = error.name === "InvalidStateError";
  const reason = unreadable
    ? "no image that this browser can read"
    : error.message;
  fail(`${name}: ${reason}.`);
}

function fail(message) {
  byId("error").textContent = message;
}

// Says where a browser decodes otherwise than Python.
async function describe(blob, found) {
  const notes = [];
  if (found.transparent) {
    notes.push("What is transparent, a browser reads as black.");
  }
  const head = new Uint8Array(await blob.slice(0, PNG_DEPTH + 1).arrayBuffer());
  const isPng = PNG.every((byte, i) => head[i] === byte);
  if (isPng && head[PNG_DEPTH] === 16 && settings.deep_pixels !== "full") {
    notes.push("Of 16 bits a sample, a browser reads the upper 8.");
  }
  if (notes.length) notes.push("efficientnet predict may answer otherwise.");
  return notes.join(" ");
}

function display(found, note) {
  const { probabilities, map, bitmap, prepareMs, networkMs } = found;
  const order = [...probabilities.keys()];
  if (!numeric) order.sort((a, b) => probabilities[b] - probabilities[a]);
  const best = order.slice(0, numeric ? MOST_NUMBERS : TOP);
  if (settings.target === "labels") {
    // All that the image has, however many.
    best.push(...order.slice(TOP).filter((i) => hasLabel(i, probabilities[i])));
  }
  shown?.bitmap.close();
  shown = { bitmap, map, output: best[0] };
  byId("answers").replaceChildren(
    ...best.map((output) => makeAnswer(output, probabilities[output])));
  giveTitle(order.filter((i) => hasLabel(i, probabilities[i])).length);
  const left = numeric ? order.length - best.length : 0;
  byId("left-out").textContent = left ? `${left} more are not shown.` : "";
  const threads = `${network.threads} thread${network.threads > 1 ? "s" : ""}`;
  byId("time").textContent =
    `${networkMs.toFixed(1)} ms for the network (${threads}), ` +
    `${prepareMs.toFixed(1)} ms to prepare the image.`;
  byId("note").textContent = note;
  byId("result").hidden = false;
  byId("result").classList.remove("stale");
  draw();
}

function giveTitle(labels) {
  const titles = {
    labels: labels ? "Labels: ✓ the image has it" : "The image has none of them",
    numbers: "Numbers",
  };
  const title = titles[settings.target];
  if (title) byId("answers-title").textContent = title;
}

// Whether an image has a label, by the label's own threshold.
function hasLabel(output, probability) {
  return settings.target === "labels" &&
    probability >= (settings.thresholds?.[output] ?? 0.5);
}

function makeAnswer(output, probability) {
  const button = document.createElement("button");
  const name = document.createElement("span");
  const share = document.createElement("b");
  name.textContent = settings.class_names[output];
  share.textContent = numeric
    ? String(Number(probability.toPrecision(5)))
    : `${(100 * probability).toFixed(1)} %`;
  if (hasLabel(output, probability)) {
    name.textContent = `✓ ${name.textContent}`;
    button.classList.add("has");
  }
  button.type = "button";
  button.dataset.output = output;
  button.disabled = !shown.map;
  button.style.setProperty("--share", numeric ? "0%" : `${100 * probability}%`);
  button.append(name, share);
  button.addEventListener("click", () => {
    shown.output = output;
    byId("show-map").checked = true;
    draw();
  });
  const item = document.createElement("li");
  item.append(button);
  return item;
}

// Draws the last image, with the map of the chosen class if that is wanted.
function draw() {
  const { bitmap, map, output } = shown;
  const side = Math.max(bitmap.width, bitmap.height);
  const scale = side < MOST_SIDE
    ? Math.max(1, Math.floor(LEAST_SIDE / side))
    : MOST_SIDE / side;
  const canvas = byId("picture");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = scale < 1;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const name = settings.class_names[output];
  const mapped = map !== null && byId("show-map").checked;
  if (mapped) {
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    paint(pixels, map, output, scaleSeen(bitmap, canvas));
    context.putImageData(pixels, 0, 0);
  }
  canvas.setAttribute("aria-label",
    mapped ? `Your image, coloured by what speaks for ${name}` : "Your image");
  byId("map-choice").hidden = map === null;
  byId("scale").hidden = byId("seen").hidden = !mapped;
  for (const button of byId("answers").querySelectorAll("button")) {
    const pressed = mapped && Number(button.dataset.output) === output;
    button.setAttribute("aria-pressed", pressed);
  }
}

function scaleSeen(bitmap, canvas) {
  const box = findSeen(bitmap.height, bitmap.width, settings);
  const across = canvas.width / bitmap.width;
  const down = canvas.height / bitmap.height;
  const left = Math.round(box.left * across);
  const top = Math.round(box.top * down);
  return {
    left,
    top,
    width: Math.max(1, Math.round((box.left + box.width) * across) - left),
    height: Math.max(1, Math.round((box.top + box.height) * down) - top),
  };
}

// Shows the first image of files that were dropped, pasted or chosen.
function showFirst(files) {
  const [file] = files;
  if (file) show(file, file.name || "The image");
}

function takeDrops() {
  const target = byId("input");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      target.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) target.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("over");
    const { files } = event.dataTransfer;
    // From another page comes an address, and the page fetches nothing.
    if (files.length) showFirst(files);
    else fail("That is no file: save the image first, or copy and paste it.");
  });
  document.addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    if (files.length) showFirst(files);
    else fail("There is no image in what was copied.");
  });
  byId("file").addEventListener("change", (event) => {
    showFirst([...event.target.files]);
    event.target.value = ""; // The same file may be chosen again.
  });
}

function offerCamera() {
  const video = byId("video");
  if (!navigator.mediaDevices?.getUserMedia) return;
  byId("camera").hidden = false;
  const close = () => {
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    byId("viewfinder").hidden = true;
    byId("camera").focus();
  };
  byId("camera").addEventListener("click", async () => {
    fail("");
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment" },
      });
    } catch (error) {
      fail(`The camera cannot be used: ${error.message}.`);
      return;
    }
    byId("viewfinder").hidden = false;
    await video.play();
    byId("shoot").focus();
  });
  byId("shoot").addEventListener("click", async () => {
    if (!video.videoWidth) return; // Nothing has come yet.
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    close();
    show(await canvas.convertToBlob(), "The photo");
  });
  byId("close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && video.srcObject) close();
  });
}

function listExamples() {
  for (const [i, path] of settings.examples.entries()) {
    const button = document.createElement("button");
    const image = document.createElement("img");
    button.type = "button";
    image.src = path;
    image.alt = `Example ${i + 1}`;
    button.append(image);
    button.addEventListener("click", async () => {
      const answer = await fetch(path);
      if (answer.ok) show(await answer.blob(), image.alt);
      else fail(`${image.alt} is missing.`);
    });
    byId("examples").append(button);
  }
}

byId("show-map").addEventListener("change", draw);
takeDrops();
offerCamera();
listExamples();
byId("status").textContent = "";
document.documentElement.dataset.ready = "yes";
