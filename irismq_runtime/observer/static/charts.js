// Lines over the last minutes, drawn on a canvas. A chart is read with the pointer
// or, focused, with the arrow keys; what it shows stands in its legend as text.

import { h } from "./dom.js";
import { clock, rate, seconds, short } from "./format.js";

export const CHARTS = [
  {
    name: "Messages per second",
    show: rate,
    series: [
      ["handled", "handled", "--one"],
      ["told", "stored", "--two"],
      ["asked", "asks", "--three"],
      ["failed", "failed", "--bad"],
    ],
  },
  {
    name: "Messages that wait",
    show: short,
    series: [
      ["waiting", "in brokers", "--two"],
      ["inboxes", "in inboxes", "--one"],
    ],
  },
  {
    name: "Latency of asks",
    show: seconds,
    series: [
      ["p99", "99 %", "--four"],
      ["p50", "half", "--three"],
    ],
  },
];

// Where the cursor stands, as a time; null: at the latest point.
let cursor = null;

export function chart(which, points, span, refresh) {
  const at = cursor === null ? points.length - 1 : nearest(points, cursor);
  const point = points[at];
  const legend = which.series.map(([field, name, colour]) =>
    h("li", { key: field },
      h("span", { class: `swatch ${colour.slice(2)}`, "aria-hidden": "true" }),
      `${name} `,
      h("b", null, point ? which.show(point[field]) : "–")));
  return h("figure", { key: which.name, class: "chart" },
    h("figcaption", null, h("span", null, which.name),
      h("time", { class: "dim" }, cursor !== null && point ? clock(point.time) : "now")),
    h("canvas", {
      tabindex: "0",
      role: "img",
      "aria-label": `${which.name}: ${which.series.map(([field, name]) =>
        `${name} ${point ? which.show(point[field]) : "unknown"}`).join(", ")}. Arrow keys move the cursor.`,
      "data-chart": which.name,
      onpointermove: (event) => { cursor = timeAt(event, span); refresh(); },
      onpointerleave: () => { cursor = null; refresh(); },
      onblur: () => { cursor = null; refresh(); },
      onkeydown: (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step || !points.length) return;
        event.preventDefault();
        const now = Math.max(0, Math.min(points.length - 1, at + step * Math.max(1, Math.round(span / 60))));
        cursor = now === points.length - 1 ? null : points[now].time;
        refresh();
      },
    }),
    h("ul", { class: "legend" }, legend));
}

export function drawCharts(root, points, span) {
  const now = points.length ? points[points.length - 1].time : 0;
  const shown = points.filter((point) => point.time >= now - span);
  for (const canvas of root.querySelectorAll("canvas")) {
    const which = CHARTS.find((each) => each.name === canvas.dataset.chart);
    draw(canvas, which, shown, now, span);
  }
}

const LEFT = 52;
const BELOW = 16;
const ABOVE = 6;

function draw(canvas, which, points, now, span) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width) return;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const top = ceiling(points, which);
  const x = (time) => LEFT + ((time - (now - span)) / span) * (width - LEFT - 2);
  const y = (value) => height - BELOW - (value / top) * (height - BELOW - ABOVE);
  axes(pen, { width, height, top, which, x, y, now, span, line: colour("--line"), ink: colour("--dim"), font: style.fontFamily });
  for (const [field, , name] of [...which.series].reverse()) {
    line(pen, points, field, x, y, colour(name), field === which.series[0][0] ? y(0) : null);
  }
  if (cursor !== null && points.length) {
    const point = points[nearest(points, cursor)];
    pen.strokeStyle = colour("--dim");
    pen.lineWidth = 1;
    pen.setLineDash([2, 3]);
    pen.beginPath();
    pen.moveTo(x(point.time), ABOVE);
    pen.lineTo(x(point.time), height - BELOW);
    pen.stroke();
    pen.setLineDash([]);
  }
}

function axes(pen, { width, height, top, which, x, y, now, span, line: grid, ink, font }) {
  pen.font = `11px ${font}`;
  pen.fillStyle = ink;
  pen.strokeStyle = grid;
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const part of [0, 0.5, 1]) {
    const level = Math.round(y(top * part)) + 0.5;
    pen.beginPath();
    pen.moveTo(LEFT, level);
    pen.lineTo(width, level);
    pen.stroke();
    pen.fillText(part ? which.show(top * part) : "0", LEFT - 6, Math.max(level, 7));
  }
  pen.textBaseline = "alphabetic";
  pen.textAlign = "center";
  const step = [15, 30, 60, 120].find((each) => span / each <= 5) || 120;
  for (let back = step; back < span; back += step) {
    pen.fillText(step < 60 ? `−${back} s` : `−${back / 60} min`, x(now - back), height - 3);
  }
}

function line(pen, points, field, x, y, colour, floor) {
  const parts = [];
  let part = null;
  for (const point of points) {
    const value = point[field];
    if (value === null || value === undefined) part = null;
    else if (part) part.push([x(point.time), y(value)]);
    else parts.push(part = [[x(point.time), y(value)]]);
  }
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  for (const each of parts) {
    pen.beginPath();
    each.forEach(([left, up], i) => (i ? pen.lineTo(left, up) : pen.moveTo(left, up)));
    pen.stroke();
    if (floor === null) continue;
    pen.lineTo(each[each.length - 1][0], floor);
    pen.lineTo(each[0][0], floor);
    pen.globalAlpha = 0.1;
    pen.fillStyle = colour;
    pen.fill();
    pen.globalAlpha = 1;
  }
}

// The next round number above all values.
function ceiling(points, which) {
  let most = 0;
  for (const point of points) for (const [field] of which.series) most = Math.max(most, point[field] || 0);
  if (!most) return which.show === seconds ? 0.01 : 10;
  const size = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((each) => each * size).find((each) => each >= most);
}

function nearest(points, time) {
  let best = 0;
  points.forEach((point, i) => {
    if (Math.abs(point.time - time) < Math.abs(points[best].time - time)) best = i;
  });
  return best;
}

function timeAt(event, span) {
  const box = event.currentTarget.getBoundingClientRect();
  const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - 2);
  return latest() - span * (1 - Math.max(0, Math.min(1, share)));
}

let latestTime = 0;
const latest = () => latestTime;

export function noteTime(time) {
  latestTime = time;
}
