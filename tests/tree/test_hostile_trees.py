"""Trees that somebody else made: what loads can be exported in every form, all else is one error in bounded time."""

import json

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.algorithms._cso import CSO
from mctsdialog.algorithms._trial import Exchange, Simulation
from mctsdialog.errors import DataError, TreeFormatError
from mctsdialog.export import to_dot, to_graphml, to_html
from mctsdialog.preferences import PreferenceConfig, PreferenceDataset, gold_dialogue
from mctsdialog.statistics import dataset_statistics
from mctsdialog.tree import document_to_tree, tree_to_document


@pytest.fixture(scope="module")
def document(domain_maker):
    """A tree of every kind of node, with a rollout, as JSON values."""
    domain = domain_maker()
    tree = mctsdialog.Tree(mctsdialog.Scenario(id="t", scene="Work"), domain, [mctsdialog.Turn("seeker", "hi")])
    config = mctsdialog.SearchConfig()
    tree.config, tree.roles = config.model_dump(), {"judge": {"model": "m"}}
    engine = CSO(tree, config)
    scores = dict.fromkeys(domain.strategies.names, 5.0)
    engine.seed(0, scores, "Ask", Exchange("What is it?", "Work."))
    engine.seed(1, scores, "Plan", Exchange("Make a plan.", None))
    for _ in range(30):
        trial = engine.ask()
        generated = Exchange("said", "heard") if trial.kind == "generate" else None
        ends = trial.kind == "end"
        outcome = Simulation(
            ((4.0, 3.0, 2.0, 4.0),), generated, None if ends else scores, None if ends else Exchange("so", None)
        )
        engine.tell(trial, outcome)
    return json.loads(json.dumps(tree_to_document(tree)))


def exported(tree):
    """The tree in every form; each is read again where something reads it."""
    again = document_to_tree(json.dumps(tree_to_document(tree), allow_nan=False))
    assert tree_to_document(again) == tree_to_document(tree)
    networkx.parse_graphml(to_graphml(tree))
    to_html(tree).encode()
    to_dot(tree).encode()
    gold_dialogue(tree)
    data = PreferenceDataset.from_trees([tree], PreferenceConfig(theta=tree.root.value if tree.root.visits else 0.0))
    list(data.dialogues())
    json.dumps([record.to_dict() for record in data.records], allow_nan=False).encode()
    dataset_statistics(data)


def test_the_tree_itself_passes(document):
    exported(document_to_tree(json.dumps(document)))


@settings(max_examples=300)
@given(data=st.data())
def test_a_spoilt_tree_is_one_error_or_can_be_exported(document, spoilt, data):
    text = spoilt(data, document)
    try:
        tree = document_to_tree(text, file="t.json")
    except TreeFormatError as error:
        said = str(error)
    else:
        said = "t.json"
        try:
            exported(tree)
        except (DataError, mctsdialog.errors.ConfigError) as error:  # settings that are none of a search
            said = f"t.json {error}"
    assert said.startswith("t.json")
    assert len(said) < 2000


def spoil(document, place, value):
    changed = json.loads(json.dumps(document))
    target = changed
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("config",), {"x": float("nan")}, "config: x is no number"),
        (("config", "bias"), 10**400, "config: bias is a number above"),
        (("roles",), {"a": [{"b": float("inf")}]}, r"roles: a\[0\].b is a number above"),
        (("nodes", 0, "turns", 0, "strategy"), "Ask", r"nodes\[0\]: turns: turn 0: a seeker turn has no strategy"),
        (("nodes", 0, "turns"), [{"speaker": "seeker", "text": "a"}] * 2, r"turns 0 and 1 are both the seeker's"),
        (("nodes", 0, "turns", 0, "text"), " ", "turn 0: the text is blank"),
        (("nodes", 1, "supporter"), " ", "node 1: the supporter's text is blank"),
        (("nodes", 1, "seeker"), "\n", "node 1: the seeker's text is blank"),
        (("nodes", 0, "value"), 1e300, r"nodes\[0\]: value: "),
        (("nodes", 0, "visits"), 2**60, r"nodes\[0\]: visits: "),
        (("nodes", 1, "type"), "x" * 10**6, r"nodes\[1\]"),
        (("domain", "weights", "empathy"), 1e308, "must be above 0, at most"),
    ],
    ids=map(str, range(12)),
)
def test_what_would_fail_later_is_refused_when_it_is_read(document, place, value, message):
    with pytest.raises(TreeFormatError, match=message) as caught:
        document_to_tree(json.dumps(spoil(document, place, value)), file="t.json")
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("character", ["\x00", "\x01", "\ufffe", "\x7f", "\u202e", "]]>", "\x1b[2J"])
def test_any_character_can_be_exported(document, character):
    changed = json.loads(json.dumps(document).replace("What is it?", "a" + json.dumps(character)[1:-1]))
    changed["scenario"]["id"] = changed["scenario"]["scene"] = character
    exported(document_to_tree(json.dumps(changed)))


def test_hostile_files_below_5_mb_take_bounded_time_and_memory(document, tmp_path, bounded, repeat):
    whole = json.dumps({**document, "nodes": "NODES"})
    node = {key: value for key, value in document["nodes"][1].items() if key != "visits"}
    head = whole.replace('"NODES"', "[")
    texts = {
        "many empty nodes": repeat(head, "{}", "]}"),
        "many wrong nodes": repeat(head, json.dumps(node), "]}"),
        "many roots": repeat(head, json.dumps(document["nodes"][0]), "]}"),
        "many keys": repeat(head + '{"type": "root",', '"x":0', "}]}"),
        "many scores": whole.replace(
            '"NODES"', json.dumps(document["nodes"]).replace('"judgements": [{', '"judgements": [{' + keys() + ", ")
        ),
        "many strategies": whole.replace('"strategies": [', '"strategies": [' + repeat("", '{"name": 1}', ",")),
        "many settings": whole.replace('"config": {', '"config": {"x": [' + repeat("", "{}", "],", size=4_000_000)),
        "deep": head + "[" * 4_900_000,
        "number": head + "1" * 4_900_000,
        "text": head + '{"type": "' + "x" * 4_900_000 + '"}]}',
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.json").write_text(text)
    files = sorted(tmp_path.iterdir())
    said = bounded("from mctsdialog import load_tree\nreturn load_tree(path)", *files)
    assert [line.partition(":")[0] for line in said] == ["TreeFormatError"] * len(texts)


def keys():
    return ", ".join(f'"{number:x}": "a"' for number in range(300_000))
