// What a page does by itself: draws its chart, and tells when it could not be refreshed. Everything
// else is a link or a form, with htmx for the parts that refresh.
"use strict";

const byName = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const place = figure.querySelector(".plot");
  const colours = data.series.map((one) => byName(`--bar-${one.key}`));
  const sums = data.times.map(() => 0);
  const stacked = data.series.map((one) => one.values.map((value, at) => (sums[at] += value)));
  const bars = uPlot.paths.bars({ size: [0.85, 40], radius: 0.15 });
  // The highest is drawn first, and each lower one over it.
  const order = data.series.map((_, index) => index).reverse();
  const size = () => ({ width: Math.max(place.clientWidth, 200), height: 240 });
  const axis = { stroke: byName("--soft"), font: "12px Inter, sans-serif", ticks: { show: false } };
  const grid = { stroke: byName("--line"), width: 1 };
  const chart = new uPlot(
    {
      ...size(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.05, 4)] } },
      axes: [
        { ...axis, grid: { show: false }, values: "{HH}:{mm}", space: 60 },
        { ...axis, grid, size: 56, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en")) },
      ],
      series: [{}, ...order.map((index) => ({ paths: bars, fill: colours[index], width: 0, points: { show: false } }))],
    },
    [data.times, ...order.map((index) => stacked[index])],
    place,
  );
  figure.chart = chart;
  figure.drawn = figure.querySelector("script").textContent;
  new ResizeObserver(() => chart.setSize(size())).observe(place);
}

function redraw(figure) {
  if (figure.drawn === figure.querySelector("script").textContent && figure.querySelector(".uplot")) return;
  figure.chart?.destroy();
  draw(figure);
}

// What is put in place of a part leaves open lists open, and a chart to be redrawn only if it has changed.
if (window.Idiomorph) {
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => name !== "open" || !node.matches("details");
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) => !node.classList?.contains("plot");
}

const drawAll = () => document.querySelectorAll("figure.chart").forEach(redraw);

document.addEventListener("DOMContentLoaded", () => {
  drawAll();
  // On a phone the pages stand in one line: have this one in view.
  const here = document.querySelector(".side [aria-current]");
  if (here) here.closest("nav").scrollLeft = here.offsetLeft - here.closest("nav").clientWidth / 3;
});
document.addEventListener("htmx:afterSettle", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  document.querySelectorAll("figure.chart").forEach((figure) => {
    figure.drawn = "";
  });
  drawAll();
});

// A part that cannot be refreshed says since when it is old, and goes on trying.
const stale = (is) => document.body.classList.toggle("is-stale", is);
document.addEventListener("htmx:responseError", () => stale(true));
document.addEventListener("htmx:sendError", () => stale(true));
document.addEventListener("htmx:afterOnLoad", (event) => stale(!event.detail.successful));

// The workshop: one click replaces a character, or goes to a line.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-replace], [data-line]");
  const text = document.getElementById("creative");
  if (!button || !text) return;
  if (button.dataset.line) {
    const lines = text.value.split("\n");
    const from = lines.slice(0, button.dataset.line - 1).join("\n").length + (button.dataset.line > 1 ? 1 : 0);
    text.focus();
    text.setSelectionRange(from, from + (lines[button.dataset.line - 1] ?? "").length);
    return;
  }
  for (const field of [text, ...document.querySelectorAll('[name^="tag:"]')]) {
    for (const [from, to] of JSON.parse(button.dataset.replace)) field.value = field.value.replaceAll(from, to);
  }
  text.dispatchEvent(new Event("input", { bubbles: true }));
  text.focus();
});
