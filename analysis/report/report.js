"use strict";
// The page's state is its address: #symbol=12&k=5, #find=sky, #by=colour, #list=all. So a view can be kept and sent on.
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const NAMES = ["symbol", "find", "k", "by", "list", "seek"];
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
  showMessages();
}

// Rows are made when they are looked for, and a sheet of pictures is decoded with its first row.
const AT_A_TIME = 50;
const added = {};
let sought = null;
let matching = [];

function showMessages() {
  if (!data.messages || sought === (state.seek ?? "")) return;
  sought = state.seek ?? "";
  const box = element("seek");
  if (box !== document.activeElement) box.value = sought;
  const words = sought.toLowerCase().split(/\s+/).filter(Boolean);
  matching = [...data.messages.rows.keys()].filter((i) => {
    const [file, kind, , said] = data.messages.rows[i];
    const text = `${file} ${kind}`.toLowerCase();
    return words.every((word) => text.includes(word) || (/^\d+$/.test(word) && ` ${said} `.includes(` ${word} `)));
  });
  element("sought").textContent = sought ? `${matching.length} ${matching.length === 1 ? "message" : "messages"}` : "";
  element("rows").replaceChildren();
  addRows();
}

function addRows() {
  const done = element("rows").childElementCount;
  element("rows").append(...matching.slice(done, done + AT_A_TIME).map(row));
  element("more").hidden = element("rows").childElementCount >= matching.length;
}

function row(i) {
  const { rows, sheets, side, per_row: across, at } = data.messages;
  const [file, kind, right, said] = rows[i];
  const line = document.createElement("tr");
  const [picture, name, understood, message] = Array.from({ length: 4 }, () => line.appendChild(document.createElement("td")));
  const sheet = sheets[Math.floor(i / across ** 2)];
  if (sheet) {
    const place = i % across ** 2;
    const thumb = picture.appendChild(document.createElement("i"));
    thumb.className = sheetClass(Math.floor(i / across ** 2));
    thumb.style.backgroundPosition = `-${(place % across) * side}px -${Math.floor(place / across) * side}px`;
  }
  const called = name.appendChild(document.createElement(at ? "a" : "span"));
  called.textContent = file;
  if (at) called.href = `${at.split("/").map((part) => (/^file:$/.test(part) ? part : encodeURIComponent(part))).join("/")}/${file.split("/").map(encodeURIComponent).join("/")}`;
  if (kind) name.appendChild(document.createElement("small")).textContent = ` ${kind}`;
  understood.textContent = right === null ? "" : right ? "yes" : "no";
  for (const symbol of said ? said.split(" ") : []) {
    const link = message.appendChild(document.createElement("a"));
    link.textContent = symbol;
    link.href = `#symbol=${symbol}`;
    link.addEventListener("click", toSymbol);
    message.append(" ");
  }
  return line;
}

function sheetClass(number) {
  const name = `sheet${number}`;
  if (!(number in added)) {
    const style = document.head.appendChild(document.createElement("style"));
    style.textContent = `.${name} { background-image: url("${data.messages.sheets[number]}"); }`;
    added[number] = style;
  }
  return name;
}

function toSymbol(event) {
  const link = event.currentTarget;
  event.preventDefault();
  change({ symbol: link.getAttribute("href").split("=")[1], find: "" });
  if (!link.closest(".gallery")) element("gallery")?.scrollIntoView({ behavior: "smooth" });
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
for (const link of document.querySelectorAll('a[href^="#symbol="]')) link.addEventListener("click", toSymbol);
element("seek")?.addEventListener("input", (event) => change({ seek: event.target.value.trim() }));
element("more")?.addEventListener("click", addRows);
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
