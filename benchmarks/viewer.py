"""How quick the HTML viewer is: trees of several sizes in headless Chromium.

Prints, as a Markdown table, the size of the file, the time from the start of navigation to the first drawn frame (the
median over fresh pages), and while the whole tree is panned the time between frames and the time spent drawing one.
Two layouts are panned: the view that the page opens with, and everything unfolded and fitted to the window.
Run: python benchmarks/viewer.py [--out FILE] [--runs N] [--sizes N ...]
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import common
from playwright.sync_api import sync_playwright

import mctsdialog
from mctsdialog.export import save_html

FRAMES = 60

PAN = """async (frames) => {
    const canvas = document.getElementById("canvas"), gaps = [], draws = [];
    canvas.setPointerCapture = () => {};
    const send = (type, x) => canvas.dispatchEvent(
        new PointerEvent(type, { pointerId: 1, clientX: x, clientY: 300, button: 0, bubbles: true }));
    const frame = () => new Promise(requestAnimationFrame);
    send("pointerdown", 300);
    let before = await frame();
    for (let i = 1; i <= frames; i++) {
        send("pointermove", 300 + 60 * Math.sin(i / 6) + (i % 2 ? 5 : -5));
        const now = await frame();
        gaps.push(now - before);
        before = now;
        draws.push(viewer.drawMs);
    }
    send("pointerup", 300);
    return [gaps, draws];
}"""


def grow(size, seed=0):
    """A tree of at least that many nodes in the shape of a search: eight strategies, one to three of them tried."""
    domain, generator = mctsdialog.get_domain("esc"), random.Random(seed)
    names = domain.strategies.names
    tree = mctsdialog.Tree(mctsdialog.Scenario(id=f"benchmark-{size}"), domain, [mctsdialog.Turn("seeker", "Hello.")])
    leaves = [0]
    while len(tree) < size:
        parent = leaves.pop(min(int(generator.expovariate(0.05)), len(leaves) - 1))
        scores = {name: float(generator.randrange(11)) for name in names}
        children = list(tree.expand(parent, scores, {name: generator.random() / 4 for name in names}))
        for child in generator.sample(children, generator.choice([1, 2, 2, 3])):
            ends = len(leaves) > 5 and generator.random() < 0.1
            said = f"That sounds hard, and it makes sense that it stays with you. What would help most now? ({child})"
            node = tree.speak(child, said, None if ends else f"I am not sure yet, I have to think about it. ({child})")
            node.visits, node.value = 1, generator.uniform(-3.0, 1.0)
            if not ends:
                leaves.append(child)
    for node in reversed(list(tree)):
        if node.parent >= 0 and node.visits:
            parent = tree[node.parent]
            parent.value = (parent.visits * parent.value + node.visits * node.value) / (parent.visits + node.visits)
            parent.visits += node.visits
    return tree


def until(page, expression):
    for _ in range(3_000):
        if page.evaluate(expression):
            return
        time.sleep(0.01)
    raise SystemExit(f"never true: {expression}")


def opened(browser, file):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(file.as_uri())
    until(page, "window.viewer && window.viewer.ready")
    return page


def pan(page):
    gaps, draws = page.evaluate(PAN, FRAMES)
    return {"frame": statistics.median(gaps), "worst_frame": max(gaps), "draw": statistics.median(draws)}


def measure(browser, file, runs):
    ready = []
    for run in range(runs):
        page = opened(browser, file)
        ready.append(page.evaluate("viewer.readyMs"))
        if run < runs - 1:
            page.close()
    row = {"nodes": page.evaluate("viewer.nodeCount"), "kilobytes": file.stat().st_size / 1e3}
    row |= {"ready": statistics.median(ready), "ready_runs": ready, **pan(page)}
    page.set_checked("#unexpanded", True)
    page.click("#expand-all")
    time.sleep(0.5)
    assert page.evaluate("viewer.visibleCount") == row["nodes"]
    row |= {f"all_{name}": figure for name, figure in pan(page).items()}
    page.close()
    return row


COLUMNS = {
    "nodes": ("nodes", ",d"),
    "file, kB": ("kilobytes", ",.0f"),
    "interactive, ms": ("ready", ".0f"),
    "pan: frame, ms": ("frame", ".1f"),
    "pan: draw, ms": ("draw", ".1f"),
    "all unfolded: frame, ms": ("all_frame", ".1f"),
    "all unfolded: draw, ms": ("all_draw", ".1f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--runs", type=int, default=5, help="fresh pages of each size; the median counts")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 5_000, 20_000])
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("this needs Chromium")
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        version = browser.version
        opened(browser, save_html(grow(50), Path(folder) / "warm.html")).close()
        for size in arguments.sizes:
            file = save_html(grow(size), Path(folder) / f"{size}.html")
            rows += [measure(browser, file, arguments.runs)]
        browser.close()
    print(common.table(rows, COLUMNS))
    print(
        f"\nChromium {version}, headless, 1440 x 900; medians. 'all' is the whole tree unfolded, fitted to the window."
    )
    common.write(arguments.out, rows=rows, chromium=version)


if __name__ == "__main__":
    main()
