"""Role cards: who a simulated seeker is, what it wants, and what it holds back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Scenario
from mctsdialog.errors import ConfigError, DataError, DialogueError, shown
from mctsdialog.files import parse_json, read_input, write_atomically

Resistance: TypeAlias = Literal["none", "some", "strong"]
Disclosure: TypeAlias = Literal["open", "gradual", "guarded"]
Engagement: TypeAlias = Literal["full", "low"]
SeekerSetting: TypeAlias = Literal["card", "cooperative", "resistant", "worst"]

_MOST_BYTES = 20_000_000
_Text: TypeAlias = Annotated[str, Field(max_length=4000)]
_Needed: TypeAlias = Annotated[str, Field(min_length=1, max_length=4000)]


class RoleCard(Scenario):
    """A simulated seeker: the persona that a model plays, and what the supporter has to find out.

    A card is more than its scenario. :attr:`scenario` alone is what other roles may see.

    :param domain: name of the domain that it belongs to.
    :param persona: who the person is: age, work, family, manner.
    :param background: what has happened, in the third person.
    :param goal: what the person says that it wants from the conversation.
    :param hidden_need: what it needs and does not say.
    :param resistance: how it meets help: "none", "some" or "strong".
    :param disclosure: how it tells of itself: "open", "gradual" or "guarded".
    :param expression: how it speaks.
    :param engagement: how much it takes part: "full" or "low", with short answers.
    :param volatile: whether its mood swings.
    :param emotion: how it feels at the start, from 0 (the worst) to 100 (at ease).
    """

    domain: str = Field(default="esc", min_length=1, max_length=200)
    persona: _Needed
    background: _Needed
    goal: _Needed
    hidden_need: _Needed
    resistance: Resistance = "some"
    disclosure: Disclosure = "gradual"
    expression: _Text = ""
    engagement: Engagement = "full"
    volatile: bool = False
    emotion: int = Field(default=35, ge=0, le=100)

    @classmethod
    def _first_field(cls) -> str:
        return "persona=...)"

    def __repr_args__(self) -> Iterable[tuple[str, object]]:
        yield from (("id", self.id), ("domain", self.domain), ("resistance", self.resistance))

    @property
    def scenario(self) -> Scenario:
        """What supporter, strategist and judge may see: id, scene and description."""
        return Scenario(scene=self.scene, description=self.description, id=self.id, source=self.source)

    def adjusted(self, setting: SeekerSetting) -> RoleCard:
        """This card with a seeker who is easier or harder to help.

        :param setting: "card", as it is; "cooperative"; "resistant", with strong resistance; or "worst": it also
            discloses little, takes little part, and its mood swings (after Yang et al., arXiv:2605.28228).
        :raises ConfigError: for another setting.
        """
        if setting not in _CHANGES:
            known = ", ".join(_CHANGES)
            raise ConfigError(f"a seeker's setting is one of {known}, not {shown(setting)}", field="setting")
        return RoleCard(**{**dict(self), **_CHANGES[setting]})


_CHANGES: dict[str, dict[str, Any]] = {
    "card": {},
    "cooperative": {"resistance": "none", "disclosure": "open", "engagement": "full", "volatile": False},
    "resistant": {"resistance": "strong"},
    "worst": {"resistance": "strong", "disclosure": "guarded", "engagement": "low", "volatile": True},
}

SETTINGS: tuple[SeekerSetting, ...] = ("card", "cooperative", "resistant", "worst")
"""Settings of :meth:`RoleCard.adjusted`."""


@checked()
def read_cards(path: str | Path) -> tuple[RoleCard, ...]:
    """The role cards of a file: a JSON list of objects, or an object a line.

    :raises DataError: naming file, item and field: for a file that cannot be read, an unknown field, a missing one, and
        two cards with one id.
    """
    try:
        data = read_input(path)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
    if len(data) > _MOST_BYTES:
        raise DataError(f"has {len(data):,} bytes; a file of cards has {_MOST_BYTES:,} at most", file=path)
    cards = tuple(_card(item, at, path) for at, item in enumerate(_items(data, path)))
    if not cards:
        raise DataError("has no cards", file=path)
    _check_ids(cards, path)
    return cards


def _items(data: bytes, path: str | Path) -> list[Any]:
    text = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        try:
            found = parse_json(data)
        except ValueError as error:
            raise DataError(f"is no JSON: {error}", file=path) from error
        assert isinstance(found, list), "it begins with a bracket"
        return found
    items = []
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            try:
                items.append(parse_json(line))
            except ValueError as error:
                raise DataError(f"is no JSON: {error}", file=path, item=f"line {number}") from error
    return items


def _card(item: Any, at: int, path: str | Path) -> RoleCard:
    if not isinstance(item, dict):
        raise DataError(f"a card is an object, not {shown(item)}", file=path, item=at)
    try:
        card = RoleCard(**item)
    except DialogueError as error:
        raise DataError(error.reason, file=path, item=at, field=error.field) from error
    except TypeError as error:  # a key that no argument can have
        raise DataError("has a key that is no field", file=path, item=at) from error
    if not card.id.strip():
        raise DataError("needs an id that is not blank", file=path, item=at, field="id")
    return card


def _check_ids(cards: Sequence[RoleCard], path: str | Path) -> None:
    seen: dict[str, int] = {}
    for at, card in enumerate(cards):
        if (first := seen.setdefault(card.id, at)) != at:
            raise DataError(f"item {first} has the same id, {shown(card.id)}", file=path, item=at, field="id")


@checked()
def write_cards(cards: Sequence[RoleCard], path: str | Path) -> Path:
    """Write role cards to a file, an object a line, whole or not at all.

    :raises OSError: if the file cannot be written.
    """
    return write_atomically(path, "".join(card.model_dump_json() + "\n" for card in cards))


@checked()
def sample_cards(domain: str | None = None) -> tuple[RoleCard, ...]:
    """The role cards that ship with the package: ten for each of four domains, written for it, of invented people.

    :param domain: only those of this domain: "esc", "mi", "persuasion" or "bargaining"; None for all.
    :raises ConfigError: for a domain without cards.
    """
    with resources.as_file(resources.files("mctsdialog.seekers") / "data" / "cards.json") as path:
        cards = read_cards(path)
    if domain is None:
        return cards
    found = tuple(card for card in cards if card.domain == domain)
    if not found:
        known = ", ".join(dict.fromkeys(card.domain for card in cards))
        raise ConfigError(f"there are cards for {known}, not for {shown(domain)}", field="domain")
    return found
