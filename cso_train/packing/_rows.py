"""Training rows as tokens, as the method reads them from its trainer's data set, and their columns in a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cso_train._data import Row, seed_of
from cso_train.errors import TrainDataError
from cso_train.methods import Method, ReplySet
from cso_train.packing._trie import IntArray, common_prefix


def packed_rows(
    method: Method, examples: Iterable[Mapping[str, Any]], source: Sequence[Row], limit: int
) -> list[ReplySet]:
    """A trainer's tokenised examples as rows for packing.

    :param examples: rows of the trainer's data set, with the columns that it gives them.
    :param source: the rows that they were made of, in the same order.
    :param limit: most tokens of prompt and reply together; the rest is cut, as the trainers do.
    """
    found = []
    for example, row in zip(examples, source, strict=True):
        read = method.replies(example, limit)
        values, weights = (getattr(read, name) or tuple(row.get(name, ())) for name in ("values", "weights"))
        seed = str(row.get("seed", "")) or seed_of(row)
        found.append(replace(read, seed=seed, values=values, weights=weights if method.weighted else ()))
    unsure = sum(not row.weights for row in found) if method.weighted else 0
    if unsure:
        message = f"{unsure} of {len(found)} rows have no confidence: they come from a search without posteriors"
        raise TrainDataError(f"{message}; set confidence_weights to false", field="confidence_weights")
    if method.needs_values and (bare := sum(not row.values for row in found)):
        raise TrainDataError(f"{bare} of {len(found)} rows have no values, which {method.name} needs", field="data")
    return found


@dataclass(frozen=True)
class Layout:
    """The columns of a pass over some rows: one for each reply, then as many for each span.

    :param replies: most replies of a row.
    :param spans: names of the spans.
    """

    replies: int
    spans: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[ReplySet]) -> Layout:
        """The layout that all of these rows fit."""
        names = {name for row in rows for reply in row.replies for name in reply.spans}
        return cls(max(len(row.replies) for row in rows), tuple(sorted(names)))

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.replies * (1 + len(self.spans))

    def columns_of(self, span: str | None) -> slice:
        """The columns of a span; None is the replies themselves."""
        first = 0 if span is None else self.replies * (1 + self.spans.index(span))
        return slice(first, first + self.replies)

    def parts(self, row: ReplySet) -> Iterator[tuple[int, int, IntArray]]:
        """What is scored of a row: (column, number of the reply, indices of its tokens)."""
        for number, reply in enumerate(row.replies):
            yield number, number, reply.scored
        for number, reply in enumerate(row.replies):
            for name, tokens in reply.spans.items():
                yield self.columns_of(name).start + number, number, tokens


def count_unshared(rows: Sequence[ReplySet], source: Sequence[Row]) -> int:
    """How many rows begin, message by message, with what another row ends with, but with other tokens.

    Such a template or tokenizer writes a turn otherwise once another follows it. The rows are still exact, since what
    is shared is found on tokens: they only share less than they might, and stand apart from there on.
    """
    ends: dict[str, IntArray] = {}
    for row, messages in zip(rows, source, strict=True):
        sides = [messages[name] for name in ("chosen", "rejected", "completion") if name in messages]
        for said, reply in zip([*sides, *messages.get("replies", ())], row.replies, strict=False):
            ends[repr([*messages["prompt"], *said])] = reply.ids
    return sum(_broken(row, messages, ends) for row, messages in zip(rows, source, strict=True))


def _broken(row: ReplySet, messages: Row, ends: Mapping[str, IntArray]) -> bool:
    prompt = messages.get("prompt", [])
    for length in range(len(prompt) - 1, 1, -1):
        earlier = ends.get(repr(prompt[:length]))
        if earlier is None:
            continue
        # the marks that close a turn may follow the reply itself; what stood before it must be the same
        return common_prefix(earlier, row.replies[0].ids) < len(earlier) - _CLOSING
    return False


_CLOSING = 3  # tokens after a reply's text: the end of a turn, a line break, an end of sequence
