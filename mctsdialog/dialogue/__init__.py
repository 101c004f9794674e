"""Conversations: turns, dialogues, strategies, domains, readers and sample dialogues."""

from mctsdialog._public import publish as _publish
from mctsdialog.dialogue._domains import (
    BARGAINING,
    ESC,
    ESCONV,
    ESCONV_ZH,
    MI,
    PERSUASION,
    domains,
    get_domain,
    load_domain,
    named_domain,
)
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
    KeyMap,
    ReadReport,
    Transform,
    read_dialogues,
    stream_dialogues,
    write_dialogues,
)

__all__ = [
    "BARGAINING",
    "CHAT_ROLES",
    "ESC",
    "ESCONV",
    "ESCONV_ZH",
    "MI",
    "PERSUASION",
    "READERS",
    "TEMPLATE_NAMES",
    "Criterion",
    "Dialogue",
    "DialogueFormat",
    "DialogueSet",
    "DialogueStream",
    "Domain",
    "KeyMap",
    "ReadReport",
    "RoleDescription",
    "Scenario",
    "Speaker",
    "Strategy",
    "StrategySet",
    "Transform",
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
