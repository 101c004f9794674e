"""Trees as JSON: exact round trips, the published schema, migrations, and hostile files."""

import copy
import json
import math
from pathlib import Path

import anyio
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.errors import TreeFormatError
from mctsdialog.tree import _document as document
from mctsdialog.tree import json_schema, tree_to_document

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "tree.schema.json"


@pytest.fixture
def tree(domain, gold, hash_roles):
    functions = hash_roles(domain.strategies.names, seed=4, end_one_in=4, leave_out=("Comfort",))
    config = mctsdialog.SearchConfig(max_iterations=40, min_iterations=40)

    async def grow():
        return await mctsdialog.search(gold, functions.roles(), config, domain=domain)

    return anyio.run(grow)


def attributes(tree):
    def slots(node):
        names = [name for kind in type(node).__mro__ for name in getattr(kind, "__slots__", ())]
        values = {name: getattr(node, name) for name in names}
        score = values.get("score")
        return values | {"type": node.type, "score": "none" if score is None or math.isnan(score) else score}

    whole = (tree.scenario, tree.domain, tree.config, tree.roles, tree.iterations, tree.stop_reason, tree.ends)
    return whole, [slots(node) for node in tree]


def test_round_trip_is_exact(tree, tmp_path):
    path = mctsdialog.save_tree(tree, tmp_path / "deep" / "tree.json")
    again = mctsdialog.load_tree(path)
    assert attributes(again) == attributes(tree)
    assert any(math.isnan(node.score) for node in tree.children(tree.root))
    assert mctsdialog.save_tree(again, tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_the_file_has_a_line_for_each_node(tree, tmp_path):
    text = mctsdialog.save_tree(tree, tmp_path / "tree.json").read_text("utf-8")
    assert json.loads(text) == json.loads(json.dumps(tree_to_document(tree)))
    lines = text.splitlines()
    first = lines.index('"nodes": [') + 1
    assert [json.loads(line.removesuffix(","))["id"] for line in lines[first:-2]] == list(range(len(tree)))


def test_a_loaded_tree_can_be_searched_on(tree, tmp_path, domain, gold, hash_roles):
    again = mctsdialog.load_tree(mctsdialog.save_tree(tree, tmp_path / "t.json"))
    config = mctsdialog.SearchConfig(max_iterations=99, min_iterations=99)
    one, two = mctsdialog.algorithms.CSO(tree, config), mctsdialog.algorithms.CSO(again, config)
    assert one.ask() == two.ask()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip), min_size=3, max_size=3))
def test_any_text_survives(domain, tmp_path, texts):
    tree = mctsdialog.Tree(mctsdialog.Scenario(id=texts[0]), domain, [mctsdialog.Turn("seeker", texts[0])])
    names = domain.strategies.names
    tree.expand(0, {}, dict.fromkeys(names, 1 / 3))
    node = tree.speak(1, texts[1], texts[2], gold=True)
    for each in (tree.root, node):
        each.visits, each.value = 3, 0.1 + 0.2
    again = mctsdialog.load_tree(mctsdialog.save_tree(tree, tmp_path / "tree.json"))
    assert attributes(again) == attributes(tree)


def test_the_published_schema_is_the_codes_and_holds_for_documents(tree):
    published = json.loads(SCHEMA.read_text("utf-8"))
    assert published == json_schema()
    jsonschema.validate(tree_to_document(tree), published)
    spoilt = tree_to_document(tree)
    spoilt["nodes"][1]["visits"] = "many"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, published)


def test_an_older_version_is_migrated_and_a_newer_one_refused(tree, tmp_path, monkeypatch):
    old = tree_to_document(tree) | {"version": 0}
    old["stopped"] = old.pop("stop_reason")

    def step(found):
        return {**{key: value for key, value in found.items() if key != "stopped"}, "version": 1,
                "stop_reason": found["stopped"]}  # fmt: skip

    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    with pytest.raises(TreeFormatError, match="version 0"):
        mctsdialog.load_tree(path)
    monkeypatch.setitem(document.MIGRATIONS, 0, step)
    assert attributes(mctsdialog.load_tree(path)) == attributes(tree)
    path.write_text(json.dumps(tree_to_document(tree) | {"version": 2}))
    with pytest.raises(TreeFormatError, match="version 2 cannot be read"):
        mctsdialog.load_tree(path)


def spoil(path, value):
    """Set (or with DELETE, remove) what stands at ``path`` in a document."""

    def change(found):
        target = found
        for key in path[:-1]:
            target = target[key]
        if value is DELETE:
            del target[path[-1]]
        else:
            target[path[-1]] = value
        return found

    return change


DELETE = object()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (spoil(["schema"], "other"), "schema"),
        (spoil(["version"], "1"), "version"),
        (spoil(["version"], True), "version"),
        (spoil(["nodes"], []), "nodes"),
        (spoil(["nodes"], {}), "nodes"),
        (spoil(["nodes", 0], None), "nodes[0]"),
        (spoil(["nodes", 0, "type"], "leaf"), "nodes[0]"),
        (spoil(["nodes", 0, "turns"], []), "nodes[0]: turns"),
        (spoil(["nodes", 2, "parent"], 2), "nodes[2]: parent"),
        (spoil(["nodes", 2, "parent"], 9), "nodes[2]: parent"),
        (spoil(["nodes", 2, "parent"], 10**9), "nodes[2]: parent"),
        (spoil(["nodes", 2, "parent"], -1), "nodes[2]: parent"),
        (spoil(["nodes", 2, "parent"], "0"), "nodes[2]: parent"),
        (spoil(["nodes", 2, "parent"], DELETE), "nodes[2]: parent"),
        (spoil(["nodes", 6, "parent"], 2), "nodes[6]: parent"),
        (spoil(["nodes", 2, "id"], 3), "nodes[2]: id"),
        (spoil(["nodes", 2, "prior"], 1.5), "nodes[2]: prior"),
        (spoil(["nodes", 2, "prior"], 0.99), "sum to 1"),
        (spoil(["nodes", 0, "visits"], -1), "nodes[0]: visits"),
        (spoil(["nodes", 0, "visits"], 7), "visits"),
        (spoil(["nodes", 1, "strategy"], "Plan"), "node 0"),
        (spoil(["nodes", 1, "surprise"], 1), "nodes[1]: surprise"),
        (spoil(["nodes", 1, "supporter"], ["a"]), "nodes[1]: supporter"),
        (spoil(["nodes", 0, "value"], float("nan")), "value"),
        (spoil(["nodes", 0, "value"], float("inf")), "value"),
        (spoil(["domain", "weights", "strategy"], -1), "domain"),
        (spoil(["scenario", "scene"], 7), "scenario.scene"),
        (lambda found: [found], "schema"),
        (lambda found: found | {"nodes": [found["nodes"][0]] * 2}, "nodes[1]"),
        (lambda found: found | {"nodes": found["nodes"][1:]}, "nodes[0]"),
    ],
)
def test_a_hostile_document_is_refused_with_its_place(tree, tmp_path, change, where):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(change(copy.deepcopy(tree_to_document(tree)))))
    with pytest.raises(TreeFormatError) as caught:
        mctsdialog.load_tree(path)
    assert str(path) in str(caught.value)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"nope", b'{"schema": "mctsdialog.tree"', b"\xff\xfe\x00", b"[" * 200_000, b'{"a":' * 200_000, b"null"],
)
def test_no_json_is_refused(tmp_path, data):
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(TreeFormatError, match=r"bad\.json"):
        mctsdialog.load_tree(path)


def test_half_a_file_is_refused_at_every_length(tree, tmp_path):
    data = mctsdialog.save_tree(tree, tmp_path / "t.json").read_bytes()
    for length in range(0, len(data) - 2, 997):
        (tmp_path / "half.json").write_bytes(data[:length])
        with pytest.raises(TreeFormatError):
            mctsdialog.load_tree(tmp_path / "half.json")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(TreeFormatError, match="is a folder; name a tree file in it"):
        mctsdialog.load_tree(tmp_path)
    with pytest.raises(TreeFormatError, match="cannot be read"):
        mctsdialog.load_tree(tmp_path / "no.json")


def test_a_chain_of_10000_nodes_round_trips(domain, tmp_path):
    tree = mctsdialog.Tree(mctsdialog.Scenario(), domain, [mctsdialog.Turn("seeker", "hi")])
    node_id, priors = 0, dict.fromkeys(domain.strategies.names, 1 / 3)
    for _ in range(10_000):
        node_id = tree.expand(node_id, {}, priors)[0]
        tree.speak(node_id, "s", "u", gold=True)
    again = mctsdialog.load_tree(mctsdialog.save_tree(tree, tmp_path / "chain.json"))
    assert len(again) == 30_001
    assert again.depth(again[node_id]) == 10_000


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tree, tmp_path, monkeypatch):
    path = mctsdialog.save_tree(tree, tmp_path / "tree.json")
    old = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    tree.stop_reason = "changed"
    with pytest.raises(OSError, match="No space"):
        mctsdialog.save_tree(tree, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_closed_nodes_are_in_the_file_and_only_they(tree, tmp_path):
    before = mctsdialog.save_tree(tree, tmp_path / "open.json").read_text("utf-8")
    assert '"closed"' not in before
    leaves = [node for node in tree if not node.children and not getattr(node, "gold", False)]
    closed = {kind: next(node for node in leaves if node.type == kind) for kind in ("unexpanded", "expanded", "end")}
    for node in closed.values():
        tree.close(node.id, "judge: content_filter")
        tree.close(node.id, "another reason")
    tree.check()
    path = mctsdialog.save_tree(tree, tmp_path / "closed.json")
    again = mctsdialog.load_tree(path)
    assert attributes(again) == attributes(tree)
    assert again.closed() == {"judge: content_filter": 3}
    assert path.read_text("utf-8").count('"closed": "judge: content_filter"') == 3
    jsonschema.validate(json.loads(path.read_text("utf-8")), json_schema())


@pytest.mark.parametrize(("node", "value"), [(0, "strategist: refusal"), (1, ""), (1, 3), (1, "x" * 201)])
def test_a_closed_node_that_cannot_be_is_refused(tree, node, value):
    content = tree_to_document(tree)
    content["nodes"][node]["closed"] = value
    with pytest.raises(TreeFormatError, match="closed"):
        document.document_to_tree(json.dumps(content))


def test_a_closed_root_alone_is_a_tree(domain, tmp_path):
    tree = mctsdialog.Tree(mctsdialog.Scenario(id="t"), domain, [mctsdialog.Turn("seeker", "Hello.")])
    tree.close(0, "strategist: refusal")
    again = mctsdialog.load_tree(mctsdialog.save_tree(tree, tmp_path / "t.json"))
    assert again.root.closed == "strategist: refusal"
    assert not again.best_path()
    with pytest.raises(mctsdialog.errors.TreeError, match="only a root or expanded"):
        again.expand(0, {}, dict.fromkeys(domain.strategies.names, 1 / 3))


def test_only_a_leaf_can_be_closed(tree):
    with pytest.raises(mctsdialog.errors.TreeError, match="only a leaf"):
        tree.close(0, "strategist: refusal")
