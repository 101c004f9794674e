"""Figures as both packages draw them: without a window or global state, written in one step, texts as data.

matplotlib is imported when a figure is drawn; it is optional.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from mctsdialog._colours import strategy_colours
from mctsdialog.errors import ConfigError
from mctsdialog.files import atomic_file, inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = [
    "COUNTS_LABEL",
    "FontWarning",
    "draw_counts",
    "matplotlib_module",
    "new_figure",
    "plain",
    "save_figure",
    "say",
    "strategy_colours",
    "use_fonts",
    "whole_ticks",
    "wrapped",
]

_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans", "Hiragino Sans GB", "Heiti SC", "Yu Gothic",
    "Malgun Gothic", "AppleGothic", "Arial Unicode MS", "Droid Sans Fallback", "Leelawadee UI", "Thonburi", "Tahoma",
    "Nirmala UI", "Kohinoor Devanagari", "Loma", "FreeSans",
)  # fmt: skip
"""Fonts of other scripts, as the systems have them."""


def __dir__() -> list[str]:
    return __all__


_NAME_WIDTH = 18  # characters a line of a strategy's name
_LONG_NAME_WIDTH = 28  # where it stands slanted: few lines, or it runs into the next name

COUNTS_LABEL = "% of the row; numbers are counts"
"""What the colours of :func:`draw_counts` mean."""


def matplotlib_module() -> Any:
    """Matplotlib.

    :raises ConfigError: if it is not installed.
    """
    try:
        import matplotlib  # noqa: PLC0415  # optional
    except ImportError as error:
        message = 'figures need matplotlib: pip install "mctsdialog[notebook]"'
        raise ConfigError(message, field="figures") from error
    return matplotlib


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, without a window or global state.

    :raises ConfigError: if matplotlib is not installed.
    """
    matplotlib_module()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, folder: str | Path, name: str, **settings: Any) -> Path:
    """Draw a figure into a file of a folder, which appears whole or not at all.

    :param name: the file's; what follows its dot is the format.
    :param settings: as matplotlib's ``savefig`` has them.
    :raises DataError: for a symbolic link of this name.
    :raises OSError: if the file cannot be written.
    """
    path = inside(folder, name)
    use_fonts(figure)
    with atomic_file(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # one FontWarning says it
        figure.savefig(file, format=path.suffix[1:], **settings)
    return path


class FontWarning(UserWarning):
    """No installed font that is known has the letters of a figure; it shows boxes in their place."""


def use_fonts(figure: Figure) -> None:
    """Give the texts of a figure fonts that have their letters, where the usual one has not.

    A :class:`FontWarning` says so where no font is installed that has them.
    """
    from matplotlib.text import Text  # noqa: PLC0415

    texts = figure.findobj(Text)
    letters = frozenset(letter for text in texts for letter in text.get_text() if letter > "\u02ff")
    if not letters:
        return
    families, missing = _families(letters)
    for text in texts:
        text.set_fontfamily(list(families))
    if missing:
        message = (
            f"no font was found for {missing[:10]!r}, so figures show boxes; install a font for the language, such as "
            "Noto Sans (Debian: fonts-noto-core, fonts-noto-cjk)"
        )
        warnings.warn(message, FontWarning, stacklevel=3)


@lru_cache(maxsize=64)
def _families(letters: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Families that have the letters together, the usual one first, and the letters that none has."""
    from matplotlib.font_manager import (  # noqa: PLC0415
        FontProperties,
        findfont,
        findSystemFonts,
        fontManager,
        get_font,
    )

    def covered(family: str) -> frozenset[str]:
        font = get_font(findfont(FontProperties(family=family)))
        return frozenset(letter for letter in letters if font.get_char_index(ord(letter)))

    usual = FontProperties().get_name()
    families, missing = [usual], letters - covered(usual)
    if missing:  # matplotlib knows the fonts of the day when it first ran
        known = {font.fname for font in fontManager.ttflist}
        for path in set(findSystemFonts()) - known:
            with suppress(OSError, RuntimeError):  # no font that it can read
                fontManager.addfont(path)
    installed = set(fontManager.get_font_names())
    noto = sorted(name for name in installed if name.startswith("Noto Sans"))
    for family in (*filter(installed.__contains__, _FONTS), *noto):
        if missing and family not in families and (found := missing & covered(family)):
            families.append(family)
            missing -= found
    return tuple(families), "".join(sorted(missing))


def plain(text: str) -> str:
    """``text`` for a figure: a dollar begins no formula, and a control character does nothing."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    return shown.replace("$", r"\$")


def wrapped(name: str, width: int = _NAME_WIDTH) -> str:
    """A name for a figure, broken into lines of so many characters."""
    wide = any(east_asian_width(letter) in "WF" for letter in name)  # such a letter is as wide as two
    return plain("\n".join(textwrap.wrap(name, width // 2 if wide else width)) or name)


def draw_counts(axes: Axes, counts: Sequence[Sequence[int]], names: Sequence[str], *, none: str) -> AxesImage:
    """A square of counts, strategies by strategies: the colour is the share of the row, from 0 to 100 %; 0 is blank.

    :param none: what to say where all counts are 0.
    """
    shares = [[100 * value / sum(row) if value else math.nan for value in row] for row in counts]
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    labels = [wrapped(name, _LONG_NAME_WIDTH) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=55, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(names)), labels, fontsize=9)
    if not any(map(sum, counts)):
        say(axes, none)
        return image
    for row, line in enumerate(counts):
        for column, value in enumerate(line):
            if value:
                ink = "black" if shares[row][column] > 55 else "white"
                axes.text(column, row, str(value), ha="center", va="center", color=ink, fontsize=9)
    return image


def whole_ticks(axis: Axis) -> None:
    """Have ticks at whole numbers alone: half a step or half a pair means nothing."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axis.set_major_locator(MaxNLocator(integer=True))


def say(axes: Axes, sentence: str) -> None:
    """Write a sentence in place of a plot, if there is too little to draw."""
    axes.set_axis_off()
    shown = plain("\n".join(textwrap.wrap(sentence, 48)))
    axes.text(0.5, 0.5, shown, transform=axes.transAxes, ha="center", va="center", fontsize=11, color="#444444")
