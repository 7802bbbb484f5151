// @ts-check
// A card's last hour: one chart a series group, drawn by uPlot from the API.
"use strict";

const places = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-series]"));

/** Seconds since the epoch as UTC text, from the hour to ``end`` characters of ISO 8601. */
function clock(seconds, end) {
  return new Date(seconds * 1000).toISOString().slice(11, end);
}

async function chart(place) {
  const keys = (place.dataset.series || "").split(",");
  const labels = (place.dataset.labels || "").split(",");
  const scale = Number(place.dataset.scale || 1);
  const query = new URLSearchParams({ key: keys.join(","), from: place.dataset.from || "", to: place.dataset.to || "" });
  const answer = await fetch(`/api/v1/cards/${encodeURIComponent(place.dataset.card || "")}/series?${query}`);
  if (!answer.ok) { place.textContent = place.dataset.none || ""; return; }
  const body = await answer.json();
  if (!body.time.length) { place.textContent = place.dataset.none || ""; return; }
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim(), line = style.getPropertyValue("--line").trim();
  const strokes = ["#56a0e0", "#e8894a", "#5aae61", "#b07aa1"];
  const data = [body.time, ...keys.map((key) => (body.series[key] || body.time.map(() => null))
    .map((v) => (v === null ? null : v * scale)))];
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const range = place.dataset.max ? [0, Number(place.dataset.max)] : (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1];
  place.replaceChildren();
  // @ts-ignore uPlot is a plain script
  new uPlot({
    width: place.clientWidth,
    height: 190,
    series: [{ label: "UTC", value: (_u, t) => (t === null ? "–" : clock(t, 19)) },
      ...keys.map((key, i) => ({
        label: labels[i] || key, stroke: strokes[i % 4], width: 1.5, spanGaps: false,
        value: (_u, v) => (v === null ? "–" : v.toLocaleString(undefined, { maximumFractionDigits: 1 })),
      }))],
    axes: [{ ...axis, values: (_u, times) => times.map((t) => clock(t, 16)) }, { ...axis, size: 60 }],
    scales: { y: { range } },
    cursor: { sync: { key: "card" } },
  }, data, place);
  place.dataset.painted = "1";
}

for (const place of places) chart(place);
