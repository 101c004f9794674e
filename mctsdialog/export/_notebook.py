"""Trees, dialogues and a running search, as a notebook shows them."""

from __future__ import annotations

import sys
import time
from html import escape
from types import TracebackType
from typing import Any, Final, Self

from mctsdialog import _repr
from mctsdialog._arguments import checked
from mctsdialog._colours import strategy_colours, text_colour
from mctsdialog.dialogue import Dialogue, Turn, domains, get_domain
from mctsdialog.export._plot import plot_tree
from mctsdialog.export._viewer import encodable, to_html
from mctsdialog.text import visible_line
from mctsdialog.tree import Tree

MOST_NODES: Final = 20_000
"""Trees above this show their summary alone in a notebook; ``save_html`` has no limit."""

_HEIGHT = 560  # pixels of the viewer in a notebook
_SHOWN_CHIPS = 12
_GREY = "#9AA0A6"
_MUTED = "opacity:.72"


# -- trees ---------------------------------------------------------------------------------------------------


def tree_html(tree: Tree) -> str:
    """A summary of the tree and, up to :data:`MOST_NODES` nodes, the viewer in a sandboxed frame."""
    summary = f'<div style="font-family:system-ui,sans-serif;line-height:1.5;margin:.3em 0">{_summary(tree)}</div>'
    if len(tree) > MOST_NODES:
        hint = f"A tree of more than {MOST_NODES:,} nodes is not drawn here; write it to a file of its own with"
        return f'{summary}<p>{hint} <code>mctsdialog.export.save_html(tree, "tree.html")</code>.</p>'
    return (
        f'{summary}<iframe sandbox="allow-scripts" title="Conversation tree" width="100%" height="{_HEIGHT}" '
        f"style=\"border:1px solid #8886;border-radius:6px\" srcdoc='{_attribute(to_html(tree))}'></iframe>"
    )


def _summary(tree: Tree) -> str:
    counts = tree.counts()
    name = escape(encodable(tree.id or tree.scenario.scene or "Conversation tree"))
    line = (
        f"{_count(len(tree), 'node')}: {counts['expanded']:,} expanded, {_count(counts['end'], 'end')}, "
        f"{counts['unexpanded']:,} not tried; {_count(tree.iterations, 'iteration')}"
    )
    if closed := tree.closed():
        line += (
            f"; closed: {', '.join(f'{escape(encodable(name))} {count:,}' for name, count in sorted(closed.items()))}"
        )
    stop = "" if tree.stop_reason is None else f"; stopped: {escape(encodable(tree.stop_reason))}"
    return f"<strong>{name}</strong><br>{line}{stop}<br>{_best(tree)}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _best(tree: Tree) -> str:
    best = tree.best_path()
    if not best:
        return "No path has reached an end yet."
    names = best.strategies
    gold = " (gold)" if getattr(best.nodes[-1], "gold", False) else ""
    colours = strategy_colours(tree.domain.strategies.names)
    chips = " ".join(_chip(name, colours.get(name, _GREY)) for name in names[:_SHOWN_CHIPS])
    more = f" … {len(names) - _SHOWN_CHIPS:,} more" if len(names) > _SHOWN_CHIPS else ""
    return f"Best path{gold}: mean Q {best.value:+.3f} over {_count(len(names), 'supporter turn')}<br>{chips}{more}"


def _attribute(page: str) -> str:
    """``page`` as the value of a single-quoted attribute; the many double quotes of JSON need no escape there."""
    return page.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#x27;")


# -- dialogues -----------------------------------------------------------------------------------------------


def dialogue_html(dialogue: Dialogue) -> str:
    """The conversation, one block a turn, supporter turns with their strategy in its colour."""
    colours = dialogue_colours(dialogue)
    head = " · ".join(escape(encodable(part)) for part in (dialogue.scene, dialogue.id) if part)
    parts = [f"<strong>{head}</strong>"] if head else []
    if dialogue.description:
        parts.append(f'<div style="{_MUTED};margin:.2em 0 .6em">{escape(encodable(dialogue.description))}</div>')
    parts += [_turn(turn, colours) for turn in dialogue.turns]
    style = "font-family:system-ui,sans-serif;line-height:1.5;max-width:46rem;margin:.3em 0"
    return f'<div style="{style}">{"".join(parts)}</div>'


def dialogue_colours(dialogue: Dialogue) -> dict[str, str]:
    """A colour for every strategy of the first built-in domain that has all of the dialogue's; else of none."""
    used = {turn.strategy for turn in dialogue.turns if turn.strategy is not None}
    for name in domains():
        names = get_domain(name).strategies.names
        if used <= set(names):
            return strategy_colours(names)
    return {}


def _turn(turn: Turn, colours: dict[str, str]) -> str:
    text = f'<div dir="auto" style="white-space:pre-wrap">{escape(encodable(turn.text))}</div>'
    if turn.speaker == "seeker":
        box = "margin:.45em 18% .45em 0;border-left:3px solid #8888"
        head = "Seeker"
    else:
        colour = _GREY if turn.strategy is None else colours.get(turn.strategy, _GREY)
        box = f"margin:.45em 0 .45em 18%;border-left:3px solid {colour}"
        chip = "" if turn.strategy is None else " " + _chip(turn.strategy, colour)
        head = f"Supporter{chip}"
    style = f"{box};padding:.35em .8em;background:#8881;border-radius:0 6px 6px 0"
    return f'<div style="{style}"><div style="font-size:.82em;margin-bottom:.15em">{head}</div>{text}</div>'


def _chip(name: str, colour: str) -> str:
    style = f"background:{colour};color:{text_colour(colour)};border-radius:1em;padding:.1em .65em;font-size:.86em"
    return f'<span style="{style};white-space:nowrap;display:inline-block">{escape(encodable(name))}</span>'


# -- a running search ----------------------------------------------------------------------------------------


@checked()
class NotebookProgress:
    """One updating line about a running search: iterations, nodes, ends, Q of the root, iterations a second.

    Give it as ``on_progress``; in a notebook it is a bar in the cell's output, elsewhere a line on standard error::

        with NotebookProgress() as progress:
            tree = await mctsdialog.search(dialogue, roles, on_progress=progress)

    At most four updates a second; the last state is shown when the most iterations are reached and when the block is
    left. Another tree begins another line.

    :param interval: least seconds between two updates; by default 0.25, and 10 where standard error is no terminal.
    """

    def __init__(self, interval: float | None = None) -> None:
        self._display = _notebook_display()
        live = self._display is not None or sys.stderr.isatty()
        self._interval = interval if interval is not None else 0.25 if live else 10.0
        self._tree: Tree | None = None
        self._handle: Any = None
        self._began = self._shown = 0.0
        self._first = self._last = 0
        self._final = False

    def __call__(self, tree: Tree) -> None:
        """Take note of the tree, and show it where it is time to."""
        now = time.monotonic()
        if tree is not self._tree:
            self.close()
            self._tree, self._handle, self._final = tree, None, False
            self._began, self._first, self._last = now, tree.iterations, -1
            self._show(now)
        elif tree.iterations == tree.config.get("max_iterations"):
            self.close()
        elif now - self._shown >= self._interval:
            self._show(now)

    def close(self) -> None:
        """Show the last state of the tree; more calls for the same tree show no more than they have to."""
        if self._tree is not None and not self._final:
            self._final = True
            self._show(time.monotonic())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tree is not None and self._tree.stop_reason is not None:
            self._final = False  # the reason is known only now
        self.close()

    def _show(self, now: float) -> None:
        assert self._tree is not None
        self._shown = now
        text = visible_line(self._text(self._tree, now))
        if self._display is not None:
            self._show_html(text)
        elif sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[2K{text}" + "\n" * self._final)
            sys.stderr.flush()
        else:
            sys.stderr.write(f"{text}\n")

    def _show_html(self, text: str) -> None:
        assert self._tree is not None
        assert self._display is not None
        data = {"text/html": self._bar(text), "text/plain": text}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def _bar(self, text: str) -> str:
        assert self._tree is not None
        most = self._tree.config.get("max_iterations")
        done = f'value="{self._tree.iterations}" max="{most}"' if isinstance(most, int) and most > 0 else ""
        style = "font-family:system-ui,sans-serif;display:flex;gap:.8em;align-items:center;flex-wrap:wrap"
        return f'<div style="{style}"><progress {done} style="width:12em"></progress><span>{escape(text)}</span></div>'

    def _text(self, tree: Tree, now: float) -> str:
        most = tree.config.get("max_iterations")
        of = f"/{most}" if isinstance(most, int) else ""
        seconds = now - self._began
        rate = (tree.iterations - self._first) / seconds if seconds > 0 else 0.0
        parts = [
            encodable(" ".join(tree.id.split())),
            f"{tree.iterations}{of} iterations",
            _count(len(tree), "node"),
            _count(tree.ends, "end"),
            f"root Q {tree.root.value:+.3f}",
            f"{rate:.2f} iterations/s",
        ]
        if self._final and tree.stop_reason is not None:
            parts.append(f"stopped: {tree.stop_reason}")
        return ", ".join(part for part in parts if part)


def _notebook_display() -> Any:
    """IPython's ``display`` where this is a notebook's kernel, else None. IPython is never imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display  # noqa: PLC0415  # it is there, and only there

    return display


_repr.register(Tree, html=tree_html, plot=plot_tree)
_repr.register(Dialogue, html=dialogue_html)
