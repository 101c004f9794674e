"""Figures: drawn for whatever there is, the same every time, in the shared colours."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog._colours import PALETTE, strategy_colours, text_colour
from mctsdialog.errors import ConfigError
from mctsdialog.preferences import PreferenceDataset
from mctsdialog.statistics import ToxicityTable, dataset_statistics, write_plots
from mctsdialog.statistics import _plots as module
from mctsdialog.statistics._data import Distribution, equal_edges


@pytest.fixture
def statistics(maker):
    pytest.importorskip("matplotlib")
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.8, 5, "gold"), "Comfort": (-0.5, 1)})
    maker.family(tree, first["Ask"], {"Comfort": (0.9, 3, "end", "gold"), "Plan": (-1.0, 1)})
    return dataset_statistics(PreferenceDataset.from_trees([tree]))


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_every_figure_is_drawn_and_the_same_again(statistics, tmp_path, format):
    rows = {"seed": {"TOXICITY": 0.1}, "chosen": {"TOXICITY": 0.2}}
    rated = statistics.with_toxicity(ToxicityTable(scorer="$x^2$", attributes=("TOXICITY",), rows=rows))
    files = write_plots(rated, tmp_path / "one", format=format)
    assert {path.stem for path in files} == set(module.FIGURES)
    again = write_plots(rated, tmp_path / "two", format=format)
    for first, second in zip(files, again, strict=True):
        assert first.stat().st_size > 1000
        assert first.read_bytes() == second.read_bytes()


def test_without_toxicity_there_is_no_figure_of_it(statistics, tmp_path):
    assert "toxicity" not in {path.stem for path in write_plots(statistics, tmp_path)}


def test_empty_data_is_told_in_a_sentence(maker, tmp_path):
    pytest.importorskip("matplotlib")
    empty = dataset_statistics(PreferenceDataset.from_trees([maker.tree()]))
    for name, draw in module.FIGURES.items():
        figure = draw(empty)
        texts = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert any(re.match(r"(There|No) .*\.", text, re.DOTALL) for text in texts), name
    assert write_plots(empty, tmp_path)


def test_too_few_values_are_a_sentence_and_no_histogram(statistics):
    upper, lower = module.values_figure(statistics).axes
    for axes, words in ((upper, "2 chosen, 2 rejected"), (lower, "2. It takes 5.")):
        (text,) = axes.texts
        assert words in text.get_text().replace("\n", " ")
        assert not axes.patches


@pytest.mark.parametrize("count", [5, 40, 5000])
def test_bins_come_from_the_range_of_the_data(count):
    values = [0.3 + 0.4 * place / count for place in range(count)]
    edges = equal_edges(values)
    assert edges[0] <= min(values) < edges[1]
    assert edges[-2] <= max(values) <= edges[-1]
    assert 4 <= len(edges) - 1 <= 25
    assert all(edge == pytest.approx(round(edge, 2)) for edge in edges)


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([2.0, 2.0], [1.5, 2.5]),
        ([1, 3, 3], [0.5, 1.5, 2.5, 3.5]),
        ([1e300, 1e300], [1e300 - 1e291, 1e300 + 1e291]),
        ([1.0, 1.0 + 2**-52], [1.0, 1.0 + 2**-52]),
    ],
)
def test_bins_of_degenerate_data(values, edges):
    assert equal_edges(values) == edges
    assert sum(Distribution.of(values).counts) == len(values)


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=50))
def test_every_value_is_in_a_bin(values):
    edges = equal_edges(values)
    assert edges == sorted(set(edges))
    assert edges[0] <= min(values)
    assert edges[-1] >= max(values)
    assert sum(Distribution.of(values, edges).counts) == len(values)


def test_a_square_is_blank_at_zero_and_figures_fit_a_column(statistics):
    for name, draw in module.FIGURES.items():
        assert draw(statistics).get_figwidth() <= 8, name
    shares = module.transitions_figure(statistics).axes[1].images[0].get_array()
    assert shares.mask.sum() == shares.size - 1  # one strategy follows another


def test_bars_have_the_strategies_colours(statistics):
    figure = module.strategies_figure(statistics)
    colours = strategy_colours(statistics.strategies)
    from matplotlib.colors import to_hex

    drawn = {to_hex(patch.get_facecolor()).upper() for axes in figure.axes for patch in axes.patches}
    assert drawn == set(colours.values())


def test_names_are_no_formulas(maker, domain_maker, tmp_path):
    pytest.importorskip("matplotlib")
    tree = maker.tree(domain=domain_maker((r"$\frac{", "Comfort \\alpha$", "Plan")))
    maker.family(tree, 0, {r"$\frac{": (0.9, 2, "end"), "Plan": (-1.0, 1)})
    assert write_plots(dataset_statistics(PreferenceDataset.from_trees([tree])), tmp_path)


@pytest.mark.parametrize("name", [r"a\alpha", "$x^2$", r"\$", "a$b", "100 %"])
def test_a_name_is_shown_as_it_is(name):
    text_module = pytest.importorskip("matplotlib.text")
    shown, formula = text_module.Text()._preprocess_math(module.plain(name))
    assert (shown, formula) == (name, False)


def test_control_characters_in_names_do_nothing(maker, domain_maker, tmp_path):
    pytest.importorskip("matplotlib")
    tree = maker.tree(domain=domain_maker(("\x1b[31mred\x07", "x\u202ey", "Plan")))
    maker.family(tree, 0, {"x\u202ey": (0.9, 2, "end"), "Plan": (-1.0, 1)})
    assert write_plots(dataset_statistics(PreferenceDataset.from_trees([tree])), tmp_path)  # a missing glyph warns


def boxes(figure, items):
    figure.draw_without_rendering()
    return [item.get_window_extent() for item in items]


LONG = ("Reflective Statements and Restatement of Feelings", "Offering Hope for the Future", "Clarification")


@pytest.mark.parametrize("count", [8, 10, 16])
def test_legends_of_long_names_are_within_the_figure(maker, domain_maker, count):
    pytest.importorskip("matplotlib")
    names = tuple(f"{LONG[number % 3]} {number}" for number in range(count))
    statistics = dataset_statistics(PreferenceDataset.from_trees([maker.tree(domain=domain_maker(names))]))
    for draw in (module.stages_figure, module.strategies_figure):
        figure = draw(statistics)
        (box,) = boxes(figure, figure.legends)
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.height


def test_no_legend_lies_on_bars(statistics):
    names = ("seed", "chosen", "rejected", "expanded")
    rows = {name: {"TOXICITY": 0.2, "THREAT": 0.2} for name in names}
    table = ToxicityTable(scorer="any", attributes=("TOXICITY", "THREAT"), rows=rows)
    for name in ("values", "visits", "toxicity"):
        figure = module.FIGURES[name](statistics.with_toxicity(table))
        for axes in figure.axes:
            for legend in (*figure.legends, *([axes.get_legend()] if axes.get_legend() else [])):
                legend_box, *bars = boxes(figure, [legend, *axes.patches])
                assert not any(bar.height > 0 and legend_box.overlaps(bar) for bar in bars), name


def test_without_matplotlib_there_is_one_clear_error(statistics, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="notebook"):
        write_plots(statistics, tmp_path)


def linear(colour):
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]


# Machado et al., 2009, severity 1
BLINDNESS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def lab(rgb):
    rgb = [min(max(each, 0.0), 1.0) for each in rgb]
    white = (0.9505, 1.0, 1.089)
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(a * b for a, b in zip(row, rgb, strict=True)) / w for row, w in zip(rows, white, strict=True)]
    f = [each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116 for each in xyz]
    return (116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2]))


@pytest.mark.parametrize("kind", list(BLINDNESS))
def test_the_palette_is_told_apart_by_every_reader(kind):
    seen = [
        lab([sum(a * b for a, b in zip(row, linear(colour), strict=True)) for row in BLINDNESS[kind]])
        for colour in PALETTE
    ]
    for place, one in enumerate(seen):
        for other in seen[:place]:
            assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 15  # about 2.3 is just seen


def test_colours_go_on_after_the_palettes_end():
    names = [str(number) for number in range(25)]
    colours = strategy_colours(names)
    assert len(set(colours.values())) == 25
    assert list(colours.values())[:10] == list(PALETTE)
    assert (text_colour("#FFFFFF"), text_colour("#000000"), text_colour("#F0E442")) == ("#000000", "#FFFFFF", "#000000")
