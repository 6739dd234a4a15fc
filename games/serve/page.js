"use strict";
// A page with one question at a time. Everything that comes from files is put in as text, never as markup.
const element = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let about = null;
let answer = null;
let asked = 0;

function made(name, content, className) {
  const node = document.createElement(name);
  if (content !== undefined) node.textContent = content;
  if (className) node.className = className;
  return node;
}

function tell(text, wrong = false) {
  element("state").textContent = text;
  element("state").classList.toggle("wrong", wrong);
}

async function ask(path, options) {
  const turn = ++asked;
  tell("asking ...");
  try {
    const response = await fetch(path, options);
    const found = await response.json();
    if (turn !== asked) return;
    if (!response.ok) return tell(found.error, true);
    tell("");
    answer = found;
    show();
  } catch (error) {
    if (turn === asked) tell("the run does not answer: is it still served in its terminal?", true);
  }
}

function speak(file) {
  if (file) ask("speak", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
}

function meaning(symbol) {
  return answer.concepts[symbol] || "";
}

function show() {
  const patches = answer.patches || [];
  element("answer").hidden = false;
  element("listener").hidden = !answer.picks.length;
  element("picture").querySelector("img").src = answer.picture;
  const map = element("picture").querySelector("svg");
  map.replaceChildren();
  map.setAttribute("viewBox", `0 0 ${about.grid || 1} ${about.grid || 1}`);
  // Of several sizes the smallest come last, to be on top.
  for (const patch of [...patches].sort((a, b) => b.box[2] - a.box[2])) {
    const [row, column, side] = patch.box;
    const cell = document.createElementNS(SVG, "rect");
    for (const [name, value] of Object.entries({ x: column, y: row, width: side, height: side })) cell.setAttribute(name, value);
    cell.setAttribute("class", patch.speaks ? "speaks" : "silent");
    // What several silent patches cover is no darker than what one does.
    if (!patch.speaks) cell.setAttribute("fill-opacity", side > 1 ? 0 : 0.72);
    cell.addEventListener("click", () => tapped(patch));
    map.append(cell);
  }
  const silent = patches.length - patches.filter((patch) => patch.speaks).length;
  element("said").textContent = patches.length
    ? `${patches.length - silent} of ${patches.length} patches speak; the dark ones are silent. Tap one.`
    : "The square that both agents see.";
  element("words").textContent = answer.words?.length ? `In words: ${answer.words.join(", ")}` : "";
  element("words").hidden = !element("words").textContent;
  const counts = new Map();
  for (const symbol of answer.symbols) counts.set(symbol, (counts.get(symbol) || 0) + 1);
  const often = patches.length ? [...counts].sort((a, b) => b[1] - a[1]) : answer.symbols.map((symbol) => [symbol, 1]);
  element("symbols").replaceChildren(...often.map(([symbol, count]) => {
    const item = made("li"), button = made("button", `${symbol}${count > 1 ? ` × ${count}` : ""}`);
    button.type = "button";
    button.dataset.symbol = symbol;
    button.setAttribute("aria-pressed", "false");
    if (meaning(symbol)) button.append(made("small", meaning(symbol)));
    button.addEventListener("click", () => choose(symbol, `Symbol ${symbol}${meaning(symbol) ? `: ${meaning(symbol)}` : ""}.`));
    item.append(button);
    return item;
  }));
  if (!often.length) element("symbols").append(made("li", "Nothing: silence.", "quiet"));
  element("patch").textContent = "";
  showPicks();
}

function choose(symbol, text) {
  element("patch").textContent = text;
  for (const button of element("symbols").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.symbol) === symbol));
  }
  const map = element("picture").querySelector("svg");
  for (const old of map.querySelectorAll(".hit")) old.remove();
  for (const patch of answer.patches || []) {
    if (!patch.speaks || !patch.symbols.includes(symbol)) continue;
    const [row, column, side] = patch.box;
    const frame = document.createElementNS(SVG, "rect");
    const inner = { x: column + 0.03, y: row + 0.03, width: side - 0.06, height: side - 0.06, class: "hit" };
    for (const [name, value] of Object.entries(inner)) frame.setAttribute(name, value);
    map.append(frame);
  }
}

function tapped(patch) {
  const keep = `it speaks with probability ${patch.keep.toFixed(2)}`;
  if (!patch.speaks) return choose(null, `This patch is silent: ${keep}.`);
  const said = patch.symbols.map((symbol) => `${symbol}${meaning(symbol) ? ` (${meaning(symbol)})` : ""}`).join(", ");
  choose(patch.symbols[0], `This patch says ${said}; ${keep}.`);
}

function showPicks() {
  if (!answer.picks.length) return;
  const number = (value) => value.toLocaleString("en");
  element("place").textContent = `Of ${number(answer.among)} images, the message fits this one ${
    answer.place === 1 ? "best" : `in place ${number(answer.place)}`}. The listener would choose:`;
  element("picks").replaceChildren(...answer.picks.map((pick) => {
    const button = made("button", undefined, pick.number === answer.number ? "itself" : "");
    const picture = made("img");
    picture.loading = "lazy";
    picture.src = `picture/${pick.number}.jpg`;
    picture.alt = pick.file;
    button.type = "button";
    button.title = pick.file;
    button.append(picture, made("span", pick.class || pick.file), made("br"), made("small", pick.score.toFixed(2)));
    button.addEventListener("click", () => ask(`held-out/${pick.number}`));
    return button;
  }));
}

element("file").addEventListener("change", (event) => {
  speak(event.target.files[0]);
  event.target.value = "";
});
element("own").addEventListener("click", () => ask(`held-out/${Math.floor(Math.random() * about.images)}`));
addEventListener("paste", (event) => speak([...event.clipboardData.files][0]));
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") speak(event.dataTransfer.files[0]);
  });
}
fetch("run").then((response) => response.json()).then((found) => {
  about = found;
  const place = about.grid ? `${about.grid} x ${about.grid} patches` : `up to ${about.slots} symbols a message`;
  element("run").textContent = `${about.run}: ${about.symbols} symbols, ${place}`;
  document.title = `${about.run}: what does it say?`;
  if (about.given) element("own").textContent = "One of the given images";
  element("own").hidden = !about.images;
}).catch(() => tell("the run does not answer: is it still served in its terminal?", true));
