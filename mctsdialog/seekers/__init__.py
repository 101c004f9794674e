"""Simulated seekers with an inner state: role cards, a model that plays them, and the seekers of worlds."""

from mctsdialog._public import publish as _publish
from mctsdialog.seekers._card import (
    SETTINGS,
    RoleCard,
    SeekerSetting,
    read_cards,
    sample_cards,
    write_cards,
)
from mctsdialog.seekers._llm import CardSeeker
from mctsdialog.seekers._protocols import FeelingSeeker, InnerState, Response
from mctsdialog.seekers._world import WorldSeeker, true_state, world_card
from mctsdialog.seekers._writer import WrittenCards, card_of_dialogue, cards_of_dialogues

__all__ = [
    "SETTINGS",
    "CardSeeker",
    "FeelingSeeker",
    "InnerState",
    "Response",
    "RoleCard",
    "SeekerSetting",
    "WorldSeeker",
    "WrittenCards",
    "card_of_dialogue",
    "cards_of_dialogues",
    "read_cards",
    "sample_cards",
    "true_state",
    "world_card",
    "write_cards",
]

_publish(globals())
