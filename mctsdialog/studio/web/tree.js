// A tree in the stand-alone viewer's own page. Where the tree grows, a new page is made behind the shown one and takes
// over what its reader has opened, selected and moved; then the two change places.
import { byId, el, head } from "/static/studio.js";

const where = new URLSearchParams(location.search);
const named = `run=${encodeURIComponent(where.get("run") ?? "")}&stem=${encodeURIComponent(where.get("stem") ?? "")}`;
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const theme = () => ({ theme: document.documentElement.dataset.theme });

let shown = null;
let wanted = "";
let drawn = "";
let drawing = false;

async function draw() {
  if (drawing) return;
  drawing = true;
  try {
    while (drawn !== wanted) {
      const version = wanted;
      const frame = el("iframe", { title: "Tree", src: `/api/tree/page?${named}&version=${encodeURIComponent(version)}` });
      byId("stage").append(frame);
      for (let tries = 0; !frame.contentWindow?.viewer?.ready; tries += 1) {
        if (tries > 1500) throw new Error("The tree could not be shown.");
        await wait(20);
      }
      while (shown?.contentWindow.viewer.state().busy) await wait(50);
      frame.contentWindow.viewer.restore({ ...shown?.contentWindow.viewer.state(), ...theme() });
      frame.contentWindow.document.getElementById("theme").hidden = true; // the studio's own button is for both
      const focused = shown !== null && document.activeElement === shown;
      frame.classList.add("shown");
      shown?.remove();
      shown = frame;
      if (focused) frame.contentWindow.document.getElementById("canvas").focus();
      drawn = version;
    }
  } catch (error) {
    byId("state").textContent = error.message;
  } finally {
    drawing = false;
  }
}

document.addEventListener("theme", () => shown?.contentWindow.viewer.restore(theme()));
head().catch(() => {});
byId("back").href = `/runs?run=${encodeURIComponent(where.get("run") ?? "")}`;
const source = new EventSource(`/api/tree/events?${named}`);
source.addEventListener("message", (event) => {
  const news = JSON.parse(event.data);
  const state = { searching: "searching", begun: "begun, and not finished" }[news.state] ?? "finished";
  byId("state").textContent = `${state} · ${news.iterations.toLocaleString("en")} iterations`;
  if (!news.version) { byId("state").textContent = "The search has not begun this tree yet."; return; }
  wanted = news.version;
  draw();
});
source.addEventListener("wrong", (event) => { byId("state").textContent = JSON.parse(event.data); source.close(); });
source.addEventListener("error", () => { byId("state").textContent = "There is no such tree, or the studio does not answer."; });
