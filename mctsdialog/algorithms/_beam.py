"""Beam search: no strategist, every strategy is tried after each beginning that is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import ClassVar

from pydantic import Field

from mctsdialog import _settings
from mctsdialog.algorithms._base import register
from mctsdialog.algorithms._batch import CALLS, Request, open_children
from mctsdialog.algorithms._levels import LevelSearch


class BeamSettings(_settings.Settings):
    """Settings of beam search."""

    width: int | None = Field(
        default=None, ge=1, description="beginnings kept at each depth, 1 or more; by default as many as calls allow"
    )
    max_rounds: int = Field(default=30, ge=1, description="most supporter turns below the root, 1 or more")


@register
class Beam(LevelSearch):
    """At each depth the beginnings of highest mean reward are kept, and every child of these is said and judged.

    Without a ``width``, one dialogue is played to its end first, to learn how long dialogues are, and the calls are
    shared among the depths. Calls that are left over widen the beam again from the shallowest depth on; the last few
    judge the best dialogues again.
    """

    name = "beam"
    Settings: ClassVar[type[_settings.Settings]] = BeamSettings

    def batches(self) -> Iterator[Sequence[Request]]:
        """One sweep from the root to the ends after the other, until every child was said or no calls are left."""
        yield self.gold_turns()
        if self.own.width is None and not self.ends():
            yield from self._sweep(dive=True)
        before = -1
        while before < self.calls:
            before = self.calls
            again = self.again() if 0 < self.left() < self._family else ()
            if again:
                yield again
            else:
                yield from self._sweep()

    @property
    def _family(self) -> int:
        """Calls that all children of one beginning take."""
        return CALLS["turn"] * len(self.tree.domain.strategies.names)

    def _sweep(self, *, dive: bool = False) -> Iterator[Sequence[Request]]:
        """Widen each depth.

        :param dive: one child at each depth, once all of the root's are known.
        """
        for depth in count():
            beginnings = self.beginnings(depth)
            if not beginnings:
                return
            calls = self.left() // max(1, self.rounds() - depth)
            kept = self.own.width or (1 if dive else max(1, calls // self._family))
            untried = [node for node in beginnings if not node.children or open_children(self.tree, node)][:kept]
            yield [Request("open", node.id) for node in untried]
            turns = [child.id for node in untried for child in open_children(self.tree, node)]
            if dive and depth:
                turns = turns[:1]
            elif self.own.width is None and calls < self._family:
                turns = turns[: max(1, calls // CALLS["turn"])]
            yield [Request("turn", node_id) for node_id in turns]
