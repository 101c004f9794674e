"""The tree as one HTML file to look at in a browser: no server, no network, no dependency.

The page holds the tree as JSON and draws it on a canvas. Its script and style are known to it by their hashes alone
(Content-Security-Policy), so that nothing else can run in it and nothing can leave it, whatever the tree's texts say.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from mctsdialog._arguments import checked
from mctsdialog._colours import strategy_colours, text_colour
from mctsdialog.export._words import stop_words
from mctsdialog.files import write_atomically
from mctsdialog.roles import check_roles
from mctsdialog.tree import (
    MAX_PATHS,
    EndNode,
    ExpandedNode,
    PathRule,
    Rollout,
    SpokenNode,
    StrategyNode,
    Tree,
    check_path_settings,
    reward_range,
)

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_UNSAFE: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_SLOT: Final = re.compile(r"\{\{(\w+)\}\}")
_END, _GOLD, _PROBE = 1, 2, 4  # bits of a spoken node's kind
_PRIOR_DIGITS: Final = 4


@checked()
def to_html(
    tree: Tree,
    *,
    theta: float = 0.5,
    min_visits: int = 2,
    path_rule: PathRule = "all",
    title: str | None = None,
) -> str:
    """The tree as one self-contained HTML page.

    The page shows the tree to pan, zoom, fold and search; a node's conversation with scores and siblings; and the valid
    paths and preference pairs (paper eq. 5 and 6) at a theta that the reader moves. It asks no network for anything.
    While node 12 is selected its address ends in ``#12``, and an address that ends so selects the node.

    For automation the page has a frozen object ``window.viewer``. To read: ``ready`` (the first frame is drawn),
    ``readyMs`` (ms from the start of navigation to that), ``nodeCount``, ``visibleCount``, ``selected`` (id or null),
    ``theta``, ``minVisits``, ``pathRule``, ``validEnds`` (ids of the valid paths' ends), ``pairs`` (lists
    ``[chosen, rejected]`` of ids, in order), ``hits`` (ids that the search found), ``hit`` (the one shown),
    ``collapsed`` (ids of folded nodes), ``theme``, ``showsUnexpanded``, ``drawMs`` (ms that the last frame took) and
    ``view`` (scales and offsets). To call: ``position(id)``, a node's ``{x, y}`` in the window or null where it is
    hidden, ``select(id)``, which selects a node and brings it into view, and ``state()`` and ``restore(state)``, by
    which a page of the same tree, grown meanwhile, takes over what is open, selected and in view.

    :param theta: threshold that is shown first; taken into the rewards of the tree's judge where it is outside.
    :param min_visits: least visits of a valid path's end node that is shown first, 0 or more.
    :param path_rule: path rule that is shown first.
    :param title: heading and title of the page; the scenario's id by default.
    :raises ConfigError: for a setting out of range.
    """
    return html_page(tree, theta=theta, min_visits=min_visits, path_rule=path_rule, title=title)


def html_page(
    tree: Tree,
    *,
    theta: float,
    min_visits: int,
    path_rule: PathRule,
    title: str | None = None,
    calls: Mapping[str, Any] | None = None,
) -> str:
    """The page of :func:`to_html`.

    :param calls: what is known of the model calls behind its nodes; None for nothing.
    """
    check_path_settings(theta, min_visits, path_rule)
    low, high = reward_range(tree)
    settings = {"theta": min(max(float(theta), low), high), "minVisits": min_visits, "pathRule": path_rule}
    heading = title if title is not None else tree.id or "Conversation tree"
    warnings = check_roles(tree).warnings
    data = {"title": heading, "settings": settings, "range": [low, high], "warnings": warnings}
    data |= {**_head(tree), **_nodes(tree), **(calls or {})}
    slots = {
        "policy": page_policy(),
        "title": html.escape(encodable(heading)),
        "style": _asset("viewer.css"),
        "script": _asset("viewer.js"),
        "data": _inert(data),
    }
    return _SLOT.sub(lambda found: slots[found[1]], _asset("viewer.html"))


@checked()
def save_html(
    tree: Tree,
    path: str | Path,
    *,
    theta: float = 0.5,
    min_visits: int = 2,
    path_rule: PathRule = "all",
    title: str | None = None,
) -> Path:
    """Write :func:`to_html` to a file, in one step; the parameters are the same.

    :raises ConfigError: for a setting out of range.
    :raises OSError: when the file cannot be written.
    """
    page = to_html(tree, theta=theta, min_visits=min_visits, path_rule=path_rule, title=title)
    return write_atomically(path, page)


def page_policy() -> str:
    """The Content-Security-Policy of the page: its own script and style alone."""
    style, script = _digest(_asset("viewer.css")), _digest(_asset("viewer.js"))
    return f"default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'"


def _head(tree: Tree) -> dict[str, Any]:
    names = tree.domain.strategies.names
    colours = strategy_colours(names)
    return {
        "id": tree.id,
        "scene": tree.scenario.scene,
        "description": tree.scenario.description,
        "domain": tree.domain.title or tree.domain.name,
        "speakers": [tree.domain.seeker.name, tree.domain.supporter.name],
        "strategies": [
            [each.name, colours[each.name], text_colour(colours[each.name]), each.description]
            for each in tree.domain.strategies
        ],
        "criteria": tree.domain.criteria,
        "maxScore": tree.domain.max_score,
        "iterations": tree.iterations,
        "stopped": "" if tree.stop_reason is None else stop_words(tree.stop_reason, tree.iterations),
        "root": [tree.root.value, tree.root.visits],
        "turns": [[int(turn.speaker == "supporter"), turn.text, turn.strategy] for turn in tree.root.turns],
    }


def _nodes(tree: Tree) -> dict[str, Any]:
    """All nodes below the root in columns; what unexpanded nodes have not is there for spoken nodes alone.

    Children are consecutive and in the order of the strategy set, so a family is its parent and its first child.
    """
    below = [node for node in tree if isinstance(node, StrategyNode)]
    spoken = [node for node in below if isinstance(node, SpokenNode)]
    scores = [None if math.isnan(node.score) else _short(node.score) for node in below]
    return {
        "count": len(tree),
        "families": [number for node in tree if node.children for number in (node.id, node.children.start)],
        "prior": [_short(float(f"{node.prior:.{_PRIOR_DIGITS}g}")) for node in below],
        "score": scores if any(score is not None for score in scores) else [],
        "spoken": [node.id for node in spoken],
        "kind": "".join(str(_kind(node)) for node in spoken),
        "q": [_short(node.value) for node in spoken],
        "n": [node.visits for node in spoken],
        "say": [node.supporter for node in spoken],
        "reply": [node.seeker if isinstance(node, ExpandedNode) else None for node in spoken],
        "closed": [[node.id, node.closed] for node in tree if node.closed is not None],
        "rollouts": [[node.id, *_rollout(tree, node.rollout)] for node in spoken if node.rollout is not None],
        "posteriors": [[node.id, *map(_short, node.posterior)] for node in spoken if node.posterior is not None],
        "maxPaths": MAX_PATHS,
    }


def _kind(node: SpokenNode) -> int:
    return _END * isinstance(node, EndNode) + _GOLD * node.gold + _PROBE * node.probe


def _rollout(tree: Tree, rollout: Rollout) -> list[Any]:
    places = {name: place for place, name in enumerate(tree.domain.strategies.names)}
    steps = [[places.get(step.strategy, step.strategy), step.supporter, step.seeker] for step in rollout.steps]
    return [_short(rollout.reward), steps, [[_short(score) for score in scores] for scores in rollout.judgements]]


def _short(number: float) -> float:
    """The same number, whole where it is, so that JSON has no ``.0``."""
    return int(number) if math.isfinite(number) and number == int(number) else number


def encodable(text: str) -> str:
    """``text`` with the lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def _inert(data: Any) -> str:
    """JSON that ends no script element and starts no comment, whatever the texts hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return encodable(text).translate(_UNSAFE)


@functools.cache
def _asset(name: str) -> str:
    text = (resources.files("mctsdialog.export") / "web" / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def _digest(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
