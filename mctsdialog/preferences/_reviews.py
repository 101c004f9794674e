"""What people decided about pairs: one JSON line a decision, what many mean together, and what becomes of the data.

A pair is known by a digest of its prompt and replies, so that reviews outlast another extraction of the same trees.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from mctsdialog._arguments import checked
from mctsdialog.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
from mctsdialog.errors import DataError
from mctsdialog.files import dotted, first_fault, open_input, parse_json
from mctsdialog.preferences._record import PairReview, RecordNode, TreeRecord
from mctsdialog.preferences._worth import confidence
from mctsdialog.text import one_line

Verdict: TypeAlias = Literal["accept", "swap", "tie", "reject", "flag"]
"""What a reviewer says of a pair: as the search has it, the other way round, equal, neither is fit, or look into it."""

SCHEMA = "mctsdialog.review"
MAX_TEXT = 20_000  # characters of a reason or an edited reply

_Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
_Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=60, pattern=r"\S")]
_Share: TypeAlias = Annotated[float, Field(ge=-1, le=1)] | None
_DISAGREED = "disagreed"
_LEFT_OUT = {
    "tie": "a tie by review",
    "reject": "rejected by review",
    "flag": "flagged by review",
    _DISAGREED: "reviewers disagreed",
}


@checked()
@dataclass(frozen=True, slots=True)
class Review:
    """One decision of one reviewer.

    :param id: of the decision, unique; a line whose id was there before says the same again.
    :param pair: the pair, 32 hexadecimal digits; see :func:`pair_key`.
    :param reviewer: the reviewer's name.
    :param verdict: "accept" (the chosen reply is better), "swap" (the rejected one is), "tie" (neither is better),
        "reject" (neither should be used), "flag" (somebody should look into it), or "undo", which takes back this
        reviewer's last decision about the pair.
    :param reason: why, in the reviewer's words.
    :param chosen: the chosen reply's words as the reviewer edited them; None if they are left as they were.
    :param rejected: likewise of the rejected reply.
    :param blind: whether the reviewer did not see which reply is which.
    :param seconds: how long the pair was looked at; None if that is not known.
    :param time: when, in ISO 8601.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]
    pair: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    reviewer: _Name
    verdict: Verdict | Literal["undo"]
    reason: _Text | None = None
    chosen: _Text | None = None
    rejected: _Text | None = None
    blind: bool = False
    seconds: Annotated[float, Field(ge=0, le=1e7)] | None = None
    time: Annotated[str, Field(max_length=40)] = ""

    def to_line(self) -> str:
        """The review as a line of a file, with its end."""
        return json.dumps({"schema": SCHEMA, "version": 1, **asdict(self)}) + "\n"

    @classmethod
    def from_dict(cls, content: object, *, file: str | None = None, item: int | str | None = None) -> Review:
        """The review of JSON values; nothing in them is trusted.

        :raises DataError: for anything else, naming the field.
        """
        if not isinstance(content, dict) or content.get("schema") != SCHEMA or content.get("version") != 1:
            raise DataError(f'is no review: "schema" must be {SCHEMA!r}, "version" 1', file=file, item=item)
        values = {name: value for name, value in content.items() if name not in ("schema", "version")}
        try:
            return _reader().validate_json(json.dumps(values))  # strict validation takes an object as JSON alone
        except ValidationError as error:
            place, message = first_fault(error)
            raise DataError(message, file=file, item=item, field=dotted(place)) from error


@cache
def _reader() -> TypeAdapter[Review]:
    return TypeAdapter(Review)


@checked()
def read_reviews(path: str | Path) -> list[Review]:
    """The decisions in a file that ``mctsdialog studio`` wrote, in their order; the same one sent twice is there once.

    A last line without an end is left out: the studio was killed before it had acknowledged it.

    :raises DataError: for a line that is no review, naming file, line and field.
    """
    try:
        with open_input(path) as file:
            return reviews_of(file, str(path))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error


def reviews_of(lines: Iterable[bytes], file: str) -> list[Review]:
    """The reviews of a file's lines; see :func:`read_reviews`."""
    found: dict[str, Review] = {}
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        if line.strip():
            try:
                content = parse_json(line)
            except ValueError as error:
                raise DataError(f"not JSON: {error}", file=file, item=f"line {number}") from error
            review = Review.from_dict(content, file=file, item=f"line {number}")
            found.setdefault(review.id, review)
    return list(found.values())


def pair_keys(record: TreeRecord) -> Iterator[tuple[tuple[int, int], str]]:
    """The pairs of a record, each with the key that reviews know it by."""
    return ((pair, digest.hex()) for pair, digest in record.pair_digests())


def standing(reviews: Iterable[Review]) -> dict[str, dict[str, Review]]:
    """By pair and reviewer, the decision that counts: the last that was not taken back."""
    stacks: dict[str, dict[str, list[Review]]] = {}
    for review in reviews:
        stack = stacks.setdefault(review.pair, {}).setdefault(review.reviewer, [])
        if review.verdict != "undo":
            stack.append(review)
        elif stack:
            stack.pop()
    last = {pair: {name: stack[-1] for name, stack in each.items() if stack} for pair, each in stacks.items()}
    return {pair: each for pair, each in last.items() if each}


@dataclass(frozen=True)
class ReviewReport:
    """What reviewers decided about a dataset.

    :param pairs: pairs that somebody reviewed.
    :param verdicts: of these pairs, by verdict; "disagreed" where no verdict has more than half of the reviewers.
    :param edited: pairs with a reply that a person edited.
    :param reviewers: decisions by reviewer.
    :param twice: pairs that several people reviewed.
    :param kappa: their agreement: Cohen's kappa of two reviewers, else Fleiss'; None without such pairs, and where some
        were reviewed by more people than others.
    :param alpha: their agreement as Krippendorff's alpha; None without such pairs.
    :param unknown: reviewed pairs that are not in the dataset.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    pairs: Annotated[int, Field(ge=0)] = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    edited: Annotated[int, Field(ge=0)] = 0
    reviewers: Mapping[str, int] = field(default_factory=dict)
    twice: Annotated[int, Field(ge=0)] = 0
    kappa: _Share = None
    alpha: _Share = None
    unknown: Annotated[int, Field(ge=0)] = 0

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {count}" for name, count in self.verdicts.items())
        lines = [f"reviewed pairs: {self.pairs}" + (f" ({shown})" if shown else "")]
        if self.edited:
            lines.append(f"  {self.edited} of them edited")
        lines += [f"  {count} decisions of {one_line(name)}" for name, count in self.reviewers.items()]
        if self.twice:
            figures = [("kappa", self.kappa), ("alpha", self.alpha)]
            agreed = ", ".join(f"{name} {value:.2f}" for name, value in figures if value is not None)
            lines.append(f"  {self.twice} reviewed by several people: {agreed}")
        if self.unknown:
            lines.append(f"  {self.unknown} reviewed pairs are not in this data")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> ReviewReport:
        """The report that :meth:`to_dict` wrote.

        :raises ValueError: for data that it cannot have written.
        """
        return _report_reader().validate_json(json.dumps(data))


@cache
def _report_reader() -> TypeAdapter[ReviewReport]:
    return TypeAdapter(ReviewReport)


def report_of(decided: Mapping[str, Mapping[str, Review]], unknown: int = 0) -> ReviewReport:
    """What the standing decisions amount to.

    :param decided: by pair and reviewer, see :func:`standing`.
    :param unknown: for the report.
    """
    together = [combined(list(each.values())) for each in decided.values()]
    several = [[each.verdict for each in by.values()] for by in decided.values() if len(by) > 1]
    return ReviewReport(
        pairs=len(decided),
        verdicts=dict(sorted(Counter(each.verdict for each in together).items())),
        edited=sum(each.chosen is not None or each.rejected is not None for each in together),
        reviewers=dict(sorted(Counter(name for each in decided.values() for name in each).items())),
        twice=len(several),
        kappa=_kappa([each for each in decided.values() if len(each) > 1]),
        alpha=krippendorff_alpha(several) if several else None,
        unknown=unknown,
    )


def _kappa(several: list[Mapping[str, Review]]) -> float | None:
    """Cohen's kappa where the same two people reviewed all, else Fleiss' where as many reviewed each."""
    if not several or len({len(each) for each in several}) > 1:
        return None
    names = sorted({name for each in several for name in each})
    if len(names) == 2:
        one, other = ([each[name].verdict for each in several] for name in names)
        return cohen_kappa(one, other)
    return fleiss_kappa([[each.verdict for each in by.values()] for by in several])


@dataclass(frozen=True)
class Combined:
    """What all reviewers of a pair say together.

    :param verdict: that of more than half of them, or "disagreed"; "flag" where one flagged it.
    :param reviewers: those whose verdict it is.
    :param others: how many decided otherwise.
    :param chosen: the chosen reply as the last of them edited it; None if none did.
    :param rejected: likewise the rejected one.
    """

    verdict: str
    reviewers: tuple[str, ...] = ()
    others: int = 0
    chosen: str | None = None
    rejected: str | None = None


def combined(reviews: list[Review]) -> Combined:
    """What the standing reviews of one pair mean together."""
    counts = Counter(each.verdict for each in reviews)
    verdict, most = counts.most_common(1)[0]
    if "flag" in counts:
        verdict, most = "flag", counts["flag"]
    elif 2 * most <= len(reviews):
        return Combined(_DISAGREED, others=len(reviews))
    of = [each for each in reviews if each.verdict == verdict]
    edits = {
        side: next((text for each in reversed(of) if (text := getattr(each, side)) is not None), None)
        for side in ("chosen", "rejected")
    }
    kept = edits if verdict in ("accept", "swap") else {}
    return Combined(str(verdict), tuple(each.reviewer for each in of), len(reviews) - len(of), **kept)


def reviewed(record: TreeRecord, decided: Mapping[str, Combined]) -> tuple[TreeRecord, dict[str, int]]:
    """The record with what people decided about its pairs.

    Accepted pairs stay. A swapped or edited pair gets replies of its own beside the valid paths, without Q, N and
    posterior: these are of the search's order and words. All others go. A path through a chosen reply of a pair that
    people rejected or flagged is no dialogue of the data.

    :param decided: by key of the pair, as :func:`pair_keys` has it.
    :returns: the record, and how many pairs were left out, by reason.
    """
    found = [(pair, decided.get(key)) for pair, key in pair_keys(record)]
    if not any(review for _, review in found):
        return record, {}
    editor, left_out = _Editor(record), Counter[str]()
    for pair, review in found:
        if review is None:
            editor.pairs.append(pair)
        elif review.verdict in ("accept", "swap"):
            editor.keep(pair, review)
        else:
            left_out[_LEFT_OUT[review.verdict]] += 1
            if review.verdict in ("reject", "flag"):
                editor.refused.add(pair[0])
    return editor.record(), dict(left_out)


class _Editor:
    """A record in the making: its pairs, and the replies that people swapped or edited."""

    def __init__(self, record: TreeRecord) -> None:
        self._before = record
        self._next = max((node.id for node in record.nodes), default=0) + 1
        self._depths = record.depths()
        self.nodes: list[RecordNode] = []
        self.pairs: list[tuple[int, int]] = []
        self.reviews: list[PairReview] = []
        self.refused: set[int] = set()

    def keep(self, pair: tuple[int, int], review: Combined) -> None:
        """Take a pair in as people have it."""
        chosen, rejected = self._before[pair[0]], self._before[pair[1]]
        known = confidence(chosen, rejected, self._depths[chosen.id])
        sides = [(chosen, review.chosen), (rejected, review.rejected)]
        if swapped := review.verdict == "swap":
            sides.reverse()
        first = self._reply(*sides[0], "chosen", anew=swapped)
        second = self._reply(*sides[1], "rejected", anew=swapped)
        self.pairs.append((first, second))
        originals = [None if text is None else node.supporter for node, text in sides]
        verdict: Literal["accept", "swap"] = "swap" if swapped else "accept"
        self.reviews.append(
            PairReview(first, second, verdict, review.reviewers, review.others, originals[0], originals[1], known)
        )

    def _reply(self, node: RecordNode, text: str | None, side: Literal["chosen", "rejected"], *, anew: bool) -> int:
        """The id of the reply on that side: the node itself, or one of its own for what people made of it."""
        if text is None and not anew:
            return node.id
        made = replace(
            node,
            id=self._next,
            supporter=node.supporter if text is None else text,
            seeker=None,
            value=None,
            visits=0,
            gold=False,
            polarity=side,
            posterior=None,
        )
        self._next += 1
        self.nodes.append(made)
        return made.id

    def record(self) -> TreeRecord:
        """The record as it is now."""
        before = self._before
        beside = [node.id for node in self.nodes if node.polarity == "chosen"]
        ends = [end for end in before.ends if self.refused & {node.id for node in before.path(end)}]
        made = replace(
            before,
            nodes=(*before.nodes, *self.nodes),
            reviews=(*before.reviews, *self.reviews),
            no_dialogue=(*before.no_dialogue, *beside, *ends),
        )
        return made.with_pairs(self.pairs)
