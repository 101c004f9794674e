"""The forms in which trainers read preference data: rows of JSON values, and their Arrow types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mctsdialog.preferences._dataset import PreferenceDataset
from mctsdialog.preferences._prompts import chat_messages, spoken
from mctsdialog.preferences._record import PairReview, PreferencePair, RecordNode, TreeRecord

Row: TypeAlias = dict[str, Any]
RowFormat: TypeAlias = Literal[
    "preference", "unpaired", "sft", "research", "tree", "turns", "llamafactory", "axolotl", "openrlhf", "openai"
]
"""Names of the forms; see :data:`FORMATS` and :data:`TOOL_FORMATS`."""


def _system(record: TreeRecord) -> list[dict[str, str]]:
    return [{"role": "system", "content": record.system}]


def _reply(node: RecordNode) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": spoken(node.strategy, node.supporter)}]


def _prompt(record: TreeRecord, parent: int) -> list[dict[str, str]]:
    return _system(record) + chat_messages(record.history(parent))


def preference_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """TRL's conversational preference form: ``prompt``, ``chosen``, ``rejected`` (and ``provenance``)."""
    for pair in dataset.pairs():
        yield {
            "prompt": _prompt(pair.record, pair.chosen.parent),
            "chosen": _reply(pair.chosen),
            "rejected": _reply(pair.rejected),
            "provenance": pair.provenance(),
        }


def unpaired_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """TRL's unpaired form for KTO: every pair split in two, exact duplicates removed (paper appendix G)."""
    seen: set[tuple[bytes, str, str, bool]] = set()
    for record in dataset.records:
        digests, depths = record.digests(), record.depths()
        for pair in record.pairs:
            for node in (record[pair[0]], record[pair[1]]):
                label = node.polarity == "chosen"
                key = (digests[node.parent], node.strategy, node.supporter, label)
                if key not in seen:
                    seen.add(key)
                    yield _unpaired(record, node, depths[node.id], record.review(*pair))


def _unpaired(record: TreeRecord, node: RecordNode, depth: int, review: PairReview | None) -> Row:
    return {
        "prompt": _prompt(record, node.parent),
        "completion": _reply(node),
        "label": node.polarity == "chosen",
        "provenance": {
            "tree": record.id,
            "domain": record.domain,
            "turn": len(record.opening) + 2 * (depth - 1),
            "depth": depth,
            "parent": node.parent,
            "node": node.id,
            "strategy": node.strategy,
            "value": node.value,
            "visits": node.visits,
            "gold": node.gold,
            "review": None if review is None else review.provenance(),
        },
    }


def sft_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """TRL's conversational language-modelling form, ``messages``: the valid paths (ESC-Pro-SFT, section 5.1)."""
    system = [{"role": "system", "content": dataset.records[0].system}] if dataset.records else []
    for dialogue in dataset.dialogues():
        tree, _, end = dialogue.id.rpartition("/")
        yield {
            "messages": system + chat_messages(dialogue.turns),
            "provenance": {"tree": tree, "domain": dataset.domain.name, "end": int(end)},
        }


def research_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """The form of the released research data: ``scene``, ``description``, ``messages``, ``chosen``, ``reject``."""
    for pair in dataset.pairs():
        yield {
            "scene": pair.record.scenario.scene,
            "description": pair.record.scenario.description,
            "messages": chat_messages(pair.history),
            "chosen": _content(pair, "chosen"),
            "reject": _content(pair, "rejected"),
        }


def _content(pair: PreferencePair, side: Literal["chosen", "rejected"]) -> str:
    node = pair.chosen if side == "chosen" else pair.rejected
    return spoken(node.strategy, node.supporter)


def tree_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """Tree records, one a tree: valid paths and rejected siblings as a prefix tree, for tree-packed training."""
    for record in dataset.records:
        yield record.to_dict()


def turn_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """Every turn on a valid path once, with all replies that were tried there and what each is worth.

    ``policy`` has what the search found every strategy of the turn to be worth, those that were not tried too.
    """
    for record in dataset.records:
        for turn in record.turns():
            found = turn.worths
            if found is None:  # a reply that was not searched, as random ones are
                continue
            policy = turn.policy or {}
            yield {
                "prompt": _prompt(record, turn.parent),
                "replies": [_reply(node) for node in turn.nodes],
                "values": list(found),
                "confidences": None if turn.confidences is None else list(turn.confidences),
                "policy": [{"strategy": name, "value": value} for name, value in policy.items() if value is not None],
                "provenance": {
                    "tree": record.id,
                    "domain": record.domain,
                    "turn": len(record.opening) + 2 * (turn.depth - 1),
                    "depth": turn.depth,
                    "parent": turn.parent,
                    "nodes": [node.id for node in turn.nodes],
                    "visits": [node.visits for node in turn.nodes],
                    "chosen": [node.polarity == "chosen" for node in turn.nodes],
                },
            }


_BEGINS = "(The conversation begins.)"  # what the supporter's own prompt says where the supporter speaks first


def llamafactory_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """LLaMA-Factory's ranking form in its ShareGPT format, where the human speaks first."""
    sides = {"user": "human", "assistant": "gpt"}
    for pair in dataset.pairs():
        said = chat_messages(pair.history)
        if said and said[0]["role"] == "assistant":
            said.insert(0, {"role": "user", "content": _BEGINS})
        yield {
            "system": pair.record.system,
            "conversations": [{"from": sides[each["role"]], "value": each["content"]} for each in said],
            "chosen": {"from": "gpt", "value": _content(pair, "chosen")},
            "rejected": {"from": "gpt", "value": _content(pair, "rejected")},
        }


def axolotl_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """Axolotl's preference form ``chat_template.default``: ``messages``, and one message each as the two replies."""
    for pair in dataset.pairs():
        yield {
            "messages": _prompt(pair.record, pair.chosen.parent),
            "chosen": _reply(pair.chosen)[0],
            "rejected": _reply(pair.rejected)[0],
        }


def openrlhf_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """OpenRLHF's preference form: two whole conversations that differ in their last message."""
    for pair in dataset.pairs():
        prompt = _prompt(pair.record, pair.chosen.parent)
        yield {"chosen": prompt + _reply(pair.chosen), "rejected": prompt + _reply(pair.rejected)}


def openai_rows(dataset: PreferenceDataset) -> Iterator[Row]:
    """The form of OpenAI's preference fine-tuning: ``input``, ``preferred_output`` and ``non_preferred_output``."""
    for pair in dataset.pairs():
        yield {
            "input": {"messages": _prompt(pair.record, pair.chosen.parent)},
            "preferred_output": _reply(pair.chosen),
            "non_preferred_output": _reply(pair.rejected),
        }


_MESSAGES = [{"role": "string", "content": "string"}]
_MESSAGE = _MESSAGES[0]
_SHAREGPT = {"from": "string", "value": "string"}
_TURNS = [{"speaker": "string", "text": "string", "strategy": "string"}]
_PLACE = {"tree": "string", "domain": "string", "turn": "int64", "depth": "int64", "parent": "int64"}
_REVIEW = {
    "verdict": "string",
    "reviewers": ["string"],
    "others": "int64",
    "original_chosen": "string",
    "original_rejected": "string",
    "confidence": "float64",
}
_REVIEWED = {"review": _REVIEW}


def _of(prefix: str) -> dict[str, str]:
    types = {"node": "int64", "strategy": "string", "value": "float64", "visits": "int64"}
    return {f"{prefix}{name}": kind for name, kind in types.items()}


_BELIEF = dict.fromkeys(("confidence", "chosen_worth", "rejected_worth"), "float64")
_NODES = [
    {
        "id": "int64",
        "parent": "int64",
        "strategy": "string",
        "supporter": "string",
        "seeker": "string",
        "value": "float64",
        "visits": "int64",
        "gold": "bool",
        "polarity": "string",
        "posterior": ["float64"],
    }
]


@dataclass(frozen=True)
class FormatSpec:
    """One form of the data.

    :param title: what it is, in a line.
    :param rows: its rows.
    :param types: type by column: "string", "int64", "float64" or "bool", a list of one type, or a dict of fields.
    """

    title: str
    rows: Callable[[PreferenceDataset], Iterator[Row]]
    types: dict[str, Any]


FORMATS: dict[RowFormat, FormatSpec] = {
    "preference": FormatSpec(
        "preference pairs in TRL's conversational form (DPO, IPO, SimPO, ORPO)",
        preference_rows,
        {
            "prompt": _MESSAGES,
            "chosen": _MESSAGES,
            "rejected": _MESSAGES,
            "provenance": {
                **_PLACE,
                **_of("chosen_"),
                **_of("rejected_"),
                "gold": "bool",
                **_BELIEF,
                "review": _REVIEW,
            },
        },
    ),
    "unpaired": FormatSpec(
        "single replies with a label in TRL's unpaired form (KTO)",
        unpaired_rows,
        {
            "prompt": _MESSAGES,
            "completion": _MESSAGES,
            "label": "bool",
            "provenance": {**_PLACE, **_of(""), "gold": "bool", **_REVIEWED},
        },
    ),
    "sft": FormatSpec(
        "the valid paths as whole dialogues for supervised fine-tuning",
        sft_rows,
        {"messages": _MESSAGES, "provenance": {"tree": "string", "domain": "string", "end": "int64"}},
    ),
    "research": FormatSpec(
        "pairs in the form of the released research data",
        research_rows,
        {
            "scene": "string",
            "description": "string",
            "messages": _MESSAGES,
            "chosen": "string",
            "reject": "string",
        },
    ),
    "tree": FormatSpec(
        "one row a tree: valid paths and rejected siblings as a prefix tree, for tree-packed training",
        tree_rows,
        {
            "schema": "string",
            "version": "int64",
            "scenario": dict.fromkeys(("scene", "description", "id", "source"), "string"),
            "domain": "string",
            "strategies": ["string"],
            "system": "string",
            "opening": _TURNS,
            "seed": _TURNS,
            "nodes": _NODES,
            "pairs": [["int64"]],
            "others": _NODES,
            "policies": [{"parent": "int64", "worths": ["float64"]}],
            "reviews": [{"chosen": "int64", "rejected": "int64", **_REVIEW}],
            "no_dialogue": ["int64"],
        },
    ),
}
"""The forms that are written by default, by name."""

TOOL_FORMATS: dict[RowFormat, FormatSpec] = {
    "llamafactory": FormatSpec(
        "preference pairs for LLaMA-Factory (ranking, ShareGPT format)",
        llamafactory_rows,
        {"system": "string", "conversations": [_SHAREGPT], "chosen": _SHAREGPT, "rejected": _SHAREGPT},
    ),
    "axolotl": FormatSpec(
        "preference pairs for Axolotl (type: chat_template.default)",
        axolotl_rows,
        {"messages": _MESSAGES, "chosen": _MESSAGE, "rejected": _MESSAGE},
    ),
    "openrlhf": FormatSpec(
        "preference pairs for OpenRLHF (--apply_chat_template)",
        openrlhf_rows,
        {"chosen": _MESSAGES, "rejected": _MESSAGES},
    ),
    "openai": FormatSpec(
        "preference pairs for OpenAI's preference fine-tuning",
        openai_rows,
        {"input": {"messages": _MESSAGES}, "preferred_output": _MESSAGES, "non_preferred_output": _MESSAGES},
    ),
}
"""The forms of other tools, by name; they are written where they are asked for."""

TURN_FORMAT = FormatSpec(
    "turns with all their replies and what each is worth (infonca, nca, refuel, distill)",
    turn_rows,
    {
        "prompt": _MESSAGES,
        "replies": [_MESSAGES],
        "values": ["float64"],
        "confidences": ["float64"],
        "policy": [{"strategy": "string", "value": "float64"}],
        "provenance": {**_PLACE, "nodes": ["int64"], "visits": ["int64"], "chosen": ["bool"]},
    },
)
"""Written where it is asked for: training makes the same rows of the tree records."""

ALL_FORMATS: dict[RowFormat, FormatSpec] = {**FORMATS, "turns": TURN_FORMAT, **TOOL_FORMATS}
"""All forms by name."""
