// @ts-check
// The fleet map: one cell a card, one world pixel a cell drawn off screen and scaled, so that
// 100,000 cards cost one drawImage. Topology comes as JSON once, states as byte planes every few seconds.
"use strict";

/** @typedef {{id: string, first: number, count: number, cluster: number}} Node */

const STATES = ["used", "allocated_idle", "unallocated_idle", "fragmented", "faulty", "isolated", "unknown"];
const COLORS = ["#56a0e0", "#ffcf4d", "#c6d0da", "#fe907e", "#d7301f", "#4b1d73", "#6b737c"];
const OWNERS = ["#56a0e0", "#e8894a", "#5aae61", "#b07aa1", "#edc948", "#4b9c9c", "#d37295", "#9c755f", "#86bcb6", "#8cd17d"];
const UNKNOWN = 255;
const HEADER_BYTES = 24;
const POLL_MS = 5000;

const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("map"));
const words = JSON.parse(document.getElementById("words").textContent || "{}");
const tip = /** @type {HTMLElement} */ (document.getElementById("tip"));
const live = /** @type {HTMLElement} */ (document.getElementById("live"));
const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
const world = document.createElement("canvas");

let topology = null;
/** @type {Node[]} */ let nodes = [];
let planes = null;
let columns = 1, rows = 1; // of the world, in cells
let cellX = new Uint32Array(0), cellY = new Uint32Array(0);
let at = new Int32Array(0); // world cell -> card number, -1 for none
let labels = [];
let view = { x: 0, y: 0, scale: 8 };
let chosen = -1;
const hidden = new Set();
let colorBy = "state";

function rgb(hex) {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}
const STATE_RGB = COLORS.map(rgb);
const OWNER_RGB = OWNERS.map(rgb);

const HEAD_ROWS = 2; // a cluster's name and the first nodes' names

/** Blocks per line that let the cells be largest in this window. */
function bestPerLine(width, height, blockWidth) {
  const deep = Math.max(1, ...nodes.map((node) => Math.ceil(node.count / 8)));
  const sizes = topology.clusters.map((_, c) => nodes.filter((node) => node.cluster === c).length);
  let best = 1, bestScale = 0;
  for (let perLine = 1; perLine <= Math.max(1, ...sizes); perLine++) {
    const lines = sizes.reduce((sum, n) => sum + HEAD_ROWS + Math.ceil(n / perLine) * (deep + 1), 0);
    const scale = Math.min((width - 24) / (perLine * blockWidth - 1), (height - 24) / lines);
    if (scale > bestScale) { best = perLine; bestScale = scale; }
  }
  return best;
}

/** Cells: a node is a block at most 8 wide, blocks stand side by side under their cluster's name. */
function arrange() {
  const width = Math.max(300, canvas.clientWidth);
  const height = Math.max(200, canvas.clientHeight);
  const cards = topology.cards.length;
  const blockWidth = 9;
  const perLine = bestPerLine(width, height, blockWidth);
  let y = 0, maxX = 1;
  labels = [];
  cellX = new Uint32Array(cards);
  cellY = new Uint32Array(cards);
  topology.clusters.forEach((cluster, c) => {
    labels.push({ text: cluster, x: 0, y: y + 0.9, big: true });
    y += HEAD_ROWS;
    let column = 0, line = 1;
    nodes.forEach((node) => {
      if (node.cluster !== c) return;
      if (column === perLine) { y += line + 1; column = 0; line = 1; }
      const deep = Math.ceil(node.count / 8);
      line = Math.max(line, deep);
      for (let i = 0; i < node.count; i++) {
        cellX[node.first + i] = column * blockWidth + (i % 8);
        cellY[node.first + i] = y + (i >> 3);
      }
      labels.push({ text: node.id, x: column * blockWidth, y: y - 0.15, big: false });
      maxX = Math.max(maxX, column * blockWidth + 8);
      column++;
    });
    y += line + 0.5;
    y = Math.ceil(y);
  });
  columns = maxX;
  rows = Math.max(1, y);
  at = new Int32Array(columns * rows).fill(-1);
  for (let i = 0; i < cards; i++) at[cellY[i] * columns + cellX[i]] = i;
  world.width = columns;
  world.height = rows;
  view.scale = Math.max(1, Math.min(28, (width - 24) / columns, (height - 24) / rows));
  view.x = 12;
  view.y = 12;
}

/** The colour of a card as [r, g, b]. */
function color(i) {
  const state = planes.state[i];
  if (colorBy === "state") return STATE_RGB[state] || STATE_RGB[6];
  if (state === 6) return STATE_RGB[6];
  if (colorBy === "owner") {
    const owner = planes.owner[i];
    return owner === UNKNOWN ? STATE_RGB[2] : OWNER_RGB[owner % OWNER_RGB.length];
  }
  const value = (colorBy === "memory" ? planes.memory : planes.utilization)[i];
  if (value === UNKNOWN) return STATE_RGB[6];
  return shade(value);
}

/** Pale to blue: more is darker. percent: 0 to 100. */
function shade(percent) {
  const t = percent / 100;
  return [Math.round(232 - 204 * t), Math.round(238 - 140 * t), Math.round(244 - 68 * t)];
}

function paintWorld() {
  const brush = /** @type {CanvasRenderingContext2D} */ (world.getContext("2d"));
  const image = brush.createImageData(columns, rows);
  const bytes = image.data;
  for (let i = 0; i < cellX.length; i++) {
    if (hidden.has(planes.state[i])) continue;
    const [r, g, b] = color(i);
    const p = (cellY[i] * columns + cellX[i]) * 4;
    bytes[p] = r; bytes[p + 1] = g; bytes[p + 2] = b; bytes[p + 3] = 255;
  }
  brush.putImageData(image, 0, 0);
}

function draw() {
  if (!topology || !planes) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  pen.imageSmoothingEnabled = false;
  const { x, y, scale } = view;
  pen.drawImage(world, x, y, columns * scale, rows * scale);
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), paper = style.getPropertyValue("--paper");
  if (scale >= 5) { // gaps between cells
    pen.strokeStyle = paper;
    pen.lineWidth = Math.min(2, scale / 8);
    pen.beginPath();
    for (let i = 0; i < cellX.length; i++) {
      const left = x + cellX[i] * scale, top = y + cellY[i] * scale;
      if (left > canvas.clientWidth || top > canvas.clientHeight || left < -scale || top < -scale) continue;
      pen.rect(left, top, scale, scale);
    }
    pen.stroke();
  }
  if (scale >= 9) glyphs(x, y, scale);
  pen.fillStyle = ink;
  pen.textBaseline = "alphabetic";
  for (const label of labels) {
    if (!label.big && scale < 11) continue;
    const size = label.big ? Math.max(12, Math.min(18, scale * 1.1)) : Math.min(11, scale * 0.62);
    pen.font = `${label.big ? 600 : 400} ${size}px ${style.fontFamily}`;
    const top = y + label.y * scale;
    const room = label.big ? columns * scale : 8 * scale;
    if (top < -20 || top > canvas.clientHeight + 20) continue;
    pen.fillText(shorten(label.text, room), x + label.x * scale, top);
  }
  if (chosen >= 0) {
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    pen.strokeRect(x + cellX[chosen] * scale, y + cellY[chosen] * scale, scale, scale);
  }
}

/** Faulty and isolated also carry a shape, so that colour is never alone. Drawn as paths: fonts lack them. */
function glyphs(x, y, scale) {
  pen.lineWidth = Math.max(1.5, scale / 9);
  pen.strokeStyle = "#ffffff";
  pen.beginPath();
  for (let i = 0; i < cellX.length; i++) {
    const state = planes.state[i];
    if ((state !== 4 && state !== 5) || hidden.has(state)) continue;
    const left = x + cellX[i] * scale, top = y + cellY[i] * scale, a = scale * 0.3, b = scale * 0.7;
    if (left > canvas.clientWidth || top > canvas.clientHeight || left < -scale || top < -scale) continue;
    if (state === 4) {
      pen.moveTo(left + a, top + a); pen.lineTo(left + b, top + b);
      pen.moveTo(left + b, top + a); pen.lineTo(left + a, top + b);
    } else {
      pen.moveTo(left + a, top + scale / 2); pen.lineTo(left + b, top + scale / 2);
    }
  }
  pen.stroke();
}

function shorten(text, room) {
  if (pen.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && pen.measureText(text.slice(0, end) + "…").width > room) end--;
  return end > 1 ? text.slice(0, end) + "…" : "";
}

function nodeOf(card) {
  let low = 0, high = nodes.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (nodes[middle].first <= card) low = middle; else high = middle - 1;
  }
  return nodes[low];
}

/** A department by its name; past the first 254 that a plane can tell apart, only that somebody holds it. */
function ownerName(owner) {
  const id = topology.owners[owner];
  return id === undefined ? words.somebody : words.departments[id] || id;
}

const key = /** @type {HTMLElement} */ (document.getElementById("key"));

/** What the colours mean, where they are not the states': departments by how many cards they hold, or a scale. */
function explain() {
  key.hidden = colorBy === "state";
  if (key.hidden || !topology || !planes) return;
  const parts = [];
  if (colorBy === "owner") {
    const held = new Map();
    for (const owner of planes.owner) held.set(owner, (held.get(owner) || 0) + 1);
    const owners = [...held.keys()].filter((owner) => owner !== UNKNOWN).sort((a, b) => held.get(b) - held.get(a));
    for (const owner of owners.slice(0, OWNERS.length)) parts.push([OWNER_RGB[owner % OWNERS.length], ownerName(owner), held.get(owner)]);
    if (owners.length > OWNERS.length) parts.push([null, `+${owners.length - OWNERS.length}`, ""]);
    parts.push([STATE_RGB[2], words.nobody, held.get(UNKNOWN) || 0]);
  } else {
    for (const percent of [0, 25, 50, 75, 100]) parts.push([shade(percent), `${percent} %`, ""]);
    parts.push([STATE_RGB[6], words.not_known, ""]);
  }
  key.replaceChildren(...parts.map(([color, text, many]) => {
    const part = document.createElement("span");
    part.className = "legend";
    if (color) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.setProperty("background", `rgb(${color.join(" ")})`);
      part.append(swatch);
    }
    part.append(text);
    if (many !== "") {
      const number = document.createElement("b");
      number.textContent = many.toLocaleString();
      part.append(number);
    }
    return part;
  }));
}

function describe(card) {
  const node = nodeOf(card);
  const [id, model, index] = topology.cards[card];
  const percent = (v) => (v === UNKNOWN ? words.not_known : `${v} %`);
  const owner = planes.owner[card];
  return [
    `${node.id} / ${index === null ? id : index} · ${topology.models[model]}`,
    words.states[STATES[planes.state[card]]],
    `${words.utilization} ${percent(planes.utilization[card])} · ${words.memory} ${percent(planes.memory[card])}`,
    owner === UNKNOWN ? words.nobody : ownerName(owner),
  ];
}

function hit(event) {
  const box = canvas.getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left - view.x) / view.scale);
  const row = Math.floor((event.clientY - box.top - view.y) / view.scale);
  if (column < 0 || row < 0 || column >= columns || row >= rows) return -1;
  return at[row * columns + column];
}

function showTip(card, clientX, clientY) {
  if (card < 0 || !planes) { tip.hidden = true; return; }
  tip.replaceChildren(...describe(card).map((line) => {
    const part = document.createElement("div");
    part.textContent = line;
    return part;
  }));
  tip.hidden = false;
  const box = canvas.getBoundingClientRect();
  const left = Math.min(clientX - box.left + 14, box.width - tip.offsetWidth - 4);
  const top = Math.min(clientY - box.top + 14, box.height - tip.offsetHeight - 4);
  tip.style.setProperty("translate", `${Math.max(0, left)}px ${Math.max(0, top)}px`);
}

function open(card) {
  if (card >= 0) window.location.assign("/card/" + encodeURIComponent(topology.cards[card][0]));
}

function zoom(factor, centerX, centerY) {
  const next = Math.max(0.5, Math.min(64, view.scale * factor));
  view.x = centerX - ((centerX - view.x) * next) / view.scale;
  view.y = centerY - ((centerY - view.y) * next) / view.scale;
  view.scale = next;
  draw();
}

let drag = null;
canvas.addEventListener("pointerdown", (e) => {
  drag = { x: e.clientX, y: e.clientY, moved: false };
  canvas.setPointerCapture(e.pointerId);
});
canvas.addEventListener("pointermove", (e) => {
  if (drag) {
    if (Math.abs(e.clientX - drag.x) + Math.abs(e.clientY - drag.y) > 3) drag.moved = true;
    if (drag.moved) {
      view.x += e.clientX - drag.x;
      view.y += e.clientY - drag.y;
      drag.x = e.clientX;
      drag.y = e.clientY;
      tip.hidden = true;
      draw();
      return;
    }
  }
  showTip(hit(e), e.clientX, e.clientY);
});
canvas.addEventListener("pointerup", (e) => {
  if (drag && !drag.moved) open(hit(e));
  drag = null;
});
canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  const box = canvas.getBoundingClientRect();
  zoom(e.deltaY < 0 ? 1.2 : 1 / 1.2, e.clientX - box.left, e.clientY - box.top);
}, { passive: false });
canvas.addEventListener("keydown", (e) => {
  if (!topology || !planes) return;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8 };
  if (e.key in steps) {
    chosen = Math.max(0, Math.min(cellX.length - 1, chosen < 0 ? 0 : chosen + steps[e.key]));
    live.textContent = describe(chosen).join(", ");
    draw();
  } else if (e.key === "Enter") open(chosen);
  else if (e.key === "+" || e.key === "=") zoom(1.3, canvas.clientWidth / 2, canvas.clientHeight / 2);
  else if (e.key === "-") zoom(1 / 1.3, canvas.clientWidth / 2, canvas.clientHeight / 2);
  else if (e.key === "0") { arrange(); paintWorld(); draw(); }
  else return;
  e.preventDefault();
});

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-state]"))) {
  const state = STATES.indexOf(button.dataset.state || "");
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    if (shown) hidden.add(state); else hidden.delete(state);
    paintWorld();
    draw();
  });
}
const choice = /** @type {HTMLSelectElement} */ (document.getElementById("color-by"));
choice.addEventListener("change", () => { colorBy = choice.value; explain(); paintWorld(); draw(); });
document.fonts.ready.then(draw); // a canvas does not wait for a web font by itself
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

function count() {
  const counts = new Array(STATES.length).fill(0);
  for (const state of planes.state) counts[state]++;
  STATES.forEach((state, i) => {
    const place = document.querySelector(`[data-count="${state}"]`);
    if (place) place.textContent = counts[i].toLocaleString();
  });
}

async function loadTopology() {
  const answer = await fetch("/api/v1/fleet");
  if (!answer.ok) throw new Error(String(answer.status));
  topology = await answer.json();
  nodes = topology.nodes.map(([id, first, cards, cluster]) => ({ id, first, count: cards, cluster }));
  arrange();
}

async function loadState() {
  const answer = await fetch("/api/v1/fleet/state");
  if (!answer.ok) throw new Error(String(answer.status));
  const buffer = await answer.arrayBuffer();
  const head = new DataView(buffer);
  const cards = head.getUint32(8, true), version = head.getUint32(12, true);
  if (!topology || version !== topology.version || cards !== topology.cards.length) await loadTopology();
  if (cards !== topology.cards.length) return; // the fleet changed in between: the next look has both
  const plane = (n) => new Uint8Array(buffer, HEADER_BYTES + n * cards, cards);
  planes = { state: plane(0), utilization: plane(1), memory: plane(2), owner: plane(3) };
  const when = new Date(Number(head.getBigUint64(16, true)));
  const age = document.getElementById("age");
  if (age) age.textContent = `${when.toISOString().slice(11, 19)} UTC`; // as every other time of these pages
  count();
  explain();
  paintWorld();
  draw();
  canvas.dataset.painted = String(cards);
}

async function poll() {
  try {
    await loadState();
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
  setTimeout(poll, POLL_MS);
}
poll();
