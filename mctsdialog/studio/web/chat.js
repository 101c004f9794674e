import { ask, askText, byId, el, head, note, store, stored, turnBubble } from "/static/studio.js";

const PATIENCE = 600000; // milliseconds: a search takes as long as it takes
const MOST_SUGGESTIONS = 9;

let about = { chats: [], strategies: [], trained: false };
let chat = null;
let busy = false;
let suggested = null; // for the turn that comes next

const next = () => (!chat.turns.length || chat.turns.at(-1).speaker === "supporter" ? "seeker" : "supporter");
const by = (speaker) => byId(speaker).value;

/** One request at a time: while a model thinks, nothing else is asked of this chat. */
async function doing(what, path, body) {
  if (busy) return null;
  busy = true;
  byId("error").textContent = "";
  show(what);
  const began = performance.now();
  const clock = setInterval(() => { if (what) byId("state").textContent = `${what} ${Math.round((performance.now() - began) / 1000)} s`; }, 1000);
  try {
    return await ask(path, body, PATIENCE);
  } catch (error) {
    byId("error").textContent = error.message;
    return null;
  } finally {
    clearInterval(clock);
    busy = false;
  }
}

function show(what = "") {
  const has = chat !== null;
  for (const id of ["form", "undo"]) byId(id).hidden = !has;
  byId("state").textContent = what;
  if (!has) {
    byId("turns").replaceChildren();
    byId("about").textContent = "Begin a chat: talk as the seeker, or choose “a person” to answer as the supporter.";
    byId("go-on").hidden = true;
    return;
  }
  byId("about").textContent = [chat.scene, chat.description].filter(Boolean).join(": ");
  byId("turns").replaceChildren(...chat.turns.map((turn) => {
    const bubble = turnBubble(turn.speaker, turn.text, turn.strategy);
    if (turn.weighed.length) bubble.append(el("button", { type: "button", class: "why", onclick: () => weigh(turn.weighed, "Weighed for this turn", false) }, "What was weighed"));
    return bubble;
  }));
  const speaker = next(), person = by(speaker) === "person";
  byId("form").hidden = !person;
  byId("strategy").hidden = speaker !== "supporter";
  byId("text").placeholder = speaker === "seeker" ? "The seeker says …" : "The supporter says …";
  byId("text").setAttribute("aria-label", byId("text").placeholder);
  byId("send").disabled = byId("undo").disabled = busy;
  byId("go-on").hidden = person || busy;
  byId("go-on").textContent = `Let the ${speaker} speak`;
  byId("undo").hidden = !chat.turns.length;
  const last = chat.turns.at(-1);
  if (suggested) weigh(suggested, "Suggestions", true);
  else weigh(last?.weighed ?? [], "Weighed for the last turn", false);
  byId("turns").lastElementChild?.scrollIntoView({ block: "nearest" });
}

function weigh(list, title, pick) {
  byId("weighed-title").textContent = list.length ? title : "Strategies";
  byId("weighed").replaceChildren(...list.slice(0, pick ? MOST_SUGGESTIONS : list.length).map((each, at) => {
    const numbers = `P ${each.prior.toFixed(2)}` + (each.visits ? `  Q ${each.value.toFixed(2)}  N ${each.visits}` : "");
    const content = [
      el("span", { class: "name" }, each.strategy, pick && each.reply !== null ? el("kbd", {}, `Alt ${at + 1}`) : null),
      el("span", { class: "muted number" }, numbers),
      each.reply === null ? null : el("span", { dir: "auto" }, each.reply),
    ];
    return pick && each.reply !== null
      ? el("button", { type: "button", class: "option", onclick: () => take(each) }, content)
      : el("div", { class: "option" }, content);
  }));
}

function take(each) {
  byId("strategy").value = each.strategy;
  byId("text").value = each.reply;
  byId("text").focus();
}

/** Whoever speaks next and is no person speaks; a person who supports gets suggestions. */
async function goOn() {
  if (!chat || busy) return;
  const speaker = next();
  if (speaker === "supporter" && by("supporter") !== "person") {
    const got = await doing(by("supporter") === "plan" ? "The supporter weighs the strategies …" : "The supporter answers …", "/api/chat/reply", { chat: chat.id, by: by("supporter") });
    if (got) chat = got;
    show();
    if (got && by("seeker") !== "person") byId("go-on").focus();
  } else if (speaker === "supporter") {
    const got = await doing("Suggestions are made; you can write meanwhile …", "/api/chat/suggest", { chat: chat.id });
    if (got && next() === "supporter") suggested = got.weighed;
    show();
  } else if (by("seeker") === "model") {
    const got = await doing("The seeker answers …", "/api/chat/seeker", { chat: chat.id });
    if (got) chat = got;
    show();
    if (got) await goOn();
  } else show();
  if (!byId("form").hidden) byId("text").focus();
}

async function say() {
  const text = byId("text").value.trim();
  if (!text || !chat) return;
  if (busy) { note("One moment: the last request is still running."); return; }
  const speaker = next();
  const got = await doing("", "/api/chat/say", { chat: chat.id, speaker, text, strategy: speaker === "supporter" ? byId("strategy").value : null });
  if (got) {
    chat = got;
    suggested = null;
    byId("text").value = "";
    if (chat.turns.length === 1) await refresh();
  }
  show();
  if (got && (next() === "supporter" || by("seeker") === "model")) await goOn();
}

async function choose(id) {
  chat = id ? await ask("/api/chat/one", { chat: id }) : null;
  suggested = null;
  if (chat) store("chat", chat.id);
  byId("chats").value = id || "";
  show();
}

async function refresh() {
  about = await ask("/api/chat/about");
  list();
  byId("chats").value = chat?.id ?? "";
}

function list() {
  byId("chats").replaceChildren(
    el("option", { value: "" }, about.chats.length ? "choose one" : "none yet"),
    ...about.chats.map((each) => el("option", { value: each.id }, `${each.scene || each.id}: ${each.first || "not begun"}`.slice(0, 60))));
}

async function begin() {
  head().catch((error) => { byId("error").textContent = error.message; });
  try {
    about = await ask("/api/chat/about");
  } catch (error) {
    byId("error").textContent = error.message;
    return;
  }
  byId("trained").hidden = byId("trained").disabled = !about.trained;
  byId("strategy").replaceChildren(...about.strategies.map((each) => el("option", { value: each.name, title: each.description }, each.name)));
  byId("files").textContent = `Every turn is kept. A search takes the chats as gold: ${about.command}`;
  const kept = stored("chat-by", {});
  for (const id of ["supporter", "seeker"]) {
    if (kept[id] && (kept[id] !== "trained" || about.trained)) byId(id).value = kept[id];
    byId(id).addEventListener("change", () => { store("chat-by", { supporter: by("supporter"), seeker: by("seeker") }); suggested = null; show(); });
  }
  list();
  byId("chats").addEventListener("change", () => choose(byId("chats").value));
  byId("new").addEventListener("click", async () => {
    const scene = await askText(byId("new-dialog"), byId("new-scene"), "");
    if (!scene) return;
    const made = await ask("/api/chat/new", { scene, description: byId("new-description").value });
    byId("new-description").value = "";
    about = await ask("/api/chat/about");
    list();
    await choose(made.id);
    await goOn();
  });
  byId("form").addEventListener("submit", (event) => { event.preventDefault(); say(); });
  byId("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); say(); }
  });
  byId("go-on").addEventListener("click", goOn);
  byId("undo").addEventListener("click", async () => {
    const got = await doing("", "/api/chat/undo", { chat: chat.id });
    if (got) { chat = got; suggested = null; note("Taken back."); }
    show();
  });
  document.addEventListener("keydown", (event) => {
    const at = event.altKey && /^Digit[1-9]$/.test(event.code) ? Number(event.code.slice(5)) - 1 : -1;
    const each = at >= 0 && suggested ? suggested[at] : null;
    if (each && each.reply !== null) { event.preventDefault(); take(each); }
  });
  const last = stored("chat", "");
  await choose(about.chats.some((each) => each.id === last) ? last : "");
}

begin();
