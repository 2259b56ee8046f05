"use strict";
// The page's numbers: as scaling.py, plan.py and costs.py count, in doubles.

const DATA = JSON.parse(document.getElementById("data").textContent);

const LIMITS = {
  phi: { low: -4, high: 12 },
  alpha: { low: 1, high: 2 },
  beta: { low: 1, high: 2 },
  gamma: { low: 1, high: 2 },
  resolution: { low: DATA.min_resolution, high: 4096 },
};

function roundHalfEven(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

function roundFilters(filters, { width, round_limit }) {
  if (width === 1) return filters;
  const divisor = DATA.depth_divisor;
  const scaled = filters * width;
  const units = Math.floor(Math.trunc(scaled + divisor / 2) / divisor);
  const rounded = Math.max(divisor, units * divisor);
  return rounded < round_limit * scaled ? rounded + divisor : rounded;
}

// Returns what is scaled, and by how much, for the page's settings:
// {family, phi, alpha, beta, gamma, resolution (null: by γ), named (or null)}.
function makeVariant(settings) {
  const family = DATA.families[settings.family];
  const named = DATA.named[settings.named];
  if (named) return { ...family, ...named };
  const { phi, alpha, beta, gamma } = settings;
  return {
    ...family,
    depth: family.depth * alpha ** phi,
    width: family.width * beta ** phi,
    resolution:
      settings.resolution ?? roundHalfEven(family.resolution * gamma ** phi),
  };
}

// Returns the name of the published network that a variant is, or null.
function findNamed(variant, family) {
  const same = ([, row]) =>
    row.family === family &&
    ["depth", "width", "resolution"].every((key) => row[key] === variant[key]);
  return Object.entries(DATA.named).find(same)?.[0] ?? null;
}

function countConv(kernel, inFilters, filters, size) {
  const weights = kernel * kernel * inFilters * filters;
  return {
    params: weights + 2 * filters,
    multiply_adds: weights * size * size,
    activations: filters * size * size,
  };
}

function countDense(inputs, outputs) {
  return {
    params: (inputs + 1) * outputs,
    multiply_adds: inputs * outputs,
    activations: outputs,
  };
}

function addCounts(a, b, times = 1) {
  const sum = {};
  for (const key of ["params", "multiply_adds", "activations"]) {
    sum[key] = a[key] + times * b[key];
  }
  return sum;
}

function countBlock(stage, inFilters, filters, strides, size) {
  const expanded = inFilters * stage.expand_ratio;
  const out = Math.ceil(size / strides);
  const kernel = stage.kernel_size;
  const fused = stage.block === "fused_mbconv";
  let sum = countConv(kernel, fused ? inFilters : 1, expanded, out);
  if (fused && stage.expand_ratio === 1) {
    sum = countConv(kernel, inFilters, filters, out);
  } else {
    sum = addCounts(sum, countConv(1, expanded, filters, out));
  }
  if (!fused && stage.expand_ratio > 1) {
    sum = addCounts(sum, countConv(1, inFilters, expanded, size));
  }
  if (stage.se_ratio) {
    const squeezed = Math.max(1, Math.trunc(inFilters * stage.se_ratio));
    sum = addCounts(sum, countDense(expanded, squeezed));
    sum = addCounts(sum, countDense(squeezed, expanded));
  }
  return sum;
}

// Returns a row for each stage, with the names of costs.StageCost.
function countStages(variant) {
  const scaleEnd = (filters) =>
    variant.fixed_ends ? filters : roundFilters(filters, variant);
  const stem = scaleEnd(variant.stem_filters);
  const head = scaleEnd(variant.head_filters);
  const rows = [];
  let size = variant.resolution;
  let filters = 3;
  const push = (name, operator, kernel, strides, out, repeats, counts) => {
    rows.push({
      name,
      operator,
      kernel_size: kernel,
      strides,
      resolution: size,
      filters: out,
      repeats,
      ...counts,
    });
    size = Math.ceil(size / strides);
    filters = out;
  };
  const half = Math.ceil(size / 2);
  push("stem", "Conv", 3, 2, stem, 1, countConv(3, 3, stem, half));
  variant.stages.forEach((stage, i) => {
    const fixed =
      variant.fixed_ends && (i === 0 || i === variant.stages.length - 1);
    const repeats = fixed
      ? stage.repeats
      : Math.ceil(stage.repeats * variant.depth);
    const out = roundFilters(stage.filters, variant);
    const after = Math.ceil(size / stage.strides);
    const counts = addCounts(
      countBlock(stage, filters, out, stage.strides, size),
      countBlock(stage, out, out, 1, after),
      repeats - 1,
    );
    const start = stage.block === "fused_mbconv" ? "Fused-" : "";
    const operator = `${start}MBConv${stage.expand_ratio}`;
    const { kernel_size, strides } = stage;
    push(`block${i + 1}`, operator, kernel_size, strides, out, repeats, counts);
  });
  push("top", "Conv", 1, 1, head, 1, countConv(1, filters, head, size));
  size = 1;
  const top = countDense(head, DATA.classes);
  push("predictions", "Dense", 1, 1, DATA.classes, 1, top);
  return rows;
}

function sumStages(stages) {
  const zero = { params: 0, multiply_adds: 0, activations: 0 };
  return stages.reduce((sum, stage) => addCounts(sum, stage), zero);
}

// α·β²·γ²: the predicted growth of multiply-adds per step of φ.
function constraint({ alpha, beta, gamma }) {
  return alpha * beta ** 2 * gamma ** 2;
}
