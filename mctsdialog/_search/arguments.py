"""What ``search`` and ``plan`` are given: mistakes are told before a model is asked anything, with what to do."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias

from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.dialogue import Dialogue, Scenario, Turn
from mctsdialog.dialogue._model import turns_of as _turns_of
from mctsdialog.errors import ConfigError, shown
from mctsdialog.roles import Roles

History: TypeAlias = Dialogue | Sequence[Turn | Mapping[str, Any]]


def check_start(start: object) -> None:
    """See that a search is given one dialogue or scenario.

    :raises ConfigError: saying what to do with a list, a path or turns.
    """
    if isinstance(start, Scenario):
        return
    if isinstance(start, str | PathLike):
        reason = (
            "search takes a dialogue, not a path; read_dialogues() reads the file, search_corpus() searches all of it."
            " What a seeker brings is Scenario(description=...)"
        )
    elif isinstance(start, Sequence) and start and all(isinstance(each, Turn) for each in start):
        reason = "search takes a dialogue, not turns; make one of them: Dialogue(turns=...)"
    elif isinstance(start, Sequence) and start and all(isinstance(each, Mapping) for each in start):
        reason = "search takes a dialogue, not messages; make one of them: Dialogue.from_messages(messages)"
    elif isinstance(start, Iterable) and not isinstance(start, Mapping):
        reason = "search takes one dialogue, not several; did you mean search_corpus?"
    else:
        reason = f"search takes a Dialogue or a Scenario, not {shown(start)}"
    raise ConfigError(reason, field="start")


def check_roles(roles: object, config: object) -> None:
    """See that roles are roles, and settings are settings.

    :raises ConfigError: saying how to make them of what was given.
    """
    if not isinstance(roles, Roles):
        name = "the model's name" if isinstance(roles, str) else "model"
        hint = f"; make them: Roles.from_model({name})" if isinstance(roles, str) or hasattr(roles, "complete") else ""
        raise ConfigError(f"roles must be Roles, not {shown(roles)}{hint}", field="roles")
    if config is not None and not isinstance(config, SearchConfig):
        hint = "; make it: SearchConfig(**settings)" if isinstance(config, Mapping) else ""
        raise ConfigError(f"config must be a SearchConfig, not {shown(config)}{hint}", field="config")


def check_dialogues(dialogues: object) -> None:
    """See that a search of many is given many.

    :raises ConfigError: saying what to do with one dialogue, or a path.
    """
    if isinstance(dialogues, str | PathLike):
        reason = "search_corpus takes dialogues, not a path; read them with read_dialogues() or stream_dialogues()"
    elif isinstance(dialogues, Scenario):
        reason = "search_corpus takes several dialogues, not one; did you mean search?"
    elif not isinstance(dialogues, Iterable | AsyncIterable) or isinstance(dialogues, bytes | Mapping):
        reason = f"search_corpus takes dialogues or scenarios, not {shown(dialogues)}"
    else:
        return
    raise ConfigError(reason, field="dialogues")


def checked_scenario(start: object) -> Scenario:
    """One of the dialogues of a search of many.

    :raises ConfigError: for anything but a dialogue or scenario.
    """
    if not isinstance(start, Scenario):
        hint = "; what a seeker brings is Scenario(description=..., id=...)" if isinstance(start, str) else ""
        raise ConfigError(f"search_corpus takes dialogues or scenarios; one is {shown(start)}{hint}", field="dialogues")
    return start


def factory_of(roles: Roles | Callable[[Scenario], Roles]) -> Callable[[Scenario], Roles]:
    """What makes the roles of each dialogue; the same roles will do for all.

    :raises ConfigError: for what is neither.
    """
    if isinstance(roles, Roles):
        return lambda scenario: roles
    if not callable(roles):
        reason = f"must be Roles, or a function that makes them for a dialogue, not {shown(roles)}"
        raise ConfigError(f"roles_factory {reason}", field="roles_factory")
    return roles


def turns_of(history: History) -> tuple[Turn, ...]:
    """The turns of a conversation: a dialogue's, a sequence of turns, or the messages of a chat API.

    :raises DialogueError: naming the first item that is neither turn nor message.
    """
    if isinstance(history, Dialogue):
        return history.turns
    return _turns_of(history, "history")
