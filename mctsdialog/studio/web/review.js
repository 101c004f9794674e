import { ask, askName, askText, byId, el, flush, head, note, onSaved, reviewer, send, store, stored, turnBubble, uuid, waiting } from "/static/studio.js";

const ACTIONS = [
  ["left", ["a", "1", "ArrowLeft"], "A", () => (blind() ? "Left is better" : "Accept"), () => decide("left")],
  ["right", ["s", "2", "ArrowRight"], "S", () => (blind() ? "Right is better" : "Swap"), () => decide("right")],
  ["tie", ["t", "3"], "T", () => "Tie", () => decide("tie")],
  ["reject", ["x", "4"], "X", () => "Neither", () => decide("reject")],
  ["edit", ["e"], "E", () => (editing ? "Done" : "Edit"), () => (editing ? endEdit(true) : beginEdit())],
  ["flag", ["f"], "F", () => "Flag", () => flag()],
  ["next", ["n", " "], "N", () => "Next", () => skip()],
  ["undo", ["u", "z"], "U", () => "Undo", () => undo()],
];
const HELP = {
  left: "The left reply is better. Unless the order is blind, left is the one that the search chose: accept it",
  right: "The right reply is better: swap the pair",
  tie: "Neither is better; the pair is left out",
  reject: "Neither should be used; the pair is left out",
  edit: "Change the words of both, then decide. Ctrl+Enter ends editing, Esc drops the changes",
  flag: "Somebody should look into it; asks for the reason",
  next: "Look at the next one; this one comes again later",
  undo: "Take the last decision back",
};
const SAID = { left: "Accepted", right: "Swapped", tie: "A tie", reject: "Neither", flag: "Flagged" };

const EVERY = 4000; // milliseconds until it is asked anew whether there are more pairs
const READY = 3; // pairs held ready, so that the next one is there at once
const TWICE = 300; // milliseconds in which the same key again is no decision about the next pair
const DRAFTS = 50; // pairs whose edited words the browser keeps
const VERDICTS = { accept: "accept", swap: "swap", tie: "tie", reject: "neither", flag: "flag" };

let cards = [];
let after = -1;
let began = 0;
let last = ""; // decision
let editing = false;
let edits = [null, null];
let count = { left: 0, of: 0 };
let state = { report: { reviewers: {} } };
let fetching = null;
let stale = false;
let generation = 0;
let undoing = false;

const unsent = () => stored("outbox", []).map((each) => each.body.key).filter(Boolean);
const blind = () => byId("blind").checked;
const current = () => cards[0];
const number = (id) => (byId(id).value === "" || Number.isNaN(byId(id).valueAsNumber) ? null : byId(id).valueAsNumber);

function filters() {
  return {
    shown: byId("shown").value,
    strategy: byId("strategy").value || null,
    confidence: [number("confidence-least"), number("confidence-most")].map((percent) => (percent === null ? null : percent / 100)),
    margin: [number("margin-least"), number("margin-most")],
  };
}

/** Fills the queue and counts anew; one request at a time, so that no pair comes twice. */
function fill() {
  stale = true;
  fetching ??= (async () => {
    while (stale) {
      stale = false;
      await more();
    }
  })().finally(() => { fetching = null; });
  return fetching;
}

async function more() {
  const of = generation;
  try {
    const got = await ask("/api/review/queue", {
      reviewer: reviewer(), filters: filters(), have: [...cards.map((each) => each.key), ...unsent()].slice(0, 500),
      count: Math.max(0, READY - cards.length), after, blind: blind(),
    });
    if (of !== generation) return;
    const have = new Set(cards.map((each) => each.key));
    const fresh = got.cards.filter((each) => !have.has(each.key));
    if (fresh.length) after = fresh.at(-1).index;
    const wasEmpty = !cards.length;
    cards.push(...fresh);
    count = got;
    if (wasEmpty) show(true); else figures();
    if (state.pairs !== undefined && got.pairs !== state.pairs) await refresh(); // a search has finished more trees
  } catch (error) {
    if (!cards.length) empty(error.message);
  }
}

async function restart() {
  generation += 1;
  store("filters", { ...filters(), blind: blind() });
  cards = [];
  after = -1;
  if (fetching) await fetching;
  cards = [];
  await fill();
  if (!cards.length) show(true);
}

function empty(message) {
  byId("work").hidden = true;
  byId("empty").hidden = false;
  byId("empty").replaceChildren(
    el("p", {}, message), el("button", { type: "button", onclick: undo }, "Take the last decision back ", el("kbd", {}, "U")));
}

/** Shows the first pair; without one says so, where it is known that no more come. */
function show(known = false) {
  const card = current();
  figures();
  if (!card && !known) { empty("One moment …"); return; }
  if (!card) {
    const kind = byId("shown").value;
    const others = kind === "open" && count.left > 0;
    empty(others ? "Others have the last pairs in front of them." : kind === "open" ? "Nothing is left to review with these filters." : "No pair is here with these filters.");
    return;
  }
  byId("empty").hidden = true;
  byId("work").hidden = false;
  began = performance.now();
  editing = false;
  const draft = stored("drafts", []).find((each) => each.of === draftOf(card));
  edits = draft?.edits ?? (card.own ? [...card.own.edits] : [null, null]);
  const about = [card.scene, card.description].filter(Boolean).join(": ");
  const context = byId("context");
  context.replaceChildren(
    about ? el("p", { class: "about", dir: "auto" }, about) : "",
    el("div", { class: "bubbles" }, card.history.map((turn) => turnBubble(...turn))));
  context.scrollTop = context.scrollHeight;
  const own = byId("own");
  const mine = card.own ? `You decided: ${label(card)}${card.own.reason ? ` (${card.own.reason})` : ""}.` : "";
  own.textContent = `${mine}${others(card)}`.trim();
  own.hidden = !own.textContent;
  replies();
  actions();
  if (draft?.open) beginEdit(draft.open);
  if (scrollY > 0) scrollTo(0, 0);
}

const label = ({ blind: isBlind, own: { answer } }) =>
  isBlind ? { left: "left is better", right: "right is better" }[answer] ?? VERDICTS[answer] : VERDICTS[{ left: "accept", right: "swap" }[answer] ?? answer];
const others = (card) =>
  (card.others || []).map((each) => ` ${each.reviewer}: ${VERDICTS[each.verdict]}${each.reason ? ` (${each.reason})` : ""}.`).join("");

// Words that were edited outlast a reload, another pair in between, and an undo.
const draftOf = (card) => `${card.key}${card.blind ? " blind" : ""}`;

function keepDraft(openTexts = null) {
  const of = draftOf(current());
  const rest = stored("drafts", []).filter((each) => each.of !== of);
  const made = openTexts || edits.some((text) => text !== null) ? [{ of, edits, open: openTexts }] : [];
  store("drafts", [...rest, ...made].slice(-DRAFTS));
}

function replies() {
  const card = current();
  ["left", "right"].forEach((side, at) => {
    const reply = card.replies[at];
    const tags = [el("span", {}, card.blind ? (at ? "Right" : "Left") : at ? "Rejected" : "Chosen"), el("span", { class: "tag" }, reply.strategy)];
    if (!card.blind) {
      if (reply.value !== null) tags.push(el("span", { class: "muted number" }, `Q ${reply.value.toFixed(2)}  N ${reply.visits}`));
      if (!at && card.confidence !== null) tags.push(el("span", { class: "tag number" }, `confidence ${Math.round(100 * card.confidence)} %`));
      if (!at && card.margin !== null) tags.push(el("span", { class: "tag number" }, `margin ${card.margin.toFixed(2)}`));
      if (!at && card.gold) tags.push(el("span", { class: "tag" }, "gold"));
    }
    if (edits[at] !== null) tags.push(el("span", { class: "tag good" }, "edited"));
    const text = edits[at] ?? reply.text;
    const body = editing
      ? el("textarea", { id: `edit-${side}`, maxlength: "20000", "aria-label": `${side} reply`, dir: "auto" })
      : el("div", { class: "text", dir: "auto" }, text);
    if (editing) {
      body.value = text;
      body.addEventListener("input", () => keepDraft(["left", "right"].map((each) => byId(`edit-${each}`).value)));
    }
    byId(`reply-${side}`).replaceChildren(el("h2", {}, tags), body);
    byId(`reply-${side}`).classList.toggle("picked", Boolean(card.own && card.own.answer === side));
  });
}

function actions() {
  byId("actions").replaceChildren(...ACTIONS.map(([name, , key, text, act]) =>
    el("button", { type: "button", id: `do-${name}`, class: name === "left" ? "main" : "", title: HELP[name], onclick: act }, text(), el("kbd", {}, editing && name === "edit" ? "Ctrl ↵" : key))),
  editing ? el("button", { type: "button", id: "do-cancel", title: "Drop the changes", onclick: () => endEdit(false) }, "Cancel", el("kbd", {}, "Esc")) : "");
}

function figures() {
  const done = Math.min(count.of, count.of - count.left + unsent().length);
  const open = byId("shown").value === "open";
  byId("figures-open").textContent = open ? `${done.toLocaleString("en")} of ${count.of.toLocaleString("en")} done` : `${count.left.toLocaleString("en")} ${count.left === 1 ? "pair" : "pairs"}`;
  byId("progress").style.width = open && count.of ? `${(100 * done) / count.of}%` : "0";
}

/** Takes the pair off the table and shows the next one. */
function turnOver() {
  cards.shift();
  show();
  fill();
}

function decide(answer, reason = null) {
  const card = current();
  if (!card || undoing || (answer === last && performance.now() - began < TWICE)) return;
  if (editing) endEdit(true);
  const [one, two] = card.replies.map((reply, at) => (edits[at] ?? reply.text).trim());
  if (one === two && (answer === "left" || answer === "right")) {
    note("Both replies say the same words: edit one, or press T for a tie.");
    return;
  }
  const text = (at) => (edits[at] !== null && edits[at] !== card.replies[at].text ? edits[at] : null);
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  last = answer;
  send("/api/review/decide", {
    id: uuid(), reviewer: reviewer(), key: card.key, answer, reason, left: text(0), right: text(1), blind: card.blind, seconds,
  });
  note(`${card.blind && answer === "left" ? "Left is better" : card.blind && answer === "right" ? "Right is better" : SAID[answer]}${text(0) || text(1) ? ", edited" : ""}. U takes it back.`);
  turnOver();
}

async function flag() {
  const card = current();
  if (!card) return;
  const reason = await askText(byId("flag-dialog"), byId("flag-field"), card.own?.reason ?? "");
  if (reason && current() === card) decide("flag", reason);
}

function skip() {
  if (!current()) return;
  const only = cards.length === 1;
  const shown = current();
  cards.shift();
  if (only) fill().then(() => { if (!cards.length) { cards = [shown]; show(); note("There is no other pair."); } });
  else { show(); fill(); }
}

async function undo() {
  if (undoing) return;
  undoing = true;
  try {
    await flush();
    if (waiting()) throw new Error("decisions are not saved yet");
    const got = await ask("/api/review/undo", { id: uuid(), reviewer: reviewer(), blind: blind() });
    if (!got.card) { note("There is nothing to take back."); return; }
    cards = [got.card, ...cards.filter((each) => each.key !== got.card.key)];
    show();
    fill();
    note("Taken back.");
  } catch (error) {
    note(`Not taken back: ${error.message}`);
  } finally {
    undoing = false;
  }
}

function beginEdit(texts = null) {
  if (!current()) return;
  editing = true;
  replies();
  actions();
  if (texts) ["left", "right"].forEach((side, at) => { byId(`edit-${side}`).value = texts[at]; });
  const field = byId("edit-left");
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

function endEdit(keep) {
  if (keep) {
    const made = ["left", "right"].map((side, at) => {
      const text = byId(`edit-${side}`).value.trim();
      if (!text) note("A reply must have words: the old ones are back.");
      return text && text !== current().replies[at].text ? text : null;
    });
    edits = made;
  }
  keepDraft();
  editing = false;
  replies();
  actions();
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) {
    if (event.key === "Enter" && !event.shiftKey && event.target === byId("flag-field")) {
      event.preventDefault();
      byId("flag-dialog").querySelector("form").requestSubmit();
    }
    if (event.key === "?") byId("help").close();
    if (event.key === "i") byId("figures").close();
    return;
  }
  if (editing && event.key === "Escape") { event.preventDefault(); endEdit(false); return; }
  if (editing && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); endEdit(true); return; }
  const typing = event.target.closest?.("textarea, select, input:not([type=checkbox])");
  if (typing && (event.key === "Escape" || event.key === "Enter")) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.key === " " && event.target.closest?.("button")) return;
  if (key === "?") { help(); return; }
  if (key === "i") { openFigures(); return; }
  const scrolled = { PageUp: -0.8, PageDown: 0.8, Home: -1e6, End: 1e6 }[event.key];
  if (scrolled) { event.preventDefault(); byId("context").scrollBy(0, scrolled * byId("context").clientHeight); return; }
  const action = ACTIONS.find(([, keys]) => keys.includes(key));
  if (!action || event.repeat) return;
  event.preventDefault();
  action[4]();
});

function help() {
  byId("help-rows").replaceChildren(...ACTIONS.map(([name, keys, , text]) => el("tr", {},
    el("td", {}, keys.map((key) => [el("kbd", {}, { " ": "Space", ArrowLeft: "←", ArrowRight: "→" }[key] ?? key.toUpperCase()), " "]).flat()),
    el("td", {}, text()), el("td", { class: "muted" }, HELP[name]))),
  ...[["PgUp", "PgDn", "Read", "Scroll the conversation"], ["I", "Figures", "How far everybody is"], ["?", "Keys", "This list"]].map((line) =>
    el("tr", {}, el("td", {}, line.slice(0, -2).map((key) => [el("kbd", {}, key), " "]).flat()), el("td", {}, line.at(-2)), el("td", { class: "muted" }, line.at(-1)))));
  byId("help").showModal();
  byId("help").scrollTop = 0;
}

async function openFigures() {
  await refresh();
  const report = state.report;
  const row = (name, value) => el("tr", {}, el("td", { class: "muted" }, name), el("td", { class: "number" }, String(value)));
  const share = (value) => (value === null ? "–" : value.toFixed(2));
  byId("figures-body").replaceChildren(
    el("table", {}, el("tbody", {},
      row("Pairs", state.pairs.toLocaleString("en")), row("Reviewed", report.pairs), row("Edited", report.edited),
      Object.entries(report.verdicts).map(([name, value]) => row(`Verdict: ${VERDICTS[name] ?? name}`, value)),
      Object.entries(report.reviewers).map(([name, value]) => row(`Decisions of ${name}`, value)),
      row("Reviewed by several", report.twice), row("Kappa", share(report.kappa)), row("Krippendorff's alpha", share(report.alpha)),
      row("Your time for a pair", state.seconds === null ? "–" : `${state.seconds} s`))),
    ...state.unread.map((text) => el("p", { class: "error" }, `A tree cannot be read: ${text}`)),
    el("p", { class: "muted" }, `Decisions are kept in ${state.file}. Apply them: mctsdialog preferences ... --reviews ${state.file}`));
  if (!byId("figures").open) byId("figures").showModal();
}

async function refresh() {
  state = await ask(`/api/review/state?reviewer=${encodeURIComponent(reviewer())}`);
  const kept = byId("strategy").value;
  byId("strategy").replaceChildren(el("option", { value: "" }, "any"), ...state.strategies.map((name) => el("option", { value: name }, name)));
  byId("strategy").value = kept;
  byId("confidence-filter").hidden = !state.has_confidence;
}

async function begin() {
  head().catch((error) => empty(error.message));
  while (!reviewer()) await askName();
  byId("who").textContent = reviewer();
  try {
    await refresh();
  } catch (error) {
    empty(error.message);
    return;
  }
  const known = Object.keys(state.report.reviewers).find((each) => each.toLowerCase() === reviewer().toLowerCase());
  if (known && known !== reviewer()) { // "ana" is no second reviewer beside "Ana"
    store("reviewer", known);
    byId("who").textContent = known;
  }
  const kept = stored("filters", {});
  byId("shown").value = "open";
  byId("blind").checked = Boolean(kept.blind);
  if (state.strategies.includes(kept.strategy)) byId("strategy").value = kept.strategy;
  for (const name of ["confidence", "margin"]) {
    ["least", "most"].forEach((end, at) => { const value = kept[name]?.[at] ?? "";
      byId(`${name}-${end}`).value = value !== "" && name === "confidence" ? Math.round(1e4 * value) / 100 : value;
    });
  }
  let byPointer = false;
  byId("filters").addEventListener("pointerdown", () => { byPointer = true; });
  byId("filters").addEventListener("keydown", () => { byPointer = false; });
  byId("filters").addEventListener("change", (event) => {
    if (byPointer && event.target.tagName === "SELECT") event.target.blur(); // the keys are the pair's again
    restart();
  });
  byId("clear").addEventListener("click", () => {
    for (const each of byId("filters").querySelectorAll(".filter select, .filter input[type=number]")) each.value = "";
    byId("clear").blur();
    restart();
  });
  byId("flag-cancel").addEventListener("click", () => byId("flag-dialog").close());
  addEventListener("resize", () => { byId("context").scrollTop = byId("context").scrollHeight; });
  byId("more-filters").addEventListener("click", () => {
    byId("more-filters").setAttribute("aria-expanded", String(byId("filters").classList.toggle("shown")));
  });
  byId("help-open").addEventListener("click", help);
  byId("figures-open").addEventListener("click", openFigures);
  onSaved(fill);
  setInterval(() => { if (document.visibilityState === "visible") fill(); }, EVERY);
  await fill();
  if (!cards.length && byId("empty").hidden) show(true);
}

begin();
