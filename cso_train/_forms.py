"""Rows of files as trainers have them: which form a row is of, and the row checked, in the form that is trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard, cast

from cso_train.errors import TrainDataError
from cso_train.methods import Kind
from mctsdialog import Domain
from mctsdialog.preferences import system_prompt

Row: TypeAlias = dict[str, Any]
Messages: TypeAlias = list[dict[str, str]]

SIDES = ("chosen", "rejected", "completion")
"""The fields of a row that hold a reply."""


@dataclass(frozen=True)
class Place:
    """Where a row stands."""

    file: str
    item: str

    def error(self, message: str, field: str | None = None) -> TrainDataError:
        """An error that names the place."""
        return TrainDataError(message, file=self.file, item=self.item, field=field)


def kind_of(row: Row, place: Place) -> str:
    """What a row in a known form is: a kind of training data, or "research".

    :raises TrainDataError: for a row of another form.
    """
    if {"messages", "chosen", "reject"} <= row.keys():
        return "research"
    if {"chosen", "rejected"} <= row.keys():
        return "preference"
    if {"prompt", "replies", "values"} <= row.keys():
        return "turns"
    if {"prompt", "completion"} <= row.keys():
        return "unpaired" if "label" in row else "sft"
    if "messages" in row:
        return "sft"
    keys = ", ".join(map(repr, list(row)[:8])) or "none"
    wanted = "prompt/chosen/rejected, chosen/rejected, prompt/completion(/label), prompt/replies/values, messages, or "
    wanted += "messages/chosen/reject"
    raise place.error(f"is of no known form: it has the keys {keys}; a row has {wanted}")


def converted(row: Row, kind: Kind, domain: Domain, place: Place) -> Iterator[Row]:
    """The row as rows of the kind that is wanted, not yet checked.

    :param domain: whose system prompt a row of the research form gets.
    :raises TrainDataError: for a row that does not serve.
    """
    row = plain(row)
    found = kind_of(row, place)
    if found == "research":
        row, found = _from_research(row, domain, place), "preference"
    if found == "preference":
        row = _with_prompt(row, place)
    if found == kind:
        yield row
    elif (found, kind) == ("preference", "unpaired"):
        about = {"provenance": row["provenance"]} if "provenance" in row else {}
        for side, label in (("chosen", True), ("rejected", False)):
            yield {"prompt": row["prompt"], "completion": row[side], "label": label, **about}
    elif (found, kind) == ("preference", "turns"):
        known = _values(row)
        if not known:
            message = "has no values of its replies, which the method needs: chosen_value and rejected_value"
            raise place.error(message, "provenance")
        sure = row["provenance"].get("confidence")
        about = {} if sure is None else {"confidences": [sure, 1.0 - sure if _share(sure) else sure]}
        yield {"prompt": row["prompt"], "replies": [row[side] for side in SIDES[:2]], **known, **about}
    else:
        raise place.error(f"is a row of kind {found}, which does not serve for {kind} training")


def checked_row(row: Row, kind: Kind, place: Place) -> Row:
    """The row's conversation, and what is known of its replies; nothing else.

    :raises TrainDataError: for what is malformed, naming the field.
    """
    return _CHECKS[kind](row, place)


def checked_prompt(value: object, file: str | Path, item: str) -> Messages:
    """A conversation that ends with the user: messages of role and content, the sides alternating.

    :raises TrainDataError: for anything else, naming file, item and field.
    """
    return _prompt({"prompt": value}, Place(str(file), item))


# -- forms of other programs ------------------------------------------------------------------------------------------


def plain(row: Row) -> Row:
    """A row of LLaMA-Factory (Alpaca, ShareGPT), or of plain texts, as messages; any other as it is."""
    if "conversations" in row and "messages" not in row:
        name = "prompt" if row.keys() >= SIDES_OF_PAIRS or "completion" in row else "messages"
        row = {name: row["conversations"], **{key: value for key, value in row.items() if key != "conversations"}}
        if isinstance(row.get("system"), str) and row["system"].strip() and isinstance(row[name], list):
            row[name] = [{"role": "system", "content": row["system"]}, *row[name]]
    elif isinstance(row.get("instruction"), str) and "prompt" not in row:
        row = _from_alpaca(row)
    if all(isinstance(row[name], str) for name in ("prompt", *SIDES) if name in row):
        row = {**row, **{name: _said("assistant", row[name]) for name in SIDES if name in row}}
        if "prompt" in row:
            row["prompt"] = _said("user", row["prompt"])
    return {name: _messages_of(value) if name in _CONVERSATIONS else value for name, value in row.items()}


SIDES_OF_PAIRS = {"chosen", "rejected"}
_CONVERSATIONS = ("prompt", "messages", *SIDES)
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def _said(role: str, text: str) -> Messages:
    return [{"role": role, "content": text}]


def _from_alpaca(row: Row) -> Row:
    """LLaMA-Factory's Alpaca form: instruction and input, earlier exchanges, the answer or two."""
    asked = "\n".join(each for each in (row["instruction"], row.get("input")) if isinstance(each, str) and each)
    system = row.get("system")
    prompt = _said("system", system) if isinstance(system, str) and system.strip() else []
    history = row.get("history")
    for each in history if isinstance(history, list) else ():
        if isinstance(each, list) and len(each) == 2:
            prompt += [*_said("user", each[0]), *_said("assistant", each[1])]
    prompt += _said("user", asked)
    sides = {name: _said("assistant", row[name]) for name in SIDES if isinstance(row.get(name), str)}
    if isinstance(row.get("output"), str) and not sides:
        return {"prompt": prompt, "completion": _said("assistant", row["output"])}
    return {"prompt": prompt, **sides}


def _messages_of(value: Any) -> Any:
    """ShareGPT's messages (``from`` and ``value``) as messages of role and content; one message alone as a list."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return value
    return [
        {"role": _ROLES.get(str(each["from"]), each["from"]), "content": each["value"]}
        if isinstance(each, dict) and "from" in each and "value" in each and "role" not in each
        else each
        for each in value
    ]


def _with_prompt(row: Row, place: Place) -> Row:
    """TRL's implicit prompt, which both replies begin with, in a field of its own."""
    sides = [row["chosen"], row["rejected"]]
    if isinstance(row.get("prompt"), list) or not all(isinstance(side, list) for side in sides):
        if "prompt" not in row:
            raise place.error("is missing: the replies are no lists of messages that begin with it", "prompt")
        return row
    if "prompt" in row and max(map(len, sides)) < 2:
        return row  # nothing that the replies begin with: the prompt itself is at fault
    shared = 0
    while shared < min(map(len, sides)) - 1 and sides[0][shared] == sides[1][shared]:
        shared += 1
    return {**row, "prompt": sides[0][:shared], "chosen": sides[0][shared:], "rejected": sides[1][shared:]}


def _from_research(row: Row, domain: Domain, place: Place) -> Row:
    messages = _messages(row["messages"], place, "messages")
    if not messages or messages[0]["role"] != "system":
        messages = [*_said("system", system_prompt(domain)), *messages]
    sides = {}
    for key, name in (("chosen", "chosen"), ("reject", "rejected")):
        side = row[key]
        text = (
            side[0].get("content") if isinstance(side, list) and len(side) == 1 and isinstance(side[0], dict) else side
        )
        if not isinstance(text, str) or not text.strip():
            raise place.error("must be a text that is not empty", key)
        sides[name] = _said("assistant", text)
    return {"prompt": messages, **sides}


# -- what is in a row -------------------------------------------------------------------------------------------------


def _messages(value: object, place: Place, name: str) -> Messages:
    if not isinstance(value, list):
        raise place.error(f"must be a list of messages, not {type(value).__name__}", name)
    return [_message(each, place, f"{name}[{index}]") for index, each in enumerate(value)]


def _message(value: object, place: Place, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise place.error(f"must be an object with role and content, not {type(value).__name__}", name)
    role, content = value.get("role"), value.get("content")
    if role not in ("system", "user", "assistant"):
        raise place.error(f"must be system, user or assistant, not {role!r:.40}", f"{name}.role")
    if not isinstance(content, str) or not content.strip():
        raise place.error("must be a text that is not empty", f"{name}.content")
    return {"role": cast(str, role), "content": content}


def _checked_turns(messages: Messages, place: Place, name: str, last: str) -> Messages:
    """A system message at the start alone, the sides alternating, ``last`` at the end."""
    for index, message in enumerate(messages):
        if message["role"] == "system" and index:
            raise place.error("a system message may only come first", f"{name}[{index}].role")
        if index and messages[index - 1]["role"] == message["role"]:
            raise place.error(f"follows another message of the {message['role']}", f"{name}[{index}].role")
    if not messages or messages[-1]["role"] != last:
        raise place.error(f"must end with a message of the {last}", name)
    return messages


def _reply(row: Row, key: str, place: Place) -> Messages:
    messages = _messages(row[key], place, key)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise place.error("must be one message of the assistant", key)
    return messages


def _prompt(row: Row, place: Place) -> Messages:
    return _checked_turns(_messages(row["prompt"], place, "prompt"), place, "prompt", "user")


def _check_preference(row: Row, place: Place) -> Row:
    sides = {key: _reply(row, key, place) for key in ("chosen", "rejected")}
    return {"prompt": _prompt(row, place), **sides, **_values(row)}


def _values(row: Row) -> Row:
    """What the search found the two replies to be worth and how sure it is, where the row's provenance says so."""
    about = row.get("provenance")
    if not isinstance(about, dict):
        return {}
    known: Row = {}
    for name in ("worth", "value"):  # earlier versions wrote Q alone
        sides = [about.get(f"{side}_{name}") for side in ("chosen", "rejected")]
        found = [float(each) for each in sides if _number(each)]
        if len(found) == len(sides):
            known["values"] = found
            break
    if _share(sure := about.get("confidence")):
        known["weights"] = [_weight(sure)] * 2
    return known


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _share(value: object) -> TypeGuard[float]:
    return _number(value) and 0 <= value <= 1


def _weight(confidence: float) -> float:
    """What a comparison counts: 1 if it is certain, either way, 0 if it is a guess."""
    return abs(2.0 * confidence - 1.0)


def _check_unpaired(row: Row, place: Place) -> Row:
    if not isinstance(row["label"], bool):
        raise place.error(f"must be true or false, not {row['label']!r:.40}", "label")
    return {"prompt": _prompt(row, place), "completion": _reply(row, "completion", place), "label": row["label"]}


def _check_turn(row: Row, place: Place) -> Row:
    if not isinstance(row["replies"], list) or len(row["replies"]) < 1:
        raise place.error("must be a list of one reply or more", "replies")
    said = [_reply({f"replies[{at}]": each}, f"replies[{at}]", place) for at, each in enumerate(row["replies"])]
    if not isinstance(row["values"], list) or len(row["values"]) != len(said) or not all(map(_number, row["values"])):
        raise place.error(f"must be {len(said)} finite numbers, one for each reply", "values")
    turn = {"prompt": _prompt(row, place), "replies": said, "values": [float(each) for each in row["values"]]}
    if (sure := row.get("confidences")) is not None:
        if not isinstance(sure, list) or len(sure) != len(said) or not all(map(_share, sure)):
            raise place.error(f"must be {len(said)} numbers from 0 to 1, one for each reply", "confidences")
        turn["weights"] = [_weight(each) for each in sure]
    if policy := row.get("policy"):
        turn["policy"] = _checked_policy(policy, place)
    return turn


def _checked_policy(value: object, place: Place) -> dict[str, float]:
    """Value by strategy."""
    entries = value if isinstance(value, list) else [None]
    found: dict[str, float] = {}
    for at, each in enumerate(entries):
        name, number = (each.get("strategy"), each.get("value")) if isinstance(each, dict) else (None, None)
        if not isinstance(name, str) or not name.strip() or not _number(number):
            raise place.error("must be an object with a strategy and its value, a finite number", f"policy[{at}]")
        found[name] = float(number)
    return found


def _check_sft(row: Row, place: Place) -> Row:
    if "messages" not in row:
        return {"prompt": _prompt(row, place), "completion": _reply(row, "completion", place)}
    messages = _messages(row["messages"], place, "messages")
    return {"messages": _checked_turns(messages, place, "messages", "assistant")}


_CHECKS: Mapping[Kind, Callable[[Row, Place], Row]] = {
    "preference": _check_preference,
    "unpaired": _check_unpaired,
    "sft": _check_sft,
    "turns": _check_turn,
}


def replies(row: Row) -> Sequence[dict[str, str]]:
    """What the supporter says in a row that is trained on."""
    said = [row[key][0] for key in SIDES if key in row] + [each[0] for each in row.get("replies", ())]
    return [*said, *(message for message in row.get("messages", ()) if message["role"] == "assistant")]
