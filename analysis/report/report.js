"use strict";
// The page's state is its address: #symbol=12&k=5, #find=sky, #by=colour, #list=all. So a view can be kept and sent on.
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const NAMES = ["symbol", "find", "k", "by", "list"];
const AT_FIRST = 24;
let state = {};

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(NAMES.filter((name) => given.get(name)).map((name) => [name, given.get(name)]));
}

function change(changes) {
  state = Object.fromEntries(Object.entries({ ...state, ...changes }).filter(([, value]) => value));
  history.replaceState(null, "", "#" + new URLSearchParams(state));
  show();
}

function show() {
  showGallery();
  showMaps();
  showHeat();
}

function showGallery() {
  const box = element("find");
  if (!box) return;
  const typed = state.symbol ?? state.find ?? "";
  if (box !== document.activeElement) box.value = typed;
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const card of document.querySelectorAll(".gallery article")) {
    const isIt = state.symbol ? card.dataset.symbol === state.symbol : words.every((w) => card.dataset.words.includes(w));
    count += isIt;
    card.hidden = !isIt || (!typed && state.list !== "all" && count > AT_FIRST);
  }
  element("list").hidden = Boolean(typed) || state.list === "all" || count <= AT_FIRST;
  element("found").textContent = typed ? `${count} ${count === 1 ? "symbol" : "symbols"}` : "";
  showMessages(typed, words);
}

function showMessages(typed, words) {
  let count = 0;
  const rows = document.querySelectorAll(".glosses tbody tr");
  for (const row of rows) {
    const isIt = state.symbol
      ? row.dataset.symbols.split(" ").includes(state.symbol)
      : words.every((w) => row.dataset.words.split(" ").includes(w));
    count += isIt;
    row.hidden = !isIt || (!typed && state.list !== "all" && count > AT_FIRST);
  }
  if (rows.length) element("found-messages").textContent = typed ? `${count} of ${rows.length} messages` : "";
}

// A box is a row, a column and a side, in patches of the smallest size.
function squares(boxes) {
  return boxes.map(([row, column, side]) => `M${column} ${row}h${side}v${side}h-${side}z`).join("");
}

function covers([row, column, side], y, x) {
  return row <= y && y < row + side && column <= x && x < column + side;
}

function uncovered(boxes, rows, columns) {
  const bare = new Set(Array(rows * columns).keys());
  for (const [row, column, side] of boxes) {
    for (let y = row; y < row + side; y++) for (let x = column; x < column + side; x++) bare.delete(y * columns + x);
  }
  return [...bare].map((place) => [Math.floor(place / columns), place % columns, 1]);
}

function showMaps() {
  if (!data.maps) return;
  const { rows, columns, boxes, per_patch: each } = data.maps;
  const patches = boxes.length;
  const ranked = element("k") !== null;
  const k = ranked && state.k !== undefined ? Math.min(Math.max(Number.parseInt(state.k, 10) || 0, 0), patches) : null;
  for (const figure of document.querySelectorAll("[data-map]")) {
    const map = data.maps.images[figure.dataset.map];
    const bright = k === null
      ? [...map.said].flatMap((said, p) => (said === "1" ? [p] : []))
      : map.order.slice(0, k);
    const hits = [...map.said].flatMap((said, p) =>
      said === "1" && state.symbol && map.symbols.slice(p * each, (p + 1) * each).includes(Number(state.symbol)) ? [p] : []);
    figure.querySelector(".veil").setAttribute("d", squares(uncovered(bright.map((p) => boxes[p]), rows, columns)));
    figure.querySelector(".hit").setAttribute("d", squares(hits.map((p) => boxes[p])));
    figure.dataset.bright = bright.length;
    figure.classList.toggle("miss", Boolean(state.symbol) && hits.length === 0);
  }
  if (ranked) {
    if (k !== null) element("k").value = k;
    element("shown").textContent = k === null ? "as they spoke" : `${k} of ${patches} patches`;
    element("as-said").hidden = k === null;
  }
  const chips = document.querySelector(`.gallery article[data-symbol="${Number(state.symbol)}"] .chips b`);
  element("said").textContent = state.symbol
    ? `Symbol ${state.symbol}${chips ? " (" + chips.textContent + ")" : ""} is outlined` : "";
  element("all").hidden = !state.symbol;
}

function showHeat() {
  const choice = element("by");
  if (!choice) return;
  if (state.by) choice.value = state.by;
  for (const table of document.querySelectorAll(".heat")) table.hidden = table.dataset.by !== choice.value;
}

function tapped(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const { columns, rows, boxes, per_patch: each } = data.maps;
  const column = Math.min(Math.floor(((event.clientX - box.left) / box.width) * columns), columns - 1);
  const row = Math.min(Math.floor(((event.clientY - box.top) / box.height) * rows), rows - 1);
  const map = data.maps.images[event.currentTarget.parentElement.dataset.map];
  const patch = boxes.findIndex((b, p) => map.said[p] === "1" && covers(b, Math.max(row, 0), Math.max(column, 0)));
  if (patch >= 0) change({ symbol: String(map.symbols[patch * each]), find: "" });
  else change({ symbol: "", find: "" });
}

element("find")?.addEventListener("input", (event) => {
  const typed = event.target.value.trim();
  change(/^\d+$/.test(typed) ? { symbol: typed, find: "" } : { symbol: "", find: typed });
});
element("k")?.addEventListener("input", (event) => change({ k: event.target.value }));
element("as-said")?.addEventListener("click", () => change({ k: "" }));
element("all")?.addEventListener("click", () => change({ symbol: "", find: "" }));
element("list")?.addEventListener("click", () => change({ list: "all" }));
element("by")?.addEventListener("change", (event) => change({ by: event.target.value }));
for (const map of document.querySelectorAll(".map")) map.addEventListener("click", tapped);
for (const link of document.querySelectorAll('a[href^="#symbol="]')) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    change({ symbol: link.getAttribute("href").split("=")[1], find: "" });
    if (!link.closest(".gallery")) element("gallery")?.scrollIntoView({ behavior: "smooth" });
  });
}
addEventListener("hashchange", () => {
  // A link to a section is no state: what was chosen stays.
  if (!location.hash.includes("=")) return;
  state = read();
  show();
});
// On paper nothing can be opened.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
state = read();
show();
