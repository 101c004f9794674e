"""Conversations: turns, dialogues, strategies, domains, readers and sample dialogues."""

from mctsdialog._public import publish as _publish
from mctsdialog.dialogue._domains import ESC, ESCONV, PERSUASION, domains, get_domain, load_domain, named_domain
from mctsdialog.dialogue._model import (
    CHAT_ROLES,
    TEMPLATE_NAMES,
    Criterion,
    Dialogue,
    Domain,
    RoleDescription,
    Scenario,
    Speaker,
    Strategy,
    StrategySet,
    Turn,
)
from mctsdialog.dialogue._samples import sample_dialogues, sample_dialogues_text
from mctsdialog.dialogue.readers import (
    READERS,
    DialogueFormat,
    DialogueSet,
    DialogueStream,
    ReadReport,
    read_dialogues,
    stream_dialogues,
    write_dialogues,
)

__all__ = [
    "CHAT_ROLES",
    "ESC",
    "ESCONV",
    "PERSUASION",
    "READERS",
    "TEMPLATE_NAMES",
    "Criterion",
    "Dialogue",
    "DialogueFormat",
    "DialogueSet",
    "DialogueStream",
    "Domain",
    "ReadReport",
    "RoleDescription",
    "Scenario",
    "Speaker",
    "Strategy",
    "StrategySet",
    "Turn",
    "domains",
    "get_domain",
    "load_domain",
    "named_domain",
    "read_dialogues",
    "sample_dialogues",
    "sample_dialogues_text",
    "stream_dialogues",
    "write_dialogues",
]

_publish(globals())
