import { byId, el, head } from "/static/studio.js";

const TEXTS = {
  review: ["Review", (home) => `${home.pairs.toLocaleString("en")} preference pairs: which reply is better?`],
  judge: ["Judge", (home) => `${home.sheets} ${home.sheets === 1 ? "sheet" : "sheets"} to fill in, blind and shuffled.`],
  runs: ["Runs", (home) => `${home.runs} ${home.runs === 1 ? "search" : "searches"}: progress, warnings and trees.`],
  chat: ["Chat", () => "Talk as the seeker, or help the supporter answer."],
};

head().then((home) => {
  byId("cards").append(...home.pages.map((name) =>
    el("a", { class: "panel", href: `/${name}` }, el("h2", {}, TEXTS[name][0]), el("span", { class: "muted" }, TEXTS[name][1](home)))));
}).catch((error) => { byId("error").textContent = error.message; });
