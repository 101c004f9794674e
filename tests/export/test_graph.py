"""Trees as graphs: attributes, hostile text, Graphviz."""

import re
import shutil
import xml.etree.ElementTree as ET

import networkx
import pytest

import mctsdialog
from mctsdialog.errors import ConfigError
from mctsdialog.export import xml_text

HOSTILE = 'a "quoted" \\N <b>&amp;</b>\n\x00\x0b\ud7ff\ufffe ]]> \\" ; rm -rf \U0001f600 \\'


@pytest.fixture
def tree(domain):
    tree = mctsdialog.Tree(mctsdialog.Scenario(id="t\x00"), domain, [mctsdialog.Turn("seeker", HOSTILE)])
    tree.expand(0, {"Ask": 7.0}, {"Ask": 1.0})
    tree.speak(1, HOSTILE, HOSTILE, gold=True)
    tree.speak(2, "Bye.", None, gold=True)
    return tree


def test_graphml_comes_back_with_typed_attributes(tree, tmp_path):
    graph = networkx.read_graphml(mctsdialog.export.save_graphml(tree, tmp_path / "t.graphml"))
    assert sorted(graph.nodes) == ["0", "1", "2", "3"]
    assert sorted(graph.edges) == [("0", "1"), ("0", "2"), ("0", "3")]
    node = graph.nodes["1"]
    assert {name: type(value) for name, value in node.items()} == {
        "label": str, "type": str, "value": float, "visits": int, "strategy": str, "prior": float, "score": float,
        "supporter": str, "gold": bool, "seeker": str, "depth": int,
    }  # fmt: skip
    assert node["supporter"] == xml_text(HOSTILE)
    assert "score" not in graph.nodes["2"]
    assert graph.graph["tree_id"] == "t\ufffd"


def test_graphml_as_gephi_reads_it(tree):
    """Plain GraphML elements, one declared type a key, ids that edges refer to."""
    root = ET.fromstring(mctsdialog.export.to_graphml(tree))
    space = "{http://graphml.graphdrawing.org/xmlns}"
    keys = {key.get("id"): key.get("attr.type") for key in root.iter(f"{space}key")}
    assert set(keys.values()) <= {"string", "int", "long", "double", "float", "boolean"}
    assert {data.get("key") for data in root.iter(f"{space}data")} <= set(keys)
    ids = {node.get("id") for node in root.iter(f"{space}node")}
    assert {edge.get(end) for edge in root.iter(f"{space}edge") for end in ("source", "target")} <= ids


def test_xml_text_is_legal_for_every_character():
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert ET.fromstring(f"<a>{xml_text(every).replace('&', '&amp;').replace('<', '&lt;')}</a>").text
    assert xml_text("\ud800\x01ok") == "\ufffd\ufffdok"


def test_a_root_alone_and_a_long_chain(domain):
    alone = mctsdialog.Tree(mctsdialog.Scenario(), domain, [mctsdialog.Turn("seeker", "hi")])
    assert len(networkx.parse_graphml(mctsdialog.export.to_graphml(alone))) == 1
    node_id = 0
    for _ in range(3_000):
        node_id = alone.expand(node_id, {}, {"Ask": 1.0})[0]
        alone.speak(node_id, "s", "u", gold=True)
    graph = networkx.parse_graphml(mctsdialog.export.to_graphml(alone))
    assert graph.nodes[str(node_id)]["depth"] == 3_000
    assert mctsdialog.export.to_dot(alone).count("->") == 9_000


def test_dot_quotes_every_text(tree):
    text = mctsdialog.export.to_dot(tree, max_chars=1000)
    labels = re.findall(r'label="((?:[^"\\]|\\.)*)"', text)
    assert len(labels) == 4
    rest = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    assert "rm" not in rest
    assert "<b>" not in rest
    assert r"\\N" in labels[0]
    drawn = mctsdialog.export.to_dot(tree, unexpanded=False)
    assert "n3 [" not in drawn
    assert "n2 [" in drawn
    with pytest.raises(ConfigError, match="width"):
        mctsdialog.export.to_dot(tree, width=2)


def test_svg(tree, monkeypatch):
    if shutil.which("dot") is None:
        with pytest.raises(ConfigError, match="Graphviz"):
            mctsdialog.export.to_svg(tree)
        pytest.skip("Graphviz is not installed; the error for that was checked")
    root = ET.fromstring(mctsdialog.export.to_svg(tree))
    assert root.tag.endswith("svg")
    assert "Bye." in "".join(root.itertext())
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match="Graphviz"):
        mctsdialog.export.to_svg(tree)


def test_closed_nodes_say_why(tree):
    assert "closed" not in mctsdialog.export.to_graphml(tree)
    tree.close(3, f"judge: {HOSTILE}")
    tree.close(2, "judge: content_filter")
    graph = networkx.parse_graphml(mctsdialog.export.to_graphml(tree))
    assert graph.nodes["3"]["closed"] == xml_text(f"judge: {HOSTILE}")
    assert graph.nodes["2"]["closed"] == "judge: content_filter"
    assert "closed" not in graph.nodes["1"]
    dot = mctsdialog.export.to_dot(tree, unexpanded=False)
    assert "closed: judge: content_filter" in " ".join(dot.split("\\n"))
    assert len(re.findall(r"^  n3 .*fillcolor=\"#eeeeee\"", dot, re.MULTILINE)) == 1
    if shutil.which("dot"):
        assert "closed: judge:" in mctsdialog.export.to_svg(tree, unexpanded=False)
