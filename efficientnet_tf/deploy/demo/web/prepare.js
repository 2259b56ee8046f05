// From an image file to what the network takes, as Python prepares it
// (preprocessing.py): cropped, squashed or between bars, resized by TensorFlow's
// own rules, to which no browser's resizing is equal.

// Radius and kernel of TensorFlow's ScaleAndTranslate, without antialiasing.
const KERNELS = {
  gaussian: [1.5, (x) => Math.exp(-2 * x * x)],
  lanczos3: [3, (x) => lanczos(x, 3)],
  lanczos5: [5, (x) => lanczos(x, 5)],
  mitchellcubic: [
    2,
    (x) =>
      x < 1
        ? (7 / 6 * x - 2) * x * x + 8 / 9
        : ((-7 / 18 * x + 2) * x - 10 / 3) * x + 16 / 9,
  ],
};
// The weights of bicubic interpolation come from a table of so many steps.
const CUBIC_STEPS = 1024;
// The unsharp mask of "sharpened", see preprocessing.py.
const SHARPENING_AMOUNT = 1.5;
const SHARPENING_RADIUS = 1 / 64;
// Those that do not repeat the edge for what lies outside.
const CUT_OFF = new Set(["bicubic", "sharpened", ...Object.keys(KERNELS)]);
// Python clips these to [0, 255].
const MAY_OVERSHOOT = CUT_OFF;

// The grey of a letterbox's bars, see frames.py.
const GREY = 114;

// Returns { height, width } of the network's input.
export function inputSize(settings) {
  const { resolution: height } = settings;
  return { height, width: settings.width ?? height };
}

// Returns the part of an image that is resized, in its pixels; see frames.py.
function findCrop(height, width, settings) {
  if (settings.resize !== "crop") return { top: 0, left: 0, height, width };
  const size = inputSize(settings);
  const rows = size.height + settings.crop_padding;
  const columns = size.width + settings.crop_padding;
  const flat = height * columns <= width * rows;
  const [side, by] = flat ? [height, rows] : [width, columns];
  // Python computes the sides in float32.
  const scale = (length) =>
    Math.trunc(Math.fround(Math.fround(length / by) * side));
  const clip = (length, most) => Math.min(Math.max(length, 1), most);
  const box = {
    height: clip(scale(size.height), height),
    width: clip(scale(size.width), width),
  };
  return {
    top: Math.floor((height - box.height + 1) / 2),
    left: Math.floor((width - box.width + 1) / 2),
    ...box,
  };
}

// Returns where the resized part lies in the network's input, in its pixels.
function findPlace(height, width, settings) {
  const size = inputSize(settings);
  if (settings.resize !== "letterbox") return { top: 0, left: 0, ...size };
  const share = (side, times, by) =>
    Math.max(1, Math.floor((2 * side * times + by) / (2 * by)));
  const flat = height * size.width <= width * size.height;
  const place = flat
    ? { height: share(height, size.width, width), width: size.width }
    : { height: size.height, width: share(width, size.height, height) };
  return {
    top: Math.floor((size.height - place.height) / 2),
    left: Math.floor((size.width - place.width) / 2),
    ...place,
  };
}

// Returns the part of an image that the network's input shows, in its pixels;
// the bars of a letterbox lie outside it.
export function findSeen(height, width, settings) {
  const box = findCrop(height, width, settings);
  const place = findPlace(height, width, settings);
  const size = inputSize(settings);
  const down = box.height / place.height;
  const across = box.width / place.width;
  return {
    top: box.top - place.top * down,
    left: box.left - place.left * across,
    height: size.height * down,
    width: size.width * across,
  };
}

// Decodes a file: upright by its EXIF orientation, its colours as they are
// stored. Throws what the browser throws where it cannot.
export function decode(blob) {
  return createImageBitmap(blob, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
}

// Returns { input, transparent }: float32 [height * width * 3] in [0, 255], and
// whether there is transparency, below which a browser keeps no colour.
export function prepare(bitmap, settings) {
  const box = findCrop(bitmap.height, bitmap.width, settings);
  const canvas = new OffscreenCanvas(box.width, box.height);
  // Drawn by the CPU, which rounds nothing.
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, -box.left, -box.top);
  const { data } = context.getImageData(0, 0, box.width, box.height);
  const size = inputSize(settings);
  const place = findPlace(bitmap.height, bitmap.width, settings);
  const shape = { height: box.height, width: box.width, step: 4, channels: 3 };
  const resized =
    resize(data, shape, place.height, place.width, settings.interpolation);
  let input = pad(resized, place, size);
  if (settings.interpolation === "sharpened") input = sharpen(input, size);
  if (MAY_OVERSHOOT.has(settings.interpolation)) {
    input = input.map((value) => Math.min(255, Math.max(0, value)));
  }
  let opaque = true;
  for (let i = 3; i < data.length && opaque; i += 4) opaque = data[i] === 255;
  return { input, transparent: !opaque };
}

// Puts pixels at their place between the bars of a letterbox.
function pad(pixels, place, size) {
  const padded = new Float32Array(size.height * size.width * 3).fill(GREY);
  const row = place.width * 3;
  for (let y = 0; y < place.height; y++) {
    const begin = ((place.top + y) * size.width + place.left) * 3;
    padded.set(pixels.subarray(y * row, (y + 1) * row), begin);
  }
  return padded;
}

// Returns float32 [height * width * channels] of an image with `step` numbers a
// pixel, of which the first `channels` count.
export function resize(image, shape, height, width, method) {
  const rows = listTaps(method, shape.height, height);
  const columns = listTaps(method, shape.width, width);
  const { step, channels } = shape;
  const stride = shape.width * step;
  const row = new Float32Array(stride);
  const resized = new Float32Array(height * width * channels);
  let place = 0;
  for (const down of rows) {
    row.fill(0);
    down.weights.forEach((weight, i) => {
      const begin = (down.first + i) * stride;
      for (let x = 0; x < stride; x++) row[x] += weight * image[begin + x];
    });
    for (const across of columns) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        let from = across.first * step + channel;
        for (const weight of across.weights) {
          sum += weight * row[from];
          from += step;
        }
        resized[place++] = sum;
      }
    }
  }
  return resized;
}

// Returns, for each of `size` outputs, the first of `length` inputs that it is
// made of, and the weights of it and those that follow.
function listTaps(method, length, size) {
  const scale = Math.fround(length / size);
  const taps = [];
  for (let i = 0; i < size; i++) {
    const found = KERNELS[method]
      ? weighByKernel(method, i, Math.fround(1 / Math.fround(size / length)))
      : weigh(method, i, scale);
    const inside = CUT_OFF.has(method) ? cutOff(found, length) : found;
    taps.push(fold(inside, length));
  }
  return taps;
}

// Returns [place, weight] of one output; places may lie outside. In float32, as
// TensorFlow computes it: a sample may lie just at a place.
function weigh(method, i, scale) {
  const corner = Math.fround(i * scale);
  const centre = Math.fround(Math.fround((i + 0.5) * scale) - 0.5);
  switch (method) {
    case "nearest":
      return [[Math.floor(Math.fround((i + 0.5) * scale)), 1]];
    case "area":
      return weighArea(corner, Math.fround((i + 1) * scale));
    case "bilinear":
      return weighLinear(centre);
    case "bicubic":
    case "sharpened":
      return weighCubic(centre, -0.5);
    case "legacy_bilinear":
      return weighLinear(corner);
    case "legacy_bicubic":
      return weighCubic(corner, -0.75);
  }
  throw new Error(`unknown interpolation ${method}`);
}

function weighByKernel(method, i, scale) {
  const [radius, kernel] = KERNELS[method];
  const sample = Math.fround((i + 0.5) * scale);
  const last = Math.floor(Math.fround(Math.fround(sample + radius) - 0.5));
  const found = [];
  let place = Math.ceil(Math.fround(Math.fround(sample - radius) - 0.5));
  for (; place <= last; place++) {
    const distance = Math.abs(Math.fround(place + 0.5 - sample));
    found.push([place, distance > radius ? 0 : kernel(distance)]);
  }
  return found;
}

function weighLinear(centre) {
  const before = Math.floor(centre);
  const share = centre - before;
  return [[before, 1 - share], [before + 1, share]];
}

function weighCubic(centre, a) {
  const before = Math.floor(centre);
  const step = roundEven((centre - before) * CUBIC_STEPS);
  const near = (x) => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  const share = step / CUBIC_STEPS;
  return [
    [before - 1, far(share + 1)],
    [before, near(share)],
    [before + 1, near(1 - share)],
    [before + 2, far(2 - share)],
  ];
}

function weighArea(begin, end) {
  const found = [];
  for (let place = Math.floor(begin); place < end; place++) {
    const share = Math.min(place + 1, end) - Math.max(place, begin);
    found.push([place, share / (end - begin)]);
  }
  return found;
}

// Leaves out what lies outside; the rest then weighs as much as all.
function cutOff(found, length) {
  const inside = found.filter(([place]) => place >= 0 && place < length);
  const total = inside.reduce((sum, [, weight]) => sum + weight, 0);
  return inside.map(([place, weight]) => [place, weight / total]);
}

// Repeats the edge for what is outside, and puts weights in a row.
function fold(found, length) {
  const clamp = (place) => Math.min(Math.max(place, 0), length - 1);
  const places = found.map(([place]) => clamp(place));
  const first = Math.min(...places);
  const weights = new Array(Math.max(...places) - first + 1).fill(0);
  found.forEach(([place, weight]) => (weights[clamp(place) - first] += weight));
  return { first, weights };
}

function lanczos(x, radius) {
  if (x > radius) return 0;
  if (x <= 1e-3) return 1;
  const turn = Math.PI * x;
  return (radius * Math.sin(turn) * Math.sin(turn / radius)) / (turn * turn);
}

function roundEven(value) {
  const down = Math.floor(value);
  if (value - down === 0.5) return down + (down % 2);
  return Math.round(value);
}

function sharpen(image, { height, width }) {
  const turned = new Float32Array(image.length);
  const sharp = new Float32Array(image.length);
  // Twice along columns, the image turned on its side between.
  sharpenColumns(image, turned, height, width);
  sharpenColumns(turned, sharp, width, height);
  return sharp;
}

function sharpenColumns(from, to, height, width) {
  const mask = listSharpening(height);
  for (let y = 0; y < height; y++) {
    for (let h = 0; h < height; h++) {
      const weight = mask[y][h];
      for (let x = 0; x < width; x++) {
        for (let c = 0; c < 3; c++) {
          to[(x * height + y) * 3 + c] +=
            weight * from[(h * width + x) * 3 + c];
        }
      }
    }
  }
}

// Returns the unsharp mask of a side: rows of weights that sum to one.
function listSharpening(size) {
  const mask = [];
  for (let i = 0; i < size; i++) {
    const blur = Array.from({ length: size }, (_, j) =>
      Math.exp(-(((i - j) / (SHARPENING_RADIUS * size)) ** 2) / 2));
    const total = blur.reduce((a, b) => a + b);
    mask.push(blur.map((value, j) =>
      (i === j ? 1 + SHARPENING_AMOUNT : 0)
        - (SHARPENING_AMOUNT * value) / total));
  }
  return mask;
}
