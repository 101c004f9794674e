"""One colour for each strategy, the same in every plot and viewer, told apart by colour-blind readers too."""

from __future__ import annotations

from collections.abc import Sequence

PALETTE = (
    "#0072B2",  # blue, orange, green, sky, vermilion, pink, yellow: Okabe and Ito, without black
    "#E69F00",
    "#009E73",
    "#56B4E9",
    "#D55E00",
    "#CC79A7",
    "#F0E442",
    "#555555",  # grey
    "#44206E",  # violet
    "#7A4A21",  # brown
)
"""Colours in the order of a strategy set."""

_ROUND = 0.55  # how much of a colour is kept where the palette begins again


def strategy_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour (``#RRGGBB``) for every strategy, by its place in the domain's set.

    The first ten differ for readers with any common colour blindness; further ones are lighter shades of them.

    :param names: all names of the set, in its order.
    """
    return {name: _shade(index) for index, name in enumerate(names)}


def text_colour(background: str) -> str:
    """Black or white (``#RRGGBB``), whichever reads better on the background (WCAG 2 relative luminance)."""
    linear = [_linear(channel / 255) for channel in _channels(background)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#FFFFFF"


def _shade(index: int) -> str:
    rounds, place = divmod(index, len(PALETTE))
    kept = _ROUND**rounds
    return "#" + "".join(f"{round(255 - kept * (255 - channel)):02X}" for channel in _channels(PALETTE[place]))


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
