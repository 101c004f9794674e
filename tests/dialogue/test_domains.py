import json
import subprocess
import sys
import zipfile
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.dialogue import ESC, ESCONV, PERSUASION, domains, get_domain, load_domain
from mctsdialog.errors import DomainError

TABLE_8 = {
    "Reflective Statements": "Emotional Validation",
    "Clarification": "Emotional Validation",
    "Emotional Validation": "Emotional Validation",
    "Normalize Experiences": "Emotional Validation",
    "Affirmation": "Affirmation",
    "Offer Hope": "Affirmation",
    "Suggest Options": "Collaborative Planning",
    "Collaborative Planning": "Collaborative Planning",
    "Stress Management": "Collaborative Planning",
    "Promote Self-Care Practices": "Collaborative Planning",
    "Empathetic Statements": "Empathetic Statements",
    "Avoid Judgment and Criticism": "Avoid Judgment and Criticism",
    "Provide Different Perspectives": "Provide Different Perspectives",
    "Reframe Negative Thoughts": "Reframe Negative Thoughts",
    "Share Information": "Share Information",
    "Others": None,
}


def test_the_strategies_are_those_of_their_sources_in_order():
    assert ESC.strategies.names == (
        "Emotional Validation",
        "Affirmation",
        "Collaborative Planning",
        "Empathetic Statements",
        "Avoid Judgment and Criticism",
        "Provide Different Perspectives",
        "Reframe Negative Thoughts",
        "Share Information",
    )
    assert ESCONV.strategies.names == (
        "Question",
        "Restatement or Paraphrasing",
        "Reflection of Feelings",
        "Self-disclosure",
        "Affirmation and Reassurance",
        "Providing Suggestions",
        "Information",
        "Others",
    )
    assert len(PERSUASION.strategies) == 10


def test_the_labels_of_extes_map_as_in_table_8():
    assert len(TABLE_8) == 16
    for label, name in TABLE_8.items():
        assert ESC.strategies.resolve(label) == name
        assert ESC.strategies.resolve(label.upper()) == name


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Reflective Statement", "Emotional Validation"),
        ("Emotional Validations", "Emotional Validation"),
        ("Suggestions", "Collaborative Planning"),
        ("Information", "Share Information"),
        ("Avoid judgment and criticism", "Avoid Judgment and Criticism"),
        ("Avoid Judgement and Criticism", "Avoid Judgment and Criticism"),
    ],
)
def test_near_variants_of_extes_labels(label, name):
    assert ESC.strategies.resolve(label) == name


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Questions", "Question"),
        ("Restatement", "Restatement or Paraphrasing"),
        ("Reflection of feelings", "Reflection of Feelings"),
        ("Self-Disclosure", "Self-disclosure"),
        ("Approval and Reassurance", "Affirmation and Reassurance"),
        ("Direct Guidance", "Providing Suggestions"),
        ("Other", "Others"),
    ],
)
def test_variants_of_esconv_labels(label, name):
    assert ESCONV.strategies.resolve(label) == name


def test_the_rubric_of_emotional_support():
    for domain in (ESC, ESCONV):
        assert domain.criteria == ("empathy", "information", "humanoid", "strategy")
        assert domain.max_score == 4
        assert domain.weights == {"empathy": 1, "information": 1, "humanoid": 1, "strategy": 7}
    assert ESC.rubric == ESCONV.rubric


@pytest.mark.parametrize("name", domains())
def test_every_domain_is_described(name):
    domain = get_domain(name)
    assert domain.name == name
    assert domain.title
    assert domain.seeker.description
    assert domain.supporter.description
    assert domain.max_score == 4
    assert not domain.templates or domain.name == "esconv-zh"
    assert all(strategy.description.endswith((".", "。")) for strategy in domain.strategies)
    assert all(criterion.description and all(criterion.levels) for criterion in domain.rubric)
    assert all(len(set(criterion.levels)) == 5 for criterion in domain.rubric)


def test_get_domain():
    assert domains() == ("esc", "esconv", "persuasion", "mi", "bargaining", "esconv-zh")
    assert get_domain("esc") is ESC
    assert get_domain(" ESConv ") is ESCONV
    with pytest.raises(DomainError, match=r"did you mean 'persuasion'\? There are esc, esconv, persuasion"):
        get_domain("persuade")
    with pytest.raises(DomainError, match="no built-in domain 'zzzz'; there are"):
        get_domain("zzzz")
    with pytest.raises(DomainError, match=r"read your own file with load_domain\('care.json'\)"):
        get_domain("care.json")
    with pytest.raises(DomainError):
        get_domain(None)


def test_a_users_domain_file_is_read(write):
    path = write(b"\xef\xbb\xbf" + PERSUASION.model_dump_json().encode())
    assert load_domain(path) == PERSUASION
    assert load_domain(str(path)) == PERSUASION


def without(key):
    return {name: value for name, value in ESC.model_dump(mode="json").items() if name != key}


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        (without("rubric"), "rubric", "Field required"),
        (
            {**without("strategies"), "strategies": {"strategies": [{"name": 3}]}},
            "strategies.strategies[0].name",
            "str",
        ),
        ({**without(""), "colour": "red"}, "colour", "Extra"),
        ({**without("weights"), "weights": {"empathy": 1}}, None, "weights are for"),
        ({**without("name"), "name": "No Key"}, "name", "pattern"),
        ({}, "name", "and 3 more"),
        ([], None, "object"),
        ("", None, "JSON"),
        ("{", None, "JSON"),
        ("[" * 100_000, None, "JSON"),
        (b"\xff\xfe", None, "UTF-8"),
    ],
)
def test_a_wrong_domain_file_is_one_error_with_file_and_field(write, value, field, message):
    path = write(value)
    with pytest.raises(DomainError, match=message) as caught:
        load_domain(path)
    assert caught.value.file == str(path)
    assert caught.value.field == field
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", ["absent.json", ".", "a\0b"])
def test_a_domain_file_that_cannot_be_read(tmp_path, name):
    with pytest.raises(DomainError, match="cannot be read"):
        load_domain(tmp_path / name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(change=st.dictionaries(st.sampled_from(sorted(without(""))), JSON, max_size=3))
def test_no_domain_file_raises_anything_else(tmp_path_factory, change):
    path = tmp_path_factory.getbasetemp() / "domain.json"
    path.write_text(json.dumps({**without(""), **change}))
    try:
        load_domain(path)
    except DomainError as error:
        assert error.file == str(path)  # noqa: PT017  # most changes are errors, but not all


def test_import_is_light():
    code = (
        "import sys, mctsdialog.dialogue; print(sorted(sys.modules.keys() & {'torch', 'ray', 'numpy', 'matplotlib'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_the_persuasion_strategies_are_the_data_sets(data):
    file = data / "p4g" / "300_dialog.xlsx"
    if not file.is_file():
        pytest.skip(f"no PersuasionForGood at {file}")
    with zipfile.ZipFile(file) as archive:
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    labels = {"".join(cell.itertext()) for cell in sheet.iter() if cell.tag.endswith("}c")}
    found = {PERSUASION.strategies.resolve(label) for label in labels if len(label) < 40} - {None}
    assert found == set(PERSUASION.strategies.names)
