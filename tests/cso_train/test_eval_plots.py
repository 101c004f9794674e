"""Figures of an evaluation: what is drawn is what was measured."""

import random
import subprocess
import sys

import pytest

from cso_train.evaluation import confusion_figure, evaluate_replies, preference_figure, strategy_figure, write_plots
from mctsdialog import get_domain
from mctsdialog._colours import strategy_colours
from mctsdialog.errors import ConfigError

FIGURES = [confusion_figure, strategy_figure, preference_figure]


def evaluated(domain="esc", skill=0.5, favourite=None, seed=0, names=None):
    strategies = get_domain(domain).strategies
    generator = random.Random(seed)
    names = names or strategies.names
    gold = [(generator.choice(names), "some words") for _ in range(120)]
    said = [
        f"({right if generator.random() < skill else favourite or generator.choice(names)}) words" for right, _ in gold
    ]
    return evaluate_replies(gold, said, strategies, resamples=0)


@pytest.fixture(scope="module")
def evaluations():
    pytest.importorskip("matplotlib")
    return {"base $model$": evaluated(), "one for all": evaluated(skill=0.3, favourite="Affirmation", seed=1)}


def heights(axes):
    return [bar.get_height() for bar in axes.patches]


def test_preferences_are_drawn_in_the_strategies_colours(evaluations):
    from matplotlib.colors import to_hex

    figure = preference_figure(evaluations)
    assert len(figure.axes) == 2
    names = get_domain("esc").strategies.names
    for axes, each in zip(figure.axes, evaluations.values(), strict=True):
        assert heights(axes) == pytest.approx(each.preferences)
        assert [to_hex(bar.get_facecolor()).upper() for bar in axes.patches] == list(strategy_colours(names).values())
        assert axes.get_ylim()[1] > max(each.preferences)
    assert "(saturated)" not in figure.axes[0].get_title()
    assert figure.axes[1].get_title() == "one for all: B = 2.65 (saturated)"


def test_f1_is_drawn_in_percent(evaluations):
    for axes, each in zip(strategy_figure(evaluations).axes, evaluations.values(), strict=True):
        assert heights(axes) == pytest.approx([100 * score.f1 for score in each.strategies])


def test_the_confusions_are_shares_of_the_row_and_counts_in_numbers(evaluations):
    axes = confusion_figure(evaluations).axes[0]
    confusion = next(iter(evaluations.values())).confusion
    shares = axes.images[0].get_array()
    for row, line in enumerate(confusion):
        assert list(shares[row].filled(0.0)) == pytest.approx([100 * value / sum(line) for value in line])
    assert [text.get_text() for text in axes.texts] == [str(value) for line in confusion for value in line if value]


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_are_saved(figure, evaluations, tmp_path):
    figure(evaluations).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_figures_need_no_pyplot(tmp_path):
    pytest.importorskip("matplotlib")
    code = """
import sys
from cso_train.evaluation import evaluate_replies, preference_figure, write_plots
from mctsdialog import get_domain
made = {"model": evaluate_replies([("Affirmation", "a")], ["(Affirmation) a"], get_domain("esc").strategies)}
write_plots(made, sys.argv[1])
preference_figure(made).savefig(sys.argv[1] + "/preferences.png")
print("matplotlib.pyplot" in sys.modules)
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("figure", FIGURES)
def test_a_model_whose_replies_are_never_parsed_is_drawn(figure, tmp_path):
    pytest.importorskip("matplotlib")
    strategies = get_domain("esc").strategies
    silent = evaluate_replies([(strategies.names[0], "a")], ["nothing"], strategies, resamples=0)
    figure({"silent": silent}).savefig(tmp_path / "figure.png")


@pytest.mark.parametrize("figure", FIGURES)
def test_evaluations_of_other_strategies_are_refused(figure, evaluations):
    with pytest.raises(ValueError, match="there are 0 sets"):
        figure({})
    with pytest.raises(ValueError, match="there are 2 sets"):
        figure({**evaluations, "other": evaluated("persuasion")})


@pytest.mark.parametrize("figure", [*FIGURES, lambda evaluations: write_plots(evaluations, "unused")])
def test_without_matplotlib_the_error_says_what_to_install(figure, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"mctsdialog\[notebook\]"):
        figure({"base": evaluated()})
