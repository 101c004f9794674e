import { ask, byId, el, head, note, store, stored } from "/static/studio.js";

const COLUMNS = [
  ["id", "Dialogue", (row) => el("a", { href: `/tree?run=${run()}&stem=${encodeURIComponent(row.stem)}` }, row.id)],
  ["state", "State", (row) => row.state],
  ["steps", "Steps"], ["iterations", "Iterations"], ["nodes", "Nodes"], ["ends", "Ends"],
  ["best", "Best path", (row) => (row.best === null || row.best === undefined ? "–" : row.best.toFixed(2))],
  ["closed", "Closed"],
  ["seconds", "Seconds", (row) => (row.seconds ? row.seconds.toFixed(0) : "–")],
];
const SAVED = ["iterations", "nodes", "ends", "best", "closed", "seconds"]; // known of a tree that was saved
const MOST = 500;

let runs = [];
const rows = new Map();
let order = stored("order", { by: "state", down: true });

const run = () => Number(byId("run").value || 0);
const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

function span(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

function fact(name, value) { return el("span", { class: "fact" }, el("span", { class: "muted" }, `${name} `), el("b", { class: "number" }, value)); }

function showState() {
  const now = runs[run()];
  if (!now) return;
  if (now.error) { byId("state").textContent = now.error; return; }
  const progress = now.progress;
  byId("state").textContent = now.stopping ? "stopping …" : now.running ? "running" : now.stop_reason ? `ended: ${now.stop_reason}` : "not running";
  byId("stop").hidden = !now.running;
  byId("stop").disabled = now.stopping;
  const done = progress ? progress.done + progress.skipped + progress.failed : now.finished;
  const total = progress?.total || 0;
  byId("progress").style.width = total ? `${(100 * done) / total}%` : "0";
  const cost = now.cost, tokens = cost.prompt_tokens + cost.completion_tokens;
  byId("facts").replaceChildren(...[
    fact("Trees", total ? `${number(done)} of ${number(total)}` : number(now.finished)),
    progress ? fact("Open", number(progress.open)) : null,
    progress?.failed ? fact("Failed", number(progress.failed)) : null,
    now.running ? fact("Calls/s", now.calls_per_second.toFixed(1)) : null,
    now.seconds_left ? fact("Left", span(now.seconds_left)) : null,
    fact("Calls", number(cost.calls)), fact("Tokens", number(tokens)),
    cost.money ? fact("Cost", cost.money.toFixed(4)) : null,
    ...now.cost_by.map((part) => fact(`${part.role ?? "other"}, ${part.model}`, `${number(part.calls)} calls${part.money ? `, ${part.money.toFixed(4)}` : ""}`)),
  ].filter(Boolean));
  byId("warnings").replaceChildren(
    ...now.warnings.map((text) => el("p", { class: "warning" }, el("b", {}, "Warning: "), text)),
    ...(now.bad_lines ? [el("p", { class: "warning" }, `${now.bad_lines} lines of the index cannot be read.`)] : []),
    ...now.failures.slice(0, 20).map((each) => el("p", { class: "error" }, `${each.id}: ${each.error}`)));
}

function showRows() {
  const text = byId("find").value.trim().toLowerCase();
  const column = order.by;
  const mine = [...rows.values()].filter((row) => row.run === run() && (!text || String(row.id).toLowerCase().includes(text)));
  const value = (row) => row[column] ?? (typeof row[column] === "string" ? "" : -Infinity);
  mine.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    const by = typeof x === "string" || typeof y === "string" ? String(x).localeCompare(String(y), "en", { numeric: true }) : x - y;
    return (order.down ? -by : by) || String(a.id).localeCompare(String(b.id), "en", { numeric: true });
  });
  byId("rows").replaceChildren(...mine.slice(0, MOST).map((row) => el("tr", {}, COLUMNS.map(([name, , show]) =>
    el("td", { class: ["id", "state"].includes(name) ? name : "number" }, row.state === "searching" && SAVED.includes(name) ? "–" : show ? show(row) : number(row[name]))))));
  byId("more").textContent = mine.length > MOST ? `… and ${number(mine.length - MOST)} more: find them by name` : mine.length ? "" : "There are no trees yet.";
}

function heads() {
  byId("heads").replaceChildren(...COLUMNS.map(([name, title]) => el("th", {
    scope: "col", class: ["id", "state"].includes(name) ? "" : "number",
    "aria-sort": order.by === name ? (order.down ? "descending" : "ascending") : "none",
  }, el("button", { type: "button", onclick: () => {
    order = { by: name, down: order.by === name ? !order.down : !["id", "state"].includes(name) };
    store("order", order);
    heads();
    showRows();
  } }, `${title}${order.by === name ? (order.down ? " ↓" : " ↑") : ""}`))));
}

function take(news) {
  runs = news.runs;
  if (byId("run").options.length !== runs.length) {
    const kept = byId("run").value || new URLSearchParams(location.search).get("run") || "0";
    byId("run").replaceChildren(...runs.map((each, at) => el("option", { value: String(at) }, each.folder)));
    byId("run").value = Number(kept) < runs.length ? kept : "0";
  }
  for (const row of news.rows) rows.set(`${row.run} ${row.stem}`, row);
  showState();
  if (news.rows.length) showRows();
}

head().catch(() => {});
heads();
byId("run").addEventListener("change", () => { showState(); showRows(); });
byId("find").addEventListener("input", showRows);
byId("stop").addEventListener("click", async () => {
  try {
    await ask("/api/runs/stop", { run: run() });
    note("The run stops; everything so far is kept.");
  } catch (error) {
    note(error.message);
  }
});
const source = new EventSource("/api/runs/events");
source.addEventListener("message", (event) => take(JSON.parse(event.data)));
source.addEventListener("error", () => { byId("state").textContent = "The studio does not answer."; });
showRows();
