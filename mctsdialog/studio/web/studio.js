// What all pages share. Texts of models and people reach a page as text nodes alone, never as markup.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value === "boolean") made[name] = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Asks the studio. Throws an error with `status`: 0 where nothing answered. */
export async function ask(path, body, patience = 15000) {
  let answer;
  try {
    const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(patience) });
  } catch {
    throw Object.assign(new Error("The studio does not answer."), { status: 0 });
  }
  if (answer.status === 401) {
    throw Object.assign(new Error("This address is no longer valid: open the new one that the studio printed."), { status: 401 });
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(content.error || `Error ${answer.status}`), { status: answer.status });
  return content;
}

export function stored(name, otherwise) {
  try {
    const found = localStorage.getItem(`studio-${name}`);
    return found === null ? otherwise : JSON.parse(found);
  } catch {
    return otherwise;
  }
}

export function store(name, value) {
  localStorage.setItem(`studio-${name}`, JSON.stringify(value));
}

export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
}

let noteTimer = 0;
export function note(text) {
  const place = byId("note");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(noteTimer);
  noteTimer = setTimeout(() => { place.hidden = true; }, 2600);
}

export function turnBubble(speaker, text, strategy) {
  const who = strategy ? `${speaker} · ${strategy}` : speaker;
  return el("div", { class: `turn ${speaker === "supporter" ? "supporter" : "seeker"}`, dir: "auto" }, el("span", { class: "who" }, who), text);
}

/** Opens a dialog with one field; resolves with its text, or null where it is left. */
export function askText(dialog, field, value) {
  field.value = value;
  dialog.showModal();
  field.focus();
  field.select?.();
  return new Promise((resolve) => {
    const form = dialog.querySelector("form");
    let given = null;
    const submit = (event) => { event.preventDefault(); given = field.value.trim(); if (given) dialog.close(); };
    form.addEventListener("submit", submit);
    dialog.addEventListener("close", () => { form.removeEventListener("submit", submit); resolve(given || null); }, { once: true });
  });
}

// -- decisions that wait to be saved: they outlast a restart of the studio, and of the browser ------------------------

let sending = null;
const saved = new EventTarget();
export const onSaved = (listener) => saved.addEventListener("saved", listener);

export function send(path, body) {
  store("outbox", [...stored("outbox", []), { path, body }]);
  return flush();
}

export const waiting = () => stored("outbox", []).length;

export function flush() {
  sending ??= sendAll().finally(() => { sending = null; });
  return sending;
}

async function sendAll() {
  for (let first = stored("outbox", [])[0]; first !== undefined; first = stored("outbox", [])[0]) {
    try {
      await ask(first.path, first.body);
    } catch (error) {
      if (error.status === 0 || error.status === 401 || error.status >= 500) {
        showUnsaved(error.message);
        return;
      }
      store("refused", [...stored("refused", []), { ...first, reason: error.message }]);
    }
    store("outbox", stored("outbox", []).filter((each) => each.body.id !== first.body.id));
    saved.dispatchEvent(new Event("saved"));
  }
  showUnsaved("");
}

/** Another studio may take what this one has no place for: a new page sends it again. */
function sendRefusedAgain() {
  store("outbox", [...stored("refused", []).map(({ path, body }) => ({ path, body })), ...stored("outbox", [])]);
  store("refused", []);
}

function showUnsaved(reason) {
  const place = byId("unsaved");
  const count = waiting();
  const refused = stored("refused", []);
  const many = (number, one, more) => (number === 1 ? `One decision ${one}` : `${number} decisions ${more}`);
  const waits = count && reason ? `${reason} ${many(count, "waits", "wait")} in this browser and will be saved as soon as the studio answers. ` : "";
  const kept = refused.length
    ? `${many(refused.length, "was", "were")} refused: ${refused.at(-1).reason} Kept in this browser, and sent again when a page is opened. `
    : "";
  const discard = el("button", { type: "button", onclick: () => { store("refused", []); showUnsaved(reason); } }, "Discard");
  place.replaceChildren(...[waits, kept].filter(Boolean), ...(kept ? [discard] : []));
  place.hidden = !place.childNodes.length;
}

setInterval(() => { if (waiting()) flush(); }, 2000);
addEventListener("storage", () => { if (byId("unsaved") && !waiting()) showUnsaved(""); }); // another page has sent them

// -- the head of every page -------------------------------------------------------------------------------------------

function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const chosen = stored("theme", dark ? "dark" : "light");
  document.documentElement.dataset.theme = chosen;
  byId("theme").textContent = chosen === "dark" ? "Light" : "Dark";
  document.dispatchEvent(new Event("theme"));
}

export function reviewer() { return stored("reviewer", ""); }

export async function askName() {
  const name = await askText(byId("name-dialog"), byId("name-field"), reviewer());
  if (name) store("reviewer", name);
  byId("who").textContent = reviewer() || "Your name";
  return reviewer();
}

export function head() {
  const links = [["/review", "Review"], ["/judge", "Judge"], ["/runs", "Runs"], ["/chat", "Chat"]];
  const top = el("header", { class: "top" },
    el("h1", {}, el("a", { href: "/" }, "Studio")),
    el("nav", { "aria-label": "Pages" }, links.map(([path, name]) =>
      el("a", { href: path, hidden: true, "data-page": path.slice(1), "aria-current": location.pathname === path ? "page" : null }, name))),
    el("span", { class: "grow" }),
    el("button", { id: "who", type: "button", title: "Who you are" }, reviewer() || "Your name"),
    el("button", { id: "theme", type: "button" }, ""));
  document.body.prepend(top, el("div", { id: "unsaved", class: "unsaved", role: "status", hidden: true }));
  document.body.append(
    el("div", { id: "note", class: "note", role: "status", hidden: true }),
    el("dialog", { id: "name-dialog", "aria-labelledby": "name-title" }, el("form", {},
      el("h2", { id: "name-title" }, "Who reviews?"),
      el("label", {}, "A name or sign; it is written beside every decision", el("br"), el("input", { id: "name-field", maxlength: "60", autocomplete: "off", required: true })),
      el("div", { class: "row" }, el("button", { class: "main" }, "Begin")))));
  byId("theme").addEventListener("click", () => {
    store("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    theme();
  });
  byId("who").addEventListener("click", async () => { const before = reviewer(); if ((await askName()) !== before) location.reload(); });
  theme();
  sendRefusedAgain();
  flush();
  return ask("/api/home").then((home) => {
    for (const link of document.querySelectorAll("[data-page]")) link.hidden = !home.pages.includes(link.dataset.page);
    return home;
  });
}
