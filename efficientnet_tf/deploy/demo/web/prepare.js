// From an image file to what the network takes, as Python prepares it
// (preprocessing.py): the centre square, resized by TensorFlow's own rules, to
// which no browser's resizing is equal.

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

// Returns the part of an image that is resized, in its pixels.
export function findCrop(height, width, settings) {
  const { resolution: size, crop_padding: padding } = settings;
  if (padding === null) return { top: 0, left: 0, height, width };
  // Python computes the side in float32.
  const share = Math.fround(size / (size + padding));
  const exact = Math.fround(share * Math.min(height, width));
  const side = Math.max(1, Math.trunc(exact));
  return {
    top: Math.floor((height - side + 1) / 2),
    left: Math.floor((width - side + 1) / 2),
    height: side,
    width: side,
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

// Returns { input, transparent }: float32 [size * size * 3] in [0, 255], and
// whether there is transparency, below which a browser keeps no colour.
export function prepare(bitmap, settings) {
  const box = findCrop(bitmap.height, bitmap.width, settings);
  const canvas = new OffscreenCanvas(box.width, box.height);
  // Drawn by the CPU, which rounds nothing.
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, -box.left, -box.top);
  const { data } = context.getImageData(0, 0, box.width, box.height);
  const size = settings.resolution;
  const shape = { height: box.height, width: box.width, step: 4, channels: 3 };
  let input = resize(data, shape, size, size, settings.interpolation);
  if (settings.interpolation === "sharpened") input = sharpen(input, size);
  if (MAY_OVERSHOOT.has(settings.interpolation)) {
    input = input.map((value) => Math.min(255, Math.max(0, value)));
  }
  let opaque = true;
  for (let i = 3; i < data.length && opaque; i += 4) opaque = data[i] === 255;
  return { input, transparent: !opaque };
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

function sharpen(image, size) {
  const mask = [];
  for (let i = 0; i < size; i++) {
    const blur = Array.from({ length: size }, (_, j) =>
      Math.exp(-(((i - j) / (SHARPENING_RADIUS * size)) ** 2) / 2));
    const total = blur.reduce((a, b) => a + b);
    mask.push(blur.map((value, j) =>
      (i === j ? 1 + SHARPENING_AMOUNT : 0)
        - (SHARPENING_AMOUNT * value) / total));
  }
  const turned = new Float32Array(image.length);
  const sharp = new Float32Array(image.length);
  // Twice along columns, the image turned on its side between.
  for (const [from, to] of [[image, turned], [turned, sharp]]) {
    for (let y = 0; y < size; y++) {
      for (let h = 0; h < size; h++) {
        const weight = mask[y][h];
        for (let x = 0; x < size; x++) {
          for (let c = 0; c < 3; c++) {
            to[(x * size + y) * 3 + c] += weight * from[(h * size + x) * 3 + c];
          }
        }
      }
    }
  }
  return sharp;
}
