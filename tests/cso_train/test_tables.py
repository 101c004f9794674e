"""Tables of several evaluations: the layout of the paper's Table 2, the best of every column, names from anywhere."""

import json
import re

import pytest

from cso_train.evaluation import (
    Evaluation,
    Interval,
    StrategyScore,
    json_table,
    latex_table,
    markdown_table,
    strategy_table,
)

HEADS = ["model", "Q ↑", "B ↓", "Q_W ↑", "R-L ↑", "unparsed", "n"]


def evaluation(q, b, q_w, r_l, saturated=False):
    """An evaluation with those numbers, each plus and minus 1."""
    around = [Interval(value, value - 1, value + 1) for value in (q, b, q_w, r_l)]
    return Evaluation(
        count=200,
        macro_f1=around[0],
        weighted_f1=around[2],
        bias=around[1],
        bias_saturated=saturated,
        rouge_l=around[3],
        parse_failures=Interval(0.125, 0.1, 0.2),
        strategies=(StrategyScore("A | B", 0.5, 0.25, 1 / 3, 8, 4), StrategyScore("C", 0, 0, 0, 0, 0)),
        strategy_f1=(Interval(100 / 3, 20, 40), Interval(0, 0, 0)),
        confusion=((2, 1), (3, 4)),
        preferences=(1.5, 0.5),
    )


@pytest.fixture
def paper():
    """Rows of Table 2: Llama, its LoRA SFT and its LoRA CSO."""
    return {
        "LLaMA-3.1-8B-Instruct": evaluation(29.79, 1.18, 38.78, 23.48),
        "SFT": evaluation(31.25, 2.65, 39.27, 23.30, saturated=True),
        "CSO": evaluation(34.51, 1.11, 41.11, 23.89),
    }


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_papers_rows_in_the_papers_columns(paper):
    head, _, *rows = markdown_table(paper, intervals=False).splitlines()
    assert cells(head) == HEADS
    assert cells(rows[0]) == ["LLaMA-3.1-8B-Instruct", "29.79", "1.18", "38.78", "23.48", "12.5 %", "200"]
    assert cells(rows[1])[1:5] == ["31.25", "2.65†", "39.27", "23.30"]
    assert cells(rows[2])[1:5] == ["**34.51**", "**1.11**", "**41.11**", "**23.89**"]


def test_intervals_stand_beside_their_values(paper):
    row = markdown_table(paper).splitlines()[3]
    assert cells(row)[1:3] == ["31.25 (30.25 to 32.25)", "2.65† (1.65 to 3.65)"]
    assert cells(row)[5] == "12.5 % (10.0 to 20.0)"


def test_equals_to_two_places_share_the_best():
    same = {"one": evaluation(30.001, 1.0, 1, 1), "two": evaluation(30.004, 1.0, 1, 1)}
    assert [line.count("**") for line in markdown_table(same, intervals=False).splitlines()[2:]] == [8, 8]


def test_latex_has_the_same_numbers(paper):
    lines = latex_table(paper).splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrr}"
    assert lines[-1] == r"\end{tabular}"
    assert r"SFT & 31.25 & 2.65$^\dagger$ & 39.27 & 23.30 \\" in lines
    assert r"CSO & \textbf{34.51} & \textbf{1.11} & \textbf{41.11} & \textbf{23.89} \\" in lines
    assert r"$B$ $\downarrow$" in lines[2]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a_b", r"a\_b"),
        ("50% & more", r"50\% \& more"),
        ("#1 {x}", r"\#1 \{x\}"),
        ("~/run^2", r"\textasciitilde{}/run\textasciicircum{}2"),
        ("C:\\run", r"C:\textbackslash{}run"),
        ("$5", r"\$5"),
        ("[10pt]*", "{[}10pt]{*}"),
        ("*a\n\nb\x1b", r"{*}a b\textbackslash{}x1b"),
    ],
)
def test_names_in_latex_are_escaped(name, shown):
    assert f"{shown} & " in latex_table({name: evaluation(1, 1, 1, 1)})


@pytest.mark.parametrize("name", ["a | b", "two\nlines", "tab\there"])
def test_a_name_stays_in_its_cell(name):
    lines = markdown_table({name: evaluation(1, 1, 1, 1)}).splitlines()
    assert len(lines) == 3
    assert len(cells(lines[2])) == len(HEADS)


def test_json_is_read_back(paper):
    read = {name: Evaluation.from_dict(each) for name, each in json.loads(json_table(paper)).items()}
    assert read == paper
    assert list(read) == list(paper)


def test_no_models_make_an_empty_table():
    assert len(markdown_table({}).splitlines()) == 2
    assert r"\midrule" in latex_table({})
    assert json.loads(json_table({})) == {}


def test_the_strategies_of_one_model():
    text = strategy_table(evaluation(1, 1, 1, 1))
    lines = text.splitlines()
    assert cells(lines[2]) == [r"A \| B", "50.0", "25.0", "33.3 (20.0 to 40.0)", "8", "4", "1.50"]
    assert cells(lines[-1]) == ["C", "3", "4"]
