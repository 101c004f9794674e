"""Trees of version 0.1: they load with everything in them, and are saved again without a loss."""

import json
import math
from pathlib import Path

import networkx
import pytest

import mctsdialog
from mctsdialog.cli import main
from mctsdialog.export import to_networkx

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "v0.1"
TREES = sorted(path.relative_to(FIXTURES).as_posix() for path in FIXTURES.rglob("trees/*.json"))
GRAPHS = sorted(path.relative_to(FIXTURES).as_posix() for path in FIXTURES.rglob("trees/*.graphml"))


def raw(name):
    """A tree's file as JSON alone."""
    return json.loads((FIXTURES / name).with_suffix(".json").read_text("utf-8"))


def test_there_are_trees_of_every_kind():
    kinds = {node["type"] for name in TREES for node in raw(name)["nodes"]}
    assert kinds == {"root", "unexpanded", "expanded", "end"}
    nodes = [node for name in TREES for node in raw(name)["nodes"]]
    assert any(node.get("probe") for node in nodes)
    assert any(node.get("gold") for node in nodes)
    assert any(node.get("score", 0) is None for node in nodes)
    assert any(len(node.get("turns", ())) == 2 for node in nodes)
    assert {"max_iterations", "budget: calls"} <= {raw(name)["stop_reason"] for name in TREES}
    assert any(raw(name)["config"]["deterministic"] for name in TREES)
    assert any("world" in raw(name)["roles"] for name in TREES)
    assert len(GRAPHS) >= 10


def check_node(node, entry, criteria):
    assert (node.id, node.type) == (entry["id"], entry["type"])
    assert (node.value, node.visits) == (entry.get("value", 0.0), entry.get("visits", 0))
    if entry["type"] == "root":
        found = [{"speaker": turn.speaker, "text": turn.text, "strategy": turn.strategy} for turn in node.turns]
        assert found == entry["turns"]
        return
    assert (node.parent, node.strategy, node.prior) == (entry["parent"], entry["strategy"], entry["prior"])
    assert math.isnan(node.score) if entry["score"] is None else node.score == entry["score"]
    if entry["type"] == "unexpanded":
        return
    assert (node.supporter, node.gold, node.probe) == (entry["supporter"], entry["gold"], entry.get("probe", False))
    assert getattr(node, "seeker", None) == entry.get("seeker")
    if entry["rollout"] is None:
        assert node.rollout is None
        return
    steps = [
        {"strategy": each.strategy, "supporter": each.supporter, "seeker": each.seeker} for each in node.rollout.steps
    ]
    judged = [dict(zip(criteria, each, strict=True)) for each in node.rollout.judgements]
    assert {"steps": steps, "judgements": judged, "reward": node.rollout.reward} == entry["rollout"]


@pytest.mark.parametrize("name", TREES)
def test_a_tree_loads_whole_and_saves_again_without_a_loss(take, holds, name):
    tree, document = mctsdialog.load_tree(take(name) / name), raw(name)
    assert (tree.id, tree.iterations) == (document["scenario"]["id"], document["iterations"])
    assert tree.stop_reason == document["stop_reason"]
    holds(tree.scenario.model_dump(), document["scenario"])
    holds(tree.domain.model_dump(mode="json"), document["domain"])
    holds([dict(tree.config), dict(tree.roles)], [document["config"], document["roles"]])
    children = {}
    for node, entry in zip(tree, document["nodes"], strict=True):
        check_node(node, entry, tree.domain.criteria)
        children.setdefault(entry.get("parent"), []).append(node.id)
    assert all([child.id for child in tree.children(node)] == children.get(node.id, []) for node in tree)
    tree.check()
    saved = json.loads(mctsdialog.save_tree(tree, "again.json").read_text("utf-8"))
    holds(saved, {key: value for key, value in document.items() if key != "version"})


@pytest.mark.parametrize("name", GRAPHS)
def test_graphml_carries_the_nodes_of_its_tree(take, name):
    document = raw(name)
    graph = networkx.read_graphml(take(name) / name, node_type=int)
    assert sorted(graph.nodes) == [entry["id"] for entry in document["nodes"]]
    assert set(graph.edges) == {(entry["parent"], entry["id"]) for entry in document["nodes"][1:]}
    for entry in document["nodes"]:
        found = graph.nodes[entry["id"]]
        for key in ("type", "strategy", "supporter", "seeker", "gold", "prior", "score", "value", "visits"):
            if entry.get(key) is not None:
                assert found[key] == entry[key], (entry["id"], key)
        if entry["type"] == "root":
            assert found["seeker"] == entry["turns"][-1]["text"]
    take(name.replace(".graphml", ".json"))
    now = to_networkx(mctsdialog.load_tree(name.replace(".graphml", ".json")))
    assert set(now.edges) == set(graph.edges)
    assert all(graph.nodes[node].items() <= now.nodes[node].items() for node in graph)


def test_the_viewer_shows_a_tree(take, run):
    take("trees")
    run(main, "view", "trees/probes.json", "--out", "tree.html")
    assert "Noch mehr!" in Path("tree.html").read_text("utf-8")
