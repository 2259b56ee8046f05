"use strict";
// Published accuracy over cost, and where the current network stands.

const FAMILY_COLORS = {
  EfficientNet: "#b3261e",
  "EfficientNet-Lite": "#9a5b00",
  EfficientNetV2: "#6b3fa0",
  others: "#76808a",
};
const COSTS = {
  multiply_adds: { title: "multiply-adds", unit: "billion", size: 1e9 },
  params: { title: "parameters", unit: "million", size: 1e6 },
};

function drawPlot() {
  const key = settings.axis;
  const box = byId("plot");
  const width = box.clientWidth;
  const height = Math.max(300, Math.min(430, width * 0.6));
  const frame = { left: 32, right: width - 12, top: 20, bottom: height - 42 };
  const points = DATA.points.filter((point) => point[key] !== null);
  const total = sumStages(countStages(makeVariant(settings)));
  const here = total[key] / COSTS[key].size;
  const spread = (values, by) => [Math.min(...values) / by,
    Math.max(...values) * by].map(Math.log10);
  const costs = points.map((point) => point[key]);
  // Room for a label on the left, where the axis and a line leave little.
  const [low, high] = spread([...costs, here], 1.75);
  const tops = points.map((point) => point.top1);
  const bottom = Math.floor(Math.min(...tops)) - 0.5;
  const top = Math.ceil(Math.max(...tops)) + 0.5;
  const toX = (cost) => frame.left
    + ((Math.log10(cost) - low) / (high - low)) * (frame.right - frame.left);
  const toY = (top1) => frame.bottom
    - ((top1 - bottom) / (top - bottom)) * (frame.bottom - frame.top);
  box.replaceChildren();
  const svg = element(box, "svg", {
    width, height, role: "img",
    "aria-label": `Published ImageNet top-1 over ${COSTS[key].title}`,
  });
  drawAxes(svg, frame, { low, high, bottom, top, toX, toY }, key);
  const ring = drawHere(svg, frame, { key, here, toX, toY, points });
  const lines = drawFamilies(svg, points, key, { toX, toY });
  const x = toX(here);
  const taken = {
    boxes: [...ring, ...points.map((p) =>
      boxAt(toX(p[key]) - 4, toY(p.top1) - 4, 8, 8))],
    lines: [...lines, { x1: x, y1: frame.top, x2: x, y2: frame.bottom }],
    dots: points.map((p) => ({ x: toX(p[key]), y: toY(p.top1) })),
  };
  // The family's labels first: others are left out if there is no room.
  const ordered = [...points].sort((a, b) =>
    (a.family === "others") - (b.family === "others"));
  for (const point of ordered) {
    const anchor = { x: toX(point[key]), y: toY(point.top1) };
    drawLabel(svg, frame, point, anchor, taken);
  }
}

const costText = (value, key) =>
  `${trim(value)} ${COSTS[key].unit} ${COSTS[key].title}`;

function drawAxes(svg, frame, scale, key) {
  for (let value = Math.ceil(scale.bottom); value <= scale.top; value += 1) {
    if (value % 2) continue;
    const y = scale.toY(value);
    element(svg, "line", {
      x1: frame.left, x2: frame.right, y1: y, y2: y, stroke: "#e3e8ec",
    });
    element(svg, "text", {
      x: frame.left - 6, y: y + 4, "text-anchor": "end",
    }, value);
  }
  for (let power = Math.floor(scale.low); power <= scale.high; power += 1) {
    for (const digit of scale.high - scale.low > 5 ? [1] : [1, 2, 5]) {
      const value = digit * 10 ** power;
      const place = Math.log10(value);
      if (place < scale.low || place > scale.high) continue;
      const x = scale.toX(value);
      element(svg, "line", {
        x1: x, x2: x, y1: frame.top, y2: frame.bottom, stroke: "#e3e8ec",
      });
      element(svg, "text", {
        x, y: frame.bottom + 15, "text-anchor": "middle",
      }, value >= 1e5 ? value.toExponential(0) : Number(value.toPrecision(1)));
    }
  }
  element(svg, "text", {
    x: (frame.left + frame.right) / 2, y: frame.bottom + 33,
    "text-anchor": "middle",
  }, `${COSTS[key].title} (${COSTS[key].unit}s)`);
  element(svg, "text", { x: 0, y: 11 }, "ImageNet top-1 (%)");
}

// Returns the lines' segments, which labels keep off.
function drawFamilies(svg, points, key, { toX, toY }) {
  const lines = [];
  for (const [family, color] of Object.entries(FAMILY_COLORS)) {
    const own = points.filter((point) => point.family === family);
    const path = own.map((p) => `${toX(p[key])} ${toY(p.top1)}`).join(" L ");
    if (family !== "others") {
      element(svg, "path", { d: `M ${path}`, fill: "none", stroke: color });
      own.slice(1).forEach((point, i) => lines.push({
        x1: toX(own[i][key]), y1: toY(own[i].top1),
        x2: toX(point[key]), y2: toY(point.top1),
      }));
    }
    for (const point of own) {
      const dot = element(svg, "circle", {
        cx: toX(point[key]), cy: toY(point.top1), r: 3.5, fill: color,
      });
      const text = `${point.top1} %, ${costText(point[key], key)}`;
      element(dot, "title", {}, `${point.label}: ${text}`);
    }
  }
  return lines;
}

// The current network: its cost is counted, but its accuracy is known only if
// it is published; otherwise a ring shows the published line at its cost.
// Returns the ring's box, if there is one.
function drawHere(svg, frame, { key, here, toX, toY, points }) {
  const x = toX(here);
  element(svg, "line", {
    x1: x, x2: x, y1: frame.top, y2: frame.bottom,
    stroke: "#0b57a4", "stroke-dasharray": "5 4",
  });
  const family = DATA.families[settings.family].title;
  const line = points.filter((point) => point.family === family);
  const named = DATA.named[current()];
  const own = named && line.find((point) => point.label === named.label);
  const next = line.findIndex((point) => point[key] >= here);
  let top1 = own ? own.top1 : null;
  let text = `${named ? named.label : "Your network"}: ${costText(here, key)}`;
  if (own) {
    text += `, published top-1 ${own.top1} %.`;
  } else if (next > 0 || (next === 0 && line[0][key] === here)) {
    const [a, b] = [line[Math.max(0, next - 1)], line[next]];
    const step = Math.log(b[key] / a[key]);
    const part = a === b ? 0 : Math.log(here / a[key]) / step;
    top1 = a.top1 + part * (b.top1 - a.top1);
    text += `. The ring is where the published ${family} line is at this `
      + `cost (${top1.toFixed(1)} %): a guess, good only near that line.`;
  } else if (line.length === 0) {
    text += ": no accuracy is published, so only the dashed line shows it.";
  } else {
    text += `: beyond the published ${family} networks, so only the dashed `
      + "line shows it.";
  }
  if (top1 !== null) {
    element(svg, "circle", {
      id: "here", cx: x, cy: toY(top1), r: 7,
      fill: own ? "#0b57a4" : "none", stroke: "#0b57a4", "stroke-width": 2.5,
    });
  }
  byId("plot-note").textContent = `${text} Costs of this family are counted, `
    + "those of others and all accuracies are as published.";
  return top1 === null ? [] : [boxAt(x - 8, toY(top1) - 8, 16, 16)];
}

const boxAt = (x, y, width, height) =>
  ({ left: x, top: y, right: x + width, bottom: y + height });

// Returns whether a segment touches a box.
function touches({ x1, y1, x2, y2 }, box) {
  if (Math.max(x1, x2) < box.left || Math.min(x1, x2) > box.right) return false;
  if (Math.max(y1, y2) < box.top || Math.min(y1, y2) > box.bottom) return false;
  // Its corners are not all on one side of the line.
  const side = (x, y) =>
    Math.sign((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1));
  const sides = new Set([
    side(box.left, box.top), side(box.right, box.top),
    side(box.left, box.bottom), side(box.right, box.bottom),
  ]);
  return sides.size > 1 || sides.has(0);
}

const overlaps = (a, b) => a.left < b.right && b.left < a.right
  && a.top < b.bottom && b.top < a.bottom;

// Where a label may stand, best first: beside its dot, above, below, then at
// the corners; and the same a little farther away.
function listPlaces(x, y, width) {
  const places = [];
  for (const gap of [7, 9, 12, 16, 22]) {
    const [left, middle, right] = [x - gap - width, x - width / 2, x + gap];
    const [above, beside, below] = [y - gap - 10, y - 6, y + gap - 2];
    places.push(
      [right, beside], [left, beside], [middle, above], [middle, below],
      [right, above], [left, above], [right, below], [left, below],
    );
  }
  return places.map(([left, top]) => boxAt(left, top, width, 12));
}

// How far a point is from a box; 0 inside.
const distance = (box, { x, y }) => Math.hypot(
  Math.max(box.left - x, 0, x - box.right),
  Math.max(box.top - y, 0, y - box.bottom));

function drawLabel(svg, frame, point, { x, y }, taken) {
  const text = element(svg, "text", {
    class: "label",
    "text-anchor": "middle",
    style: `fill: ${FAMILY_COLORS[point.family]}`,
  }, point.label);
  const width = text.getComputedTextLength() + 2;
  const isFree = (box) => box.left >= frame.left && box.right <= frame.right + 8
    && box.top >= frame.top && box.bottom <= frame.bottom
    && !taken.boxes.some((other) => overlaps(box, other))
    && !taken.lines.some((line) => touches(line, box))
    // Nearer to another dot, it would seem to be that one's.
    && taken.dots.every((dot) => distance(box, dot) >= distance(box, { x, y }));
  const place = listPlaces(x, y, width).find(isFree);
  if (!place) {
    text.remove();
    return;
  }
  taken.boxes.push(place);
  text.setAttribute("x", (place.left + place.right) / 2);
  text.setAttribute("y", place.top + 10);
}
