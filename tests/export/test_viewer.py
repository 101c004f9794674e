"""The HTML viewer, in a real browser: no error, no request, the paper's valid paths and pairs, hostile text inert."""

import itertools
import json
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import anyio
import pytest

from mctsdialog._search import SearchConfig, search
from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.errors import ConfigError
from mctsdialog.export import save_html, to_html
from mctsdialog.preferences import PreferenceConfig, tree_record
from mctsdialog.roles import check_roles
from mctsdialog.tree import EndNode, Rollout, RolloutStep, Tree
from mctsdialog.worlds import World

HOSTILE = (
    '<script>alert(1)</script> </script><img src=x onerror="window.hacked=1"> <!-- ]]> <![CDATA[ & &lt; {{data}} '
    '"quoted" \\u003c \u2028 \u2029 \U0001f600 \u202eevil\u202c \u0627\u0644\u0639\u0631\u0628\u064a\u0629 </title>'
)


def dull_tree(domain, size, *, chain=False, deep=False, seed=0):
    """A tree of about that many nodes, without a search; visits and values add up."""
    tree = Tree(Scenario(id=f"dull-{size}", scene="Work"), domain, [Turn("seeker", "I am tired.")])
    generator, names = random.Random(seed), domain.strategies.names
    priors = dict.fromkeys(names, 1 / len(names))
    leaves = [0]
    while len(tree) < size:
        parent = leaves.pop(generator.randrange(len(leaves)) if deep else -1 if chain else 0)
        children = tree.expand(parent, dict.fromkeys(names, 5.0), priors)
        for child in children[:1] if chain else generator.sample(children, generator.randint(1, 3) if deep else 2):
            ends = not chain and bool(leaves) and generator.random() < 0.2
            node = tree.speak(child, f"Supporter says {child}.", None if ends else f"Seeker says {child}.")
            node.visits, node.value = 1, generator.choice([-1.0, 0.25, 0.5, 0.75, 1.0])
            if not ends:
                leaves.append(child)
    if chain:
        tree.speak(tree.expand(leaves[0], {}, priors)[0], "The last word.", None)
    for node in reversed(list(tree)):
        if node.parent >= 0 and node.visits:
            parent = tree[node.parent]
            total = parent.visits * parent.value + node.visits * node.value
            parent.visits += node.visits
            parent.value = total / parent.visits
    return tree


@pytest.fixture(scope="module")
def browser(chromium):
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a tree in the viewer; at the end of the test there must have been no error and no request."""
    contexts, faults, requests = [], [], []

    def opened(tree, *, width=1280, height=800, scheme="light", **settings):
        file = save_html(tree, tmp_path / f"tree-{len(contexts)}.html", **settings)
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}") or dialog.dismiss())
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        until(page, "window.viewer && window.viewer.ready")
        assert requests.pop(0) == file.as_uri()
        return page

    opened.faults, opened.requests = faults, requests
    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    assert requests == []


@pytest.fixture
def searched(hash_roles, gold, domain):
    """A tree that a real search grew from the gold dialogue with roles that answer by hash."""

    def grown(seed=0, iterations=120, **settings):
        roles = hash_roles(domain.strategies.names, seed=seed, end_one_in=3).roles(domain)
        config = SearchConfig(max_iterations=iterations, min_iterations=iterations, c=8.0, **settings)
        with ThreadPoolExecutor(1) as thread:  # playwright's own loop runs in this one
            return thread.submit(anyio.run, lambda: search(gold, roles, config)).result()

    return grown


def until(page, expression):
    """Waits for it to be true; the browser's own waiting evaluates text, which the page's policy forbids."""
    for _ in range(1_000):
        if page.evaluate(expression):
            return
        time.sleep(0.02)
    pytest.fail(f"never true: {expression}")


def click_node(page, node_id):
    place = page.evaluate("id => viewer.position(id)", node_id)
    page.mouse.click(place["x"], place["y"])


def reference(tree, theta, min_visits, path_rule):
    """Equations 5 and 6 by brute force: every end's whole path, then every pair of siblings."""
    ends = []
    for node in tree:
        if isinstance(node, EndNode) and node.visits >= min_visits:
            tested = tree.path(node) if path_rule == "all" else [node]
            if all(each.value >= theta for each in tested):
                ends.append(node.id)
    on = {each.id for end in ends for each in tree.path(tree[end])}
    pairs = [
        [winner, loser.id]
        for winner in sorted(on - {0})
        for loser in tree.children(tree[tree[winner].parent])
        if loser.type in ("expanded", "end") and loser.id not in on and loser.value < theta and loser.visits >= 1
    ]
    return ends, pairs


def judged(page):
    return page.evaluate("[viewer.validEnds, viewer.pairs]")


def test_it_loads_and_shows_the_tree(visit, searched):
    tree = searched()
    page = visit(tree, title="A tree & more")
    assert page.title() == "A tree & more"
    assert page.inner_text("#title") == "A tree & more"
    assert page.evaluate("viewer.nodeCount") == len(tree)
    assert 0 < page.evaluate("viewer.visibleCount") <= len(tree)
    assert page.evaluate("viewer.readyMs") > 0
    assert page.evaluate("viewer.selected") is None
    counts = tree.counts()
    overview = page.inner_text("#panel")
    for number in (len(tree), counts["expanded"], counts["end"], counts["unexpanded"], tree.iterations):
        assert re.search(rf"\b{number:,}\b", overview)
    assert page.evaluate("Object.isFrozen(viewer)")
    colours = page.evaluate("""() => {
        const canvas = document.getElementById("canvas"), seen = new Set();
        const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const pixels = new Uint32Array(image.data.buffer);
        for (const pixel of pixels) seen.add(pixel);
        return seen.size;
    }""")
    assert colours > 50  # something is drawn


def test_a_click_shows_the_conversation_with_scores_and_siblings(visit, searched):
    tree = searched(horizon=2)
    node = next(
        node for node in tree if getattr(node, "rollout", None) and node.rollout.steps and tree.depth(node) >= 2
    )
    page = visit(tree)
    page.evaluate("id => { viewer.select(id); viewer.select(0); }", node.id)  # opens the way down to it
    page.evaluate("id => viewer.select(id)", node.id)
    page.evaluate("viewer.select(0)")
    page.keyboard.press("0")
    page.wait_for_timeout(50)
    click_node(page, node.id)
    assert page.evaluate("viewer.selected") == node.id
    shown = page.inner_text("#panel")
    for turn in tree.history(node):
        assert turn.text in shown
        assert turn.strategy is None or turn.strategy in shown
    assert f"N {node.visits}" in shown
    assert f"P {node.prior:.3f}" in shown
    sign = "−" if node.value < 0 else "+"
    assert f"Q {sign}{abs(node.value):.2f}" in shown
    simulated = page.inner_text(".simulation")
    assert "not part of the tree" in simulated
    for step in node.rollout.steps:
        assert step.supporter in simulated
    own = page.inner_text(".turn.current .scores").split()
    assert own == [part for name, value in zip(tree.domain.criteria, node.rollout.judgements[0], strict=True)
                   for part in (name, f"{value:g}/4")]  # fmt: skip
    cards = page.inner_text(".turn.current .cards")
    for sibling in tree.children(tree.parent(node)):
        if sibling is not node and sibling.type != "unexpanded":
            assert sibling.supporter in cards
            assert sibling.strategy in cards
    assert f"Node {node.id}, {node.strategy}" in page.inner_text("#live")


def test_siblings_of_earlier_turns_unfold(visit, searched):
    tree = searched()
    end = next(node for node in tree if isinstance(node, EndNode) and node.gold)
    page = visit(tree)
    page.evaluate("id => viewer.select(id)", end.id)
    first = page.locator("#panel details").first
    assert first.locator(".card").count() == 0
    first.locator("summary").click()
    tried = [node for node in tree.children(tree.root) if node.type != "unexpanded"]
    first.locator(".card").first.wait_for()
    assert first.locator(".card").count() == len(tried) - 1
    first.locator(".card button").first.click()
    assert page.evaluate("viewer.selected") in [node.id for node in tried]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_valid_paths_and_pairs_are_the_papers(visit, searched, seed):
    tree = searched(seed)
    page = visit(tree, theta=-1.0, min_visits=1)
    found = set()
    values = sorted({node.value for node in tree if node.visits})
    thetas = [-3.0, -1.5, -1.0, -0.75, 0.0, 0.5, 1.0, tree.root.value, *values[:: max(1, len(values) // 6)]]
    for theta in thetas:
        for rule in ("all", "end"):
            for least in (0, 1, 2, 7):
                page.evaluate(
                    """([theta, least, rule]) => {
                        const set = (id, value, event) => {
                            const field = document.getElementById(id);
                            field.value = value;
                            field.dispatchEvent(new Event(event));
                        };
                        set("theta", theta, "input");
                        set("min-visits", least, "input");
                        set("path-rule", rule, "change");
                    }""",
                    [theta, least, rule],
                )
                assert page.evaluate("[viewer.theta, viewer.minVisits, viewer.pathRule]") == [theta, least, rule]
                ends, pairs = reference(tree, theta, least, rule)
                assert judged(page) == [ends, pairs]
                text = page.inner_text("#counts")
                assert (
                    text
                    == f"{len(ends)} valid path{'s' * (len(ends) != 1)}, {len(pairs)} pair{'s' * (len(pairs) != 1)}"
                )
                found.add((len(ends), len(pairs)))
    assert len(found) > 5  # the settings made a difference
    assert any(pairs for _, pairs in found)


def test_a_sibling_that_was_never_visited_is_not_rejected(visit, domain):
    """A search leaves none such; a tree from elsewhere may have one, and its Q of 0 says nothing."""
    tree = Tree(Scenario(), domain, [Turn("seeker", "I am tired.")])
    tree.expand(0, {}, dict.fromkeys(domain.strategies.names, 1 / 3))
    tree.speak(1, "Good night.", None)
    tree.speak(2, "Work on.", None)
    tree.speak(3, "Why?", "I do not know.")
    for node_id, visits, value in ((0, 3, 0.6), (1, 2, 0.75), (2, 0, 0.0), (3, 1, 0.25)):
        tree[node_id].visits, tree[node_id].value = visits, value
    page = visit(tree)
    assert judged(page) == [[1], [[1, 3]]] == list(reference(tree, 0.5, 2, "all"))
    page.evaluate("viewer.select(1)")
    assert page.locator("#panel .card .tag.bad").count() == 1


def test_the_first_settings_are_those_asked_for(visit, searched):
    tree = searched()
    page = visit(tree, theta=-0.25, min_visits=3, path_rule="end")
    assert page.evaluate("[viewer.theta, viewer.minVisits, viewer.pathRule]") == [-0.25, 3, "end"]
    assert page.input_value("#theta") == "-0.25"
    assert judged(page) == list(reference(tree, -0.25, 3, "end"))


def test_the_slider_moves_theta(visit, searched):
    tree = searched()
    page = visit(tree)
    before = page.evaluate("viewer.theta")
    page.focus("#theta-slider")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("viewer.theta") == pytest.approx(before - 0.1)
    box = page.locator("#theta-slider").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
    theta = page.evaluate("viewer.theta")
    assert -3.0 <= theta < -2.0
    assert float(page.input_value("#theta")) == theta
    assert judged(page) == list(reference(tree, theta, 2, "all"))
    assert page.inner_text("#counts") != "0 valid paths, 0 pairs"


def test_a_theta_outside_the_rewards_is_taken_into_them(domain_maker, visit):
    tree = dull_tree(domain_maker(max_score=2), 30)
    page = visit(tree)  # rewards from -3 to -1
    assert page.evaluate("viewer.theta") == -1.0


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"theta": float("nan")}, "theta"), ({"min_visits": -1}, "min_visits"), ({"path_rule": "some"}, "path_rule")],
)
def test_unsound_settings_are_refused(domain, settings, field):
    with pytest.raises(ConfigError) as caught:
        to_html(dull_tree(domain, 10), **settings)
    assert caught.value.field == field


def test_keys_move_and_fold(visit, searched):
    tree = searched()
    page = visit(tree)
    page.focus("#canvas")
    page.keyboard.press("Home")
    assert page.evaluate("viewer.selected") == 0
    page.keyboard.press("ArrowRight")
    child = page.evaluate("viewer.selected")
    assert tree[child].parent == 0
    page.keyboard.press("ArrowDown")
    sibling = page.evaluate("viewer.selected")
    assert tree[sibling].parent == 0
    assert sibling != child
    page.keyboard.press("ArrowUp")
    assert page.evaluate("viewer.selected") == child
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("viewer.selected") == 0
    visible = page.evaluate("viewer.visibleCount")
    page.keyboard.press("Enter")
    assert page.evaluate("viewer.visibleCount") == 1
    assert page.evaluate("viewer.collapsed").count(0) == 1
    assert "collapsed" in page.inner_text("#live")
    page.keyboard.press("Enter")
    assert page.evaluate("viewer.visibleCount") == visible
    scale = page.evaluate("viewer.view.kx")
    page.keyboard.press("+")
    assert page.evaluate("viewer.view.kx") > scale
    page.keyboard.press("-")
    assert page.evaluate("viewer.view.kx") == pytest.approx(scale)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.evaluate("viewer.selected") is None
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "canvas"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_every_control_has_a_name_and_can_be_reached(visit, searched):
    page = visit(searched())
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, select, canvas#canvas, aside")]
        .filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim() ||
            (each.labels && each.labels.length))).map((each) => each.outerHTML)""")
    assert nameless == []
    reached = set()
    page.evaluate("document.body.focus()")
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"search", "theta", "theta-slider", "min-visits", "path-rule", "canvas", "zoom-in", "theme"} <= reached


def test_search_finds_texts_and_strategies(visit, searched):
    tree = searched()
    target = max((node for node in tree if node.type == "expanded" and not node.gold), key=tree.depth)
    page = visit(tree)
    page.fill("#search", target.supporter.upper())
    page.keyboard.press("Enter")
    expected = {node.id for node in tree if target.supporter in json.dumps(_texts(node))}
    assert target.id in expected
    assert set(page.evaluate("viewer.hits")) == expected
    assert page.evaluate("viewer.hit") == page.evaluate("viewer.selected")
    assert page.inner_text("#search-count") == f"1 of {len(expected)}"
    page.fill("#search", "comfort")
    page.keyboard.press("Enter")
    hits = page.evaluate("viewer.hits")
    shows = page.evaluate("viewer.showsUnexpanded")
    spoken = [
        node.id for node in tree if getattr(node, "strategy", "") == "Comfort" and (shows or node.type != "unexpanded")
    ]
    assert set(spoken) <= set(hits)
    assert page.inner_text("#search-count") == f"1 of {len(hits)}"
    page.keyboard.press("Enter")
    assert page.evaluate("viewer.hit") == hits[1]
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    assert page.evaluate("viewer.hit") == hits[-1]
    assert page.evaluate("id => viewer.position(id)", hits[-1]) is not None
    page.fill("#search", "no such text")
    until(page, "document.getElementById('search-count').textContent === 'no hit'")
    assert page.evaluate("viewer.hits") == []
    page.fill("#search", f"#{target.id}")
    page.keyboard.press("Enter")
    assert page.evaluate("viewer.selected") == target.id


def _texts(node):
    texts = [node.supporter or "", node.seeker or ""]
    rollout = getattr(node, "rollout", None)
    return texts + ([step.supporter for step in rollout.steps] if rollout else [])


def test_folding_by_button_and_double_click(visit, searched):
    tree = searched()
    page = visit(tree)
    page.click("#collapse-all")
    spoken = [node for node in tree.children(tree.root) if node.type != "unexpanded"]
    shown = page.evaluate("viewer.showsUnexpanded")
    assert page.evaluate("viewer.visibleCount") == 1 + (len(tree.root.children) if shown else len(spoken))
    parent = next(node for node in spoken if any(child.type != "unexpanded" for child in tree.children(node)))
    assert parent.id in page.evaluate("viewer.collapsed")
    place = page.evaluate("id => viewer.position(id)", parent.id)
    page.mouse.dblclick(place["x"], place["y"])
    assert parent.id not in page.evaluate("viewer.collapsed")
    page.click("#expand-all")
    page.set_checked("#unexpanded", True)
    assert page.evaluate("viewer.visibleCount") == len(tree)
    assert page.evaluate("viewer.collapsed") == []
    page.set_checked("#unexpanded", False)
    assert page.evaluate("viewer.visibleCount") == len(tree) - tree.counts()["unexpanded"]
    assert page.evaluate("id => viewer.position(id)", next(n.id for n in tree if n.type == "unexpanded")) is None


def test_untried_strategies_can_be_looked_at(visit, searched):
    tree = searched()
    node = next(node for node in tree if node.type == "unexpanded")
    page = visit(tree)
    page.set_checked("#unexpanded", True)
    page.evaluate("id => viewer.select(id)", node.id)
    page.wait_for_timeout(50)
    page.evaluate("viewer.select(0)")
    page.evaluate("id => viewer.select(id)", node.id)
    click_node(page, node.id)
    assert page.evaluate("viewer.selected") == node.id
    assert "not tried here" in page.inner_text("#panel")


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_no_two_shown_nodes_lie_on_each_other(visit, searched, domain, seed):
    tree = searched() if seed is None else dull_tree(domain, 300, seed=seed, deep=True)
    page = visit(tree)
    page.click("#expand-all")
    page.set_checked("#unexpanded", True)
    page.keyboard.press("0")
    places = page.evaluate("[...Array(viewer.nodeCount).keys()].map((id) => viewer.position(id))")
    view = page.evaluate("viewer.view")
    columns, rows = {}, {}
    for node in tree:
        height = places[node.id]["y"] / view["ky"]
        if node.type != "unexpanded":
            columns.setdefault(tree.depth(node), []).append((height, 17.0))
        else:
            rows[node.parent] = (tree.depth(node), height)
    for depth, height in rows.values():
        columns[depth] = [*columns.get(depth, []), (height, 11.5)]
    for column in columns.values():
        column.sort()
        for (above, half), (below, other_half) in itertools.pairwise(column):
            assert below - above > half + other_half - 0.1
    assert len({(round(place["x"], 3), round(place["y"], 3)) for place in places}) == len(tree)


def test_pan_and_zoom_by_mouse(visit, searched):
    page = visit(searched())
    before = page.evaluate("viewer.position(0)")
    page.mouse.move(600, 300)
    page.mouse.down()
    page.mouse.move(640, 320, steps=4)
    page.mouse.up()
    after = page.evaluate("viewer.position(0)")
    assert (after["x"] - before["x"], after["y"] - before["y"]) == (pytest.approx(40), pytest.approx(20))
    assert page.evaluate("viewer.selected") is None
    scale = page.evaluate("viewer.view.kx")
    page.mouse.move(after["x"], after["y"])
    page.mouse.wheel(0, 200)
    until(page, f"viewer.view.kx < {scale}")
    kept = page.evaluate("viewer.position(0)")
    assert (kept["x"], kept["y"]) == (pytest.approx(after["x"], abs=2), pytest.approx(after["y"], abs=2))


def test_pinching_zooms(visit, searched):
    page = visit(searched())
    scale = page.evaluate("viewer.view.kx")
    page.evaluate("""() => {
        const canvas = document.getElementById("canvas");
        canvas.setPointerCapture = () => {};
        const send = (type, pointerId, clientX) => canvas.dispatchEvent(
            new PointerEvent(type, { pointerId, clientX, clientY: 300, pointerType: "touch", button: 0 }));
        send("pointerdown", 1, 300); send("pointerdown", 2, 400);
        send("pointermove", 1, 280); send("pointermove", 2, 420);
        send("pointermove", 1, 200); send("pointermove", 2, 500);
        send("pointerup", 1, 200); send("pointerup", 2, 500);
    }""")
    assert page.evaluate("viewer.view.kx") > scale * 1.2
    assert page.evaluate("viewer.selected") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(visit, searched, scheme):
    page = visit(searched(), scheme=scheme)
    ground = "getComputedStyle(document.body).backgroundColor"
    first = page.evaluate(ground)
    assert page.evaluate("viewer.theme") == scheme
    page.evaluate("viewer.select(1)")
    for _ in range(2):
        poor = page.evaluate(CONTRAST)
        assert poor == []
        page.click("#theme")
    assert page.evaluate("viewer.theme") == scheme
    assert page.evaluate(ground) == first
    page.click("#theme")
    assert page.evaluate(ground) != first


CONTRAST = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const luminance = (c) => 0.2126 * light(c[0]) + 0.7152 * light(c[1]) + 0.0722 * light(c[2]);
    const ground = (each) => {
        for (; each; each = each.parentElement) {
            const colour = parts(getComputedStyle(each).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const each of document.querySelectorAll("body *")) {
        const own = [...each.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!own || !each.checkVisibility() || each.disabled) continue;
        if (["SCRIPT", "STYLE", "OPTION"].includes(each.tagName)) continue;
        const [a, b] = [luminance(parts(getComputedStyle(each).color)), luminance(ground(each))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(each.outerHTML.slice(0, 90));
    }
    return poor;
}"""


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844), (1920, 1080)])
def test_it_opens_with_a_tree_that_fits_the_window(visit, searched, width, height):
    page = visit(searched(), width=width, height=height)
    box = page.locator("#canvas").bounding_box()
    places = [each for each in page.evaluate("[...Array(viewer.nodeCount).keys()].map(viewer.position)") if each]
    assert len(places) > 3
    for place in places:
        assert box["x"] <= place["x"] <= box["x"] + box["width"] - 100  # room for a name
        assert box["y"] <= place["y"] <= box["y"] + box["height"]
    assert page.evaluate("viewer.view.kx") == 1


def test_the_address_names_the_selected_node(visit, searched):
    page = visit(searched())
    page.evaluate("viewer.select(2)")
    assert page.evaluate("location.hash") == "#2"
    page.keyboard.press("Escape")
    page.evaluate("viewer.select(2)")
    page.reload()
    until(page, "window.viewer && window.viewer.ready")
    visit.requests.clear()
    assert page.evaluate("viewer.selected") == 2
    for wrong in ("#99999999", "#x", "#-1", "#<img src=x onerror=alert(1)>"):
        page.evaluate("wrong => { location.hash = wrong; }", wrong)
    until(page, "viewer.selected === 2")


def test_hovering_shows_both_turns(visit, searched):
    tree = searched()
    page = visit(tree)
    node = next(node for node in tree.children(0) if node.type == "expanded" and node.visits)
    place = page.evaluate("id => viewer.position(id)", node.id)
    page.mouse.move(place["x"], place["y"])
    shown = page.inner_text("#tip")
    assert node.supporter in shown
    assert node.seeker in shown


def test_why_the_search_stopped_is_said_in_words(visit, searched):
    assert "stopped after 120 iterations" in visit(searched()).inner_text("#panel")


@pytest.mark.parametrize("width", [900, 500])
def test_narrow_windows(visit, searched, width):
    page = visit(searched(), width=width, height=800)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sheet = page.locator(".sheet").bounding_box()
    assert sheet["width"] >= 300
    assert sheet["height"] >= 200
    page.evaluate("viewer.select(1)")
    panel = page.locator("#panel").bounding_box()
    assert panel["x"] + panel["width"] <= width + 1
    assert page.locator("#panel").is_visible()


@pytest.fixture
def hostile_tree(domain_maker):
    domain = domain_maker(names=("<b>Ask</b>", "</script><script>alert(2)</script>", "Plan"))
    tree = Tree(Scenario(id=HOSTILE, scene=HOSTILE, description=HOSTILE), domain, [Turn("seeker", HOSTILE)])
    tree.expand(0, {}, dict.fromkeys(domain.strategies.names, 1 / 3))
    node = tree.speak(1, HOSTILE, HOSTILE)
    node.visits, node.value = 2, 0.75
    node.rollout = Rollout((RolloutStep("</script>", HOSTILE, HOSTILE),), ((1.0,) * 4, (2.0,) * 4), 0.75)
    other = tree.speak(2, "lone \ud800 surrogate \x00\x07", None)
    other.visits, other.value = 2, -1.0
    tree.root.visits, tree.root.value = 4, -0.125
    tree.stop_reason = HOSTILE
    return tree


def test_hostile_text_stays_text(visit, hostile_tree):
    page = visit(hostile_tree, scheme="dark")
    assert page.title() == HOSTILE
    assert page.evaluate("document.getElementById('title').textContent") == HOSTILE
    page.evaluate("viewer.select(1)")
    bubbles = page.evaluate("[...document.querySelectorAll('.bubble')].map((each) => each.textContent)")
    assert bubbles.count(HOSTILE) == 5  # the root's, the node's two, the simulation's two
    page.evaluate("viewer.select(2)")
    assert "lone \ufffd surrogate \x00\x07" in page.evaluate("document.getElementById('panel').textContent")
    page.fill("#search", "<img src=x")
    page.keyboard.press("Enter")
    assert page.evaluate("viewer.hits") == [0, 1]
    place = page.evaluate("viewer.position(1)")
    page.mouse.move(place["x"], place["y"])
    assert page.locator("#tip").is_visible()
    assert page.evaluate("[document.images.length, document.scripts.length, typeof window.hacked]") == [
        0,
        2,
        "undefined",
    ]


def test_the_page_forbids_all_but_its_own_script(hostile_tree):
    page = to_html(hostile_tree)
    assert page.encode("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert page.lower().count("<script") == 2
    assert page.lower().count("</script") == 2
    assert "<!--" not in page
    assert "http:" not in page.split("<script", 1)[0]
    assert "https:" not in page


def test_injected_markup_cannot_run(visit, domain):
    """The policy, not only the escaping: what is put into the page by hand does not run."""
    page = visit(dull_tree(domain, 20))
    blocked = page.evaluate("""() => new Promise((done) => {
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        document.body.append(script);
    })""")
    assert blocked.startswith("script-src")
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert len(visit.faults) == 1
    assert "Content Security Policy" in visit.faults.pop()  # the browser reports the block, as it should


def test_five_thousand_nodes(visit, domain_maker):
    tree = dull_tree(domain_maker(names=tuple("ABCDEFGH")), 5_000)
    page = visit(tree, theta=-1.0, min_visits=1)
    assert page.evaluate("viewer.nodeCount") == len(tree) >= 5_000
    assert page.evaluate("viewer.readyMs") < 10_000
    assert judged(page) == list(reference(tree, -1.0, 1, "all"))
    page.set_checked("#unexpanded", True)
    page.click("#expand-all")
    assert page.evaluate("viewer.visibleCount") == len(tree)
    spent = page.evaluate("""() => {
        const field = document.getElementById("theta"), began = performance.now();
        for (const theta of [-2, -1.5, -1, -0.5, 0]) { field.value = theta; field.dispatchEvent(new Event("input")); }
        return (performance.now() - began) / 5;
    }""")
    assert spent < 1_000
    page.wait_for_timeout(100)
    assert page.evaluate("viewer.drawMs") < 1_000
    deepest = max(tree, key=lambda node: (tree.depth(node), node.type != "unexpanded"))
    page.evaluate("id => viewer.select(id)", deepest.id)
    place = page.evaluate("id => viewer.position(id)", deepest.id)
    box = page.locator("#canvas").bounding_box()
    assert box["x"] < place["x"] < box["x"] + box["width"]
    assert box["y"] < place["y"] < box["y"] + box["height"]


def test_a_chain_of_ten_thousand(visit, domain_maker):
    tree = dull_tree(domain_maker(names=("Only",)), 10_000, chain=True)
    page = visit(tree, theta=-3.0, min_visits=0)
    end = len(tree) - 1
    assert page.evaluate("viewer.validEnds") == [end]
    page.click("#expand-all")
    assert page.evaluate("viewer.visibleCount") == len(tree)
    page.evaluate("id => viewer.select(id)", end)
    assert "The last word." in page.inner_text("#panel")
    assert page.locator("#panel .turn").count() < 200
    page.get_by_role("button", name="Show earlier turns").click()
    assert page.locator("#panel .turn.supporter").count() == 120
    heights = page.evaluate("[0, 5000, 9999].map((id) => viewer.position(id).y)")
    assert max(heights) - min(heights) < 1


def test_a_root_alone(visit, domain):
    page = visit(Tree(Scenario(), domain, [Turn("supporter", "Hello."), Turn("seeker", "Hi.")]))
    assert page.title() == "Conversation tree"
    click_node(page, 0)
    assert "Hello." in page.inner_text("#panel")
    assert page.evaluate("viewer.visibleCount") == 1


def test_the_json_is_compact(domain_maker):
    tree = dull_tree(domain_maker(names=tuple("ABCDEFGH")), 5_000)
    first = next(node for node in tree if node.supporter)
    page = to_html(tree)
    texts = sum(len(node.supporter) + len(node.seeker or "") for node in tree if node.supporter)
    overhead = len(page) - len(to_html(dull_tree(domain_maker(names=tuple("ABCDEFGH")), 1))) - texts
    assert overhead / len(tree) < 40  # bytes a node
    assert page.count(f'"{tree[first.id].supporter}"') == 1


def test_a_config_that_makes_no_sense_does_no_harm(visit, domain):
    tree = dull_tree(domain, 20)
    tree.config = {"bias": "much", "max_iterations": None}
    page = visit(tree)
    assert page.evaluate("viewer.theta") == 0.5


class Form:
    """A judge that fills in the form."""

    def __init__(self, criteria):
        self.criteria = criteria

    async def judge(self, history):
        return {name: 4 - place for place, name in enumerate(self.criteria)}


def test_warnings_of_the_health_check_stand_first_and_are_text(visit, hash_roles, gold, domain_maker):
    hostile = "<img src=x onerror=window.hacked=1> </script>"
    domain = domain_maker(("Ask", "Comfort", hostile, "Plan"))
    functions = hash_roles(domain.strategies.names, end_one_in=3)
    functions.strategist = lambda history: {
        name: 9 if name == hostile else len(history) % 5 for name in functions.names
    }
    roles = replace(functions.roles(domain), judge=Form(domain.criteria))
    with ThreadPoolExecutor(1) as thread:  # playwright's own loop runs in this one
        tree = thread.submit(anyio.run, lambda: search(gold, roles, SearchConfig(max_iterations=60, c=8.0))).result()
    warnings = check_roles(tree).warnings
    assert len(warnings) == 2
    assert hostile in warnings[1]
    page = visit(tree)
    shown = [each.inner_text() for each in page.query_selector_all("#panel .warning")]
    assert shown == [f"Warning: {warning}" for warning in warnings]
    assert page.query_selector_all("#panel img") == []
    assert page.evaluate("window.hacked === undefined")


def test_without_warnings_there_is_no_place_for_them(visit, searched):
    assert visit(searched()).query_selector_all("#panel .warning") == []


def test_where_a_search_believes_something_the_pairs_are_those_that_a_dataset_keeps(visit):
    world, few = World(7), []
    for number in range(3):
        config = SearchConfig(algorithm="calibrated", max_iterations=60)
        with ThreadPoolExecutor(1) as thread:
            tree = thread.submit(
                anyio.run, partial(search, world.dialogue(world.scenario(number)), world.roles(), config)
            ).result()
        page, record = visit(tree), tree_record(tree)
        assert sorted(map(tuple, page.evaluate("viewer.pairs"))) == sorted(record.pairs)
        assert f"{len(record.pairs)} pair" in page.inner_text("#counts")
        loose = tree_record(tree, PreferenceConfig(min_confidence=0.0))
        few.append(len(record.pairs) < len(loose.pairs))
        assert f"mean Q {tree.best_path().value:+.2f}".replace("-", "\N{MINUS SIGN}") in page.inner_text("#panel")
    assert any(few)


def test_closed_nodes_are_marked_and_on_no_path_and_in_no_pair(visit, searched):
    tree = searched()
    page = visit(tree, theta=-3.0, min_visits=0)
    ends, pairs = page.evaluate("viewer.validEnds"), page.evaluate("viewer.pairs")
    assert "Closed" not in page.inner_text("#panel")
    untried = next(node.id for node in tree if node.type == "unexpanded")
    tree.close(ends[0], HOSTILE[:150])
    tree.close(untried, "supporter: refusal")
    page = visit(tree, theta=-3.0, min_visits=0)
    assert page.evaluate("viewer.validEnds") == ends[1:]
    assert all(ends[0] not in pair for pair in page.evaluate("viewer.pairs"))
    assert len(pairs) >= len(page.evaluate("viewer.pairs"))
    assert f"#{untried}, supporter: refusal" in page.inner_text("#panel")
    page.evaluate(f"viewer.select({ends[0]})")
    assert "closed: <script>alert(1)</script>" in page.inner_text("#panel")
    page.evaluate(f"viewer.select({untried})")
    assert "Refused for good, so the branch is closed: supporter: refusal." in page.inner_text("#panel")
    if page.evaluate("viewer.showsUnexpanded"):
        page.locator("#unexpanded").uncheck()
    assert page.evaluate(f"viewer.position({untried})") is not None, "it was tried, so it is always shown"
    page.fill("#search", "supporter: refusal")
    until(page, f"viewer.hits.includes({untried})")


def test_a_closed_root_alone(visit, domain):
    tree = Tree(Scenario(id="t"), domain, [Turn("seeker", "I am tired.")])
    tree.close(0, "strategist: content_filter")
    page = visit(tree)
    page.evaluate("viewer.select(0)")
    assert "closed: strategist: content_filter" in page.inner_text("#panel")
