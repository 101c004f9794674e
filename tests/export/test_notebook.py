"""What a notebook shows: trees, dialogues, pictures, a running search."""

import html
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

import mctsdialog
from mctsdialog import _repr
from mctsdialog._colours import strategy_colours
from mctsdialog._search import SearchConfig, search
from mctsdialog.dialogue import Dialogue, Scenario, Turn
from mctsdialog.errors import ConfigError
from mctsdialog.export import NotebookProgress, _notebook, to_html
from mctsdialog.tree import EndNode, Tree, ValidPaths

HOSTILE = "</iframe><script>alert(1)</script>' \" & <img src=x onerror=alert(1)> \ud800 $x^$ \U0001f600"


@pytest.fixture
def tree(domain):
    """A root, a valid path of two turns, a rejected sibling, one not visited, and the rest not tried."""
    tree = Tree(Scenario(id="small & neat", scene="Work"), domain, [Turn("seeker", "I am tired.")])
    priors = dict.fromkeys(domain.strategies.names, 1 / 3)
    tree.expand(0, {}, priors)
    tree.speak(1, "What wears you out?", "Work.", gold=True)
    tree.speak(2, "Do not be.", "But I am.")
    tree.expand(1, {}, priors)
    tree.speak(4, "Rest well.", None)
    tree.speak(5, "Work more.", None)
    for node_id, visits, value in ((0, 5, 0.55), (1, 4, 0.75), (2, 1, -1.0), (4, 3, 0.9)):
        tree[node_id].visits, tree[node_id].value = visits, value
    return tree


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


# -- the registry --------------------------------------------------------------------------------------------


def test_subclasses_are_shown_like_their_class_and_nothing_else_is():
    class Shown:
        pass

    class Special(Shown):
        pass

    assert _repr.html_of(Shown()) is None
    with pytest.raises(ConfigError, match="Shown"):
        _repr.plot(Shown())
    _repr.register(Shown, html=lambda obj: type(obj).__name__)
    _repr.register(Shown, plot=lambda obj, colour: f"{type(obj).__name__} in {colour}")
    assert _repr.html_of(Special()) == "Special"
    assert _repr.plot(Special(), colour="red") == "Special in red"
    _repr.register(Special, html=lambda obj: "special indeed")
    assert (_repr.html_of(Shown()), _repr.html_of(Special())) == ("Shown", "special indeed")


def test_importing_the_package_imports_neither_matplotlib_nor_ipython():
    code = "import sys, mctsdialog; print([name for name in ('matplotlib', 'IPython') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- trees ---------------------------------------------------------------------------------------------------


def test_a_tree_is_a_summary_and_the_viewer_in_a_sandbox(tree):
    tree.stop_reason = "max_iterations"
    shown = tree._repr_html_()
    assert "8 nodes" not in shown
    assert "7 nodes: 2 expanded, 2 ends, 2 not tried; 0 iterations; stopped: max_iterations" in shown
    assert "small &amp; neat" in shown
    assert "mean Q +0.825 over 2 supporter turns" in shown
    frame = re.search(r"<iframe ([^>]*?)srcdoc='([^']*)'></iframe>", shown)
    assert 'sandbox="allow-scripts"' in frame[1]
    assert html.unescape(frame[2]) == to_html(tree)


def test_a_tree_without_an_end_says_so(domain):
    assert "No path has reached an end yet" in Tree(Scenario(), domain, [Turn("seeker", "Hi.")])._repr_html_()


def test_closed_branches_are_in_the_summary_escaped(tree):
    assert "closed:" not in _notebook.tree_html(tree).partition("<iframe")[0]
    leaf = next(node for node in tree if not node.children)
    tree.close(leaf.id, "judge: <b>refusal</b>")
    assert "closed: judge: &lt;b&gt;refusal&lt;/b&gt; 1" in _notebook.tree_html(tree).partition("<iframe")[0]


def test_a_closed_branch_is_in_the_plot(tree, pyplot):
    leaf = next(node for node in tree if node.type == "unexpanded")
    before = len(tree.plot().collections)
    tree.close(leaf.id, "judge: refusal")
    ax = tree.plot()
    assert len(ax.collections) > before
    assert "closed" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_very_large_tree_is_a_summary_alone(tree, monkeypatch):
    monkeypatch.setattr(_notebook, "MOST_NODES", 6)
    shown = tree._repr_html_()
    assert "<iframe" not in shown
    assert "save_html" in shown
    assert "7 nodes" in shown


def test_hostile_texts_leave_neither_the_frame_nor_the_summary(domain):
    tree = Tree(Scenario(id=HOSTILE, scene=HOSTILE), domain, [Turn("seeker", HOSTILE)])
    tree.stop_reason = HOSTILE
    shown = tree._repr_html_()
    assert shown.encode("utf-8")
    assert shown.count("</iframe>") == 1
    assert "<script" not in shown
    assert "<img" not in shown


def test_the_frame_works_in_a_browser(tree, tmp_path, chromium):
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{tree._repr_html_()}", encoding="utf-8")
    faults, requests = [], []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 960, "height": 800})
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        frame = page.frame_locator("iframe")
        frame.locator("#counts", has_text="1 valid path, 1 pair").wait_for()
        inner = page.frames[1]
        inner.evaluate("viewer.select(4)")
        assert "Rest well." in frame.locator("#panel").inner_text()
        from playwright.sync_api import Error

        with pytest.raises(Error, match="SecurityError"):
            inner.evaluate("parent.document.title")  # the frame cannot reach the notebook
    assert faults == []
    assert requests in ([file.as_uri()], [file.as_uri(), "about:srcdoc"])


# -- dialogues -----------------------------------------------------------------------------------------------


def dialogue_of(*strategies, text="Text."):
    turns = [Turn("seeker", text)]
    for name in strategies:
        turns += [Turn("supporter", text, name), Turn("seeker", text)]
    return Dialogue(scene="Work", description="Too much.", id="d-1", turns=tuple(turns))


@pytest.mark.parametrize("name", ["esc", "esconv", "persuasion"])
def test_strategies_have_the_colours_of_their_domain(name):
    names = mctsdialog.get_domain(name).strategies.names
    shown = dialogue_of(*names)._repr_html_()
    for strategy, colour in strategy_colours(names).items():
        assert re.search(rf'background:{colour};[^"]*">{re.escape(html.escape(strategy))}</span>', shown)
    assert shown.count("Text.") == 2 * len(names) + 1


def test_unknown_strategies_are_grey_and_a_turn_may_have_none():
    shown = dialogue_of("Affirmation", "No such strategy", None)._repr_html_()
    assert len(set(re.findall(r"background:(#\w{6});", shown))) == 1
    assert shown.count("Supporter<") == 1


def test_a_hostile_dialogue_stays_text():
    shown = dialogue_of(HOSTILE.strip(), text=HOSTILE)._repr_html_()
    assert shown.encode("utf-8")
    assert "<script" not in shown
    assert "<img" not in shown
    assert html.escape(HOSTILE.replace("\ud800", "\ufffd")) in shown


# -- pictures ------------------------------------------------------------------------------------------------


def valid_nodes(tree, *settings):
    paths = ValidPaths(tree, *settings)
    return {node.id for node in tree if node in paths}


def test_valid_nodes_are_those_of_the_paths(tree):
    assert valid_nodes(tree, 0.5, 2, "all") == {0, 1, 4}
    assert valid_nodes(tree, 0.6, 2, "all") == set()
    assert valid_nodes(tree, 0.6, 2, "end") == {0, 1, 4}
    assert valid_nodes(tree, 0.5, 4, "end") == set()
    assert valid_nodes(tree, -3.0, 0, "all") == {0, 1, 4, 5}


def test_valid_nodes_are_those_of_the_preferences(tree):
    for theta in (-1.0, 0.0, 0.5, 0.9):
        for rule in ("all", "end"):
            paths = mctsdialog.preferences.valid_paths(tree, theta, 1, rule)
            assert valid_nodes(tree, theta, 1, rule) == {node.id for path in paths for node in path}


def test_a_plot_draws_every_node_by_type_colour_and_size(tree, pyplot):
    ax = tree.plot(unexpanded=True, theta=0.5)
    drawn = [collection for collection in ax.collections if hasattr(collection, "get_sizes")]
    points = sum(len(collection.get_offsets()) for collection in drawn)
    assert points == len(tree) + 1  # and the star of the gold turn
    plain, thick = (c for c in ax.collections if not hasattr(c, "get_sizes"))
    assert (len(plain.get_segments()), len(thick.get_segments())) == (len(tree) - 1 - 2, 2)
    coloured = [c for c in drawn if c.get_array() is not None]
    assert sorted(value for c in coloured for value in c.get_array()) == [-1.0, 0.55, 0.75, 0.9]
    assert {c.get_clim() for c in coloured} == {(-3.0, 1.0)}
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:6] == ["root", "not tried", "expanded", "end of dialogue", "gold turn", "valid path"]
    assert labels[6:] == list(tree.domain.strategies.names)
    ax.figure.canvas.draw()


def test_a_plot_without_what_was_not_asked_for(tree, pyplot):
    figure, mine = pyplot.subplots()
    ax = tree.plot(mine, legend=False)
    assert ax is mine
    assert ax.get_legend() is None
    assert len(figure.axes) == 1
    drawn = [collection for collection in ax.collections if hasattr(collection, "get_sizes")]
    assert sum(len(collection.get_offsets()) for collection in drawn) == 5 + 1
    assert not ax.collections[1].get_segments()
    places = {tuple(place) for collection in drawn for place in collection.get_offsets()}
    assert len(places) == 6


def test_a_plot_of_a_chain_and_of_hostile_names(domain_maker, pyplot):
    domain = domain_maker(names=("$x^$ <b>", "_Plan"))
    name = HOSTILE.replace("\U0001f600", "")  # matplotlib's font has no such glyph, and says so
    tree = Tree(Scenario(id=name), domain, [Turn("seeker", "Hi.")])
    node_id = 0
    for _ in range(3_000):
        node_id = tree.expand(node_id, {}, {})[0]
        tree.speak(node_id, "s", "u")
    ax = tree.plot(theta=-3.0)
    heights = {y for c in ax.collections if hasattr(c, "get_sizes") for _, y in c.get_offsets()}
    assert len(heights) == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()][-2:] == ["$x^$ <b>", "_Plan"]
    ax.figure.canvas.draw()


def test_plot_settings_are_checked(tree, pyplot):
    with pytest.raises(ConfigError, match="path_rule"):
        tree.plot(theta=0.5, path_rule="some")
    with pytest.raises(ConfigError, match="theta"):
        tree.plot(theta=float("inf"))


def test_without_matplotlib_the_error_names_the_extra(tree, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r'pip install "mctsdialog\[notebook\]"'):
        tree.plot()


# -- a running search ----------------------------------------------------------------------------------------


class FakeDisplay:
    """IPython's ``display`` with a handle; notes what was shown and what it became."""

    def __init__(self):
        self.shown = []

    def __call__(self, data, *, raw, display_id):
        assert raw
        assert display_id
        states = [data]
        self.shown.append(states)
        return SimpleNamespace(update=lambda data, raw: states.append(data))


@pytest.fixture
def display(monkeypatch):
    fake = FakeDisplay()
    monkeypatch.setattr(_notebook, "_notebook_display", lambda: fake)
    return fake


@pytest.mark.anyio
async def test_progress_of_a_search_in_a_notebook(display, hash_roles, gold, domain):
    config = SearchConfig(max_iterations=30, min_iterations=30)
    with NotebookProgress(interval=0.0) as progress:
        tree = await search(gold, hash_roles(domain.strategies.names).roles(domain), config, on_progress=progress)
    (states,) = display.shown
    assert len(states) >= tree.iterations + 1
    assert 'value="0" max="30"' in states[0]["text/html"]
    last = states[-1]["text/plain"]
    assert last.startswith(f"gold-1, {tree.iterations}/30 iterations, {len(tree):,} nodes, {tree.ends} ends, root Q ")
    assert last.endswith(f"stopped: {tree.stop_reason}")
    assert f"root Q {tree.root.value:+.3f}" in last


@pytest.mark.anyio
async def test_progress_is_throttled_but_the_end_is_shown(display, hash_roles, gold, domain):
    config = SearchConfig(max_iterations=40, min_iterations=40, max_ends=1000)
    progress = NotebookProgress(interval=1_000.0)
    tree = await search(gold, hash_roles(domain.strategies.names).roles(domain), config, on_progress=progress)
    (states,) = display.shown
    assert tree.iterations == 40
    assert len(states) == 2  # the start, and the end without a context manager
    assert "40/40 iterations" in states[-1]["text/plain"]


def test_two_trees_have_a_line_each_and_an_error_keeps_the_last_state(display, tree, domain):
    other = Tree(Scenario(id=HOSTILE), domain, [Turn("seeker", "Hi.")])

    def work():
        with NotebookProgress(interval=1_000.0) as progress:
            progress(tree)
            tree.iterations = 5
            progress(tree)
            progress(other)
            raise RuntimeError("the model is gone")

    with pytest.raises(RuntimeError):
        work()
    first, second = display.shown
    assert "5 iterations" in first[-1]["text/plain"]
    assert "<script" not in second[-1]["text/html"]
    assert second[-1]["text/html"].encode("utf-8")


def test_progress_outside_a_notebook_goes_to_standard_error(tree, capsys):
    with NotebookProgress(interval=0.0) as progress:
        progress(tree)
        tree.iterations = 1
        progress(tree)
        tree.stop_reason = "max_ends"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("small & neat, 0 iterations, 7 nodes, 2 ends, root Q +0.550")
    assert lines[-1].endswith("stopped: max_ends")


def test_progress_rewrites_its_line_in_a_terminal(tree, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with NotebookProgress(interval=0.0) as progress:
        progress(tree)
    written = capsys.readouterr().err
    assert written.startswith("\r\x1b[2Ksmall & neat")
    assert written.count("\n") == 1
    assert written.endswith("\n")


def test_a_kernel_is_known_by_its_shell(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert _notebook._notebook_display() is None
    terminal = SimpleNamespace(get_ipython=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert _notebook._notebook_display() is None


def test_it_all_works_in_a_kernel(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    source = """
import mctsdialog
from mctsdialog.export import NotebookProgress
domain = mctsdialog.get_domain("esc")
tree = mctsdialog.Tree(mctsdialog.Scenario(id="t"), domain, [mctsdialog.Turn("seeker", "Hi.")])
with NotebookProgress() as progress:
    progress(tree)
tree
"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(book, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown, result = book.cells[0].outputs
    assert "<progress" in shown["data"]["text/html"]
    assert "t, 0 iterations, 1 node" in shown["data"]["text/plain"]
    assert "<iframe" in result["data"]["text/html"]
    assert "Tree(id='t'" in result["data"]["text/plain"]


def test_ends_of_the_fixture(tree):
    assert [node.id for node in tree if isinstance(node, EndNode)] == [4, 5]
