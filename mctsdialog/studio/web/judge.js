import { ask, askName, byId, el, flush, head, note, onSaved, reviewer, send, store, stored, turnBubble, uuid } from "/static/studio.js";

const KEYS = { pairwise: { a: "A", 1: "A", b: "B", 2: "B", t: "tie", 3: "tie" }, rate: { 1: "1", 2: "2", 3: "3", 4: "4", 5: "5" } };
const SCROLL = { j: true, PageDown: true, k: false, PageUp: false };
const SCALE = { 1: "very poor", 5: "very good" };

let sheets = [];
let items = []; // from the one that is shown on
let total = { done: 0, of: 0 };
let values = {};
let row = 0; // of the criterion that the next key answers

const label = (each) => `${each.kind === "rate" ? "rate" : "compare"} ${each.whole ? "conversations" : "replies"}: ${each.folder.split(/[\\/]/).at(-1)}`;
const sheet = () => sheets[Number(byId("sheet").value)];
const item = () => items[0];

async function load(first) {
  await flush();
  try {
    const got = await ask("/api/judge/items", { sheet: Number(byId("sheet").value), rater: reviewer(), first });
    items = got.items;
    total = got;
    show();
  } catch (error) {
    empty(error.message);
  }
}

function empty(text, more = []) {
  byId("work").hidden = true;
  document.body.classList.remove("reading");
  byId("empty").hidden = false;
  byId("empty").replaceChildren(el("p", {}, text), ...more);
}

function show() {
  byId("count").textContent = `${total.done} of ${total.of} done`;
  byId("progress").style.width = total.of ? `${(100 * total.done) / total.of}%` : "0";
  if (!item()) {
    empty(total.done === total.of ? "All items are filled in. Thank you." : "This is the end of the sheet; some items before are empty.", [
      el("p", { class: "muted" }, "U goes back. Whoever evaluates reads the sheets with:"), el("p", {}, el("code", {}, sheet().command))]);
    return;
  }
  byId("empty").hidden = true;
  byId("work").hidden = false;
  document.body.classList.toggle("reading", sheet().whole);
  values = { ...item().own };
  row = Math.max(0, item().asked.findIndex((name) => !(name in values)));
  if (sheet().whole) conversations();
  else replies();
  questions();
}

function replies() {
  const { history, answers, strategy } = item();
  byId("context").hidden = false;
  byId("context").replaceChildren(bubbles(history));
  byId("context").scrollTop = byId("context").scrollHeight;
  byId("answers").classList.toggle("one", answers.length === 1);
  byId("answers").replaceChildren(...answers.map((text, at) => el("section", { class: "panel reply" },
    el("h2", {}, answers.length === 1 ? "Answer" : `Answer ${"AB"[at]}`, strategy ? el("span", { class: "tag" }, `intended: ${strategy}`) : null),
    el("div", { class: "text", dir: "auto" }, text))));
}

/** Whole conversations side by side, each of which scrolls by itself, or both by keys. */
function conversations() {
  const { about, conversations: said } = item();
  byId("context").hidden = !about;
  byId("context").replaceChildren(el("p", { class: "about", dir: "auto" }, about));
  byId("answers").classList.toggle("one", said.length === 1);
  byId("answers").replaceChildren(...said.map((turns, at) => {
    const title = said.length === 1 ? "Conversation" : `Conversation ${"AB"[at]}`;
    return el("section", { class: "panel reply said", tabindex: "0", "aria-label": title }, el("h2", {}, title), bubbles(turns));
  }));
}

const bubbles = (turns) => el("div", { class: "bubbles" }, turns.map((turn) => turnBubble(...turn)));

function scrollBoth(down) {
  for (const each of document.querySelectorAll(".said")) each.scrollBy(0, (down ? 0.8 : -0.8) * each.clientHeight);
}

function questions() {
  const rows = item().asked.map((name, at) => el("div", { class: `row ${at === row ? "now" : ""}` },
    el("span", { class: "question" }, sheet().criteria[name]),
    el("span", { class: "choice", role: "group", "aria-label": name }, sheet().values.map((value) => el("button", {
      type: "button", "aria-pressed": String(values[name] === value), title: SCALE[value] ?? value,
      onclick: () => { row = at; choose(value); },
    }, value)))));
  byId("actions").replaceChildren(el("div", { class: "criteria grow" }, rows),
    el("button", { type: "button", id: "do-back", onclick: back }, "Back", el("kbd", {}, "U")),
    el("button", { type: "button", id: "do-next", onclick: next }, "Next", el("kbd", {}, "N")));
}

function choose(value) {
  const shown = item();
  if (!shown) return;
  values[shown.asked[row]] = value;
  const was = shown.asked.every((name) => name in shown.own);
  const left = shown.asked.findIndex((name) => !(name in values));
  if (left >= 0) { row = left; questions(); }
  send("/api/judge/answer", { id: uuid(), sheet: Number(byId("sheet").value), rater: reviewer(), item: shown.item, values: { ...values } });
  shown.own = { ...values };
  if (left < 0) {
    if (!was) { total.done += 1; next(); } else { row = Math.min(row + 1, shown.asked.length - 1); questions(); note("Changed. N goes on."); }
  }
}

function next() {
  if (!item()) return;
  const place = item().place;
  items.shift();
  if (items.length || place + 1 >= total.of) show();
  else load(place + 1);
}

function back() {
  const place = item() ? item().place : total.of;
  if (place > 0) load(place - 1);
  else note("This is the first item.");
}

function help() {
  const rows = sheet().kind === "pairwise"
    ? [["A 1", "A is better"], ["B 2", "B is better"], ["T 3", "neither is better"]]
    : [["1 … 5", "from very poor to very good"]];
  if (sheet().whole) rows.push(["J K", "scroll the conversations down and up"]);
  rows.push(["↑ ↓", "another question"], ["N Space", "the next item"], ["U", "the item before"]);
  byId("help-rows").replaceChildren(...rows.map(([keys, what]) => el("tr", {}, el("td", {}, keys.split(" ").map((key) => [el("kbd", {}, key), " "]).flat()), el("td", {}, what))));
  byId("files").textContent = `Items come in an order of your own. What you say goes into a copy of the sheet in ${sheet().folder}. Whoever evaluates reads it with: ${sheet().command}`;
  byId("help").showModal();
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.target.closest?.("input, select, textarea")) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !sheets.length) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.key === " " && event.target.closest?.("button")) return;
  const value = KEYS[sheet().kind][key];
  if (value !== undefined) choose(value);
  else if (key === "n" || key === " ") next();
  else if (key === "u") back();
  else if (key === "?") help();
  else if (sheet().whole && SCROLL[key] !== undefined) scrollBoth(SCROLL[key]);
  else if ((key === "ArrowDown" || key === "ArrowUp") && item()) {
    row = Math.max(0, Math.min(item().asked.length - 1, row + (key === "ArrowDown" ? 1 : -1)));
    questions();
  } else return;
  event.preventDefault();
});

async function begin() {
  head().catch((error) => empty(error.message));
  while (!reviewer()) await askName();
  try {
    sheets = (await ask("/api/judge/sheets")).sheets;
  } catch (error) {
    empty(error.message);
    return;
  }
  byId("sheet").append(...sheets.map((each, at) => el("option", { value: String(at) }, label(each))));
  const kept = sheets.findIndex((each) => each.folder === stored("sheet", ""));
  if (kept >= 0) byId("sheet").value = String(kept);
  byId("sheet").title = sheet().folder;
  byId("sheet").addEventListener("change", () => { byId("sheet").title = sheet().folder; store("sheet", sheet().folder); load(null); });
  byId("help-open").addEventListener("click", help);
  onSaved(() => { byId("count").textContent = `${total.done} of ${total.of} done`; });
  load(null);
}

begin();
