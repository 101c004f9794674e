"""Test sets: contexts that end on the seeker, and what the gold supporter said next (as in Kang et al., ACL 2024)."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cso_train._data import checked_prompt, seed_of
from cso_train.errors import TrainDataError
from mctsdialog._arguments import checked
from mctsdialog._moved import renamed_arguments
from mctsdialog.dialogue import Dialogue, Domain
from mctsdialog.errors import ConfigError
from mctsdialog.files import write_atomically
from mctsdialog.preferences import chat_messages, read_rows, spoken, system_prompt


@dataclass(frozen=True)
class TestCase:
    """One context and the gold turn.

    :param id: ``dialogue/turn``.
    :param prompt: the system prompt and the conversation, the seeker's turn last.
    :param strategy: the gold strategy.
    :param text: the gold reply, without its strategy.
    """

    __test__ = False  # for pytest: this is no test

    id: str
    prompt: tuple[dict[str, str], ...]
    strategy: str
    text: str

    @property
    def dialogue(self) -> str:
        """The dialogue that the context is of: by the id, or by how the conversation begins."""
        return self.id.rpartition("/")[0] or seed_of({"prompt": list(self.prompt)})

    def to_dict(self) -> dict[str, Any]:
        """The case as a row: ``prompt`` and ``completion``, which trainers read too."""
        completion = [{"role": "assistant", "content": spoken(self.strategy, self.text)}]
        gold = {"strategy": self.strategy, "text": self.text}
        return {"id": self.id, "prompt": list(self.prompt), "completion": completion, "gold": gold}


@renamed_arguments(least="min_turns", most="max_turns")
@checked()
def build_test_set(
    dialogues: Iterable[Dialogue],
    domain: Domain,
    *,
    min_turns: int = 5,
    max_turns: int = 15,
    limit: int | None = None,
    seed: int = 0,
    exclude: Collection[str] = (),
) -> list[TestCase]:
    """Every supporter turn of the dialogues whose context is of the wanted length and ends on the seeker.

    :param domain: whose strategies the prompt lists; turns by other strategies are left out.
    :param min_turns: fewest utterances of a context, 1 or more.
    :param max_turns: most utterances of a context.
    :param limit: draw at most so many cases by ``seed``; they keep their order.
    :param exclude: seeds, as :func:`cso_train._data.seed_of` tells them, whose dialogues are left out.
    :raises TrainDataError: if no turn qualifies.
    :raises ConfigError: for a negative limit.
    """
    if limit is not None and limit < 0:
        raise ConfigError(f"limit must be 0 or more, not {limit}", field="limit")
    system = {"role": "system", "content": system_prompt(domain)}
    cases, excluded = [], 0
    for dialogue in dialogues:
        if exclude and seed_of({"messages": chat_messages(dialogue.turns)}) in exclude:
            excluded += 1
            continue
        for place, turn in enumerate(dialogue.turns):
            after_seeker = place > 0 and dialogue.turns[place - 1].speaker == "seeker"
            if turn.speaker != "supporter" or not after_seeker or not min_turns <= place <= max_turns:
                continue
            if turn.strategy is None or turn.strategy not in domain.strategies.names:
                continue
            prompt = (system, *chat_messages(dialogue.turns[:place]))
            cases.append(TestCase(f"{dialogue.id}/{place}", prompt, turn.strategy, turn.text))
    if not cases:
        message = (
            f"no supporter turn follows a context of {min_turns} to {max_turns} utterances that ends on the seeker"
        )
        if excluded:
            message += f"; {excluded} dialogues that were trained on are left out: keep some out of training"
        raise TrainDataError(message)
    if limit is not None and limit < len(cases):
        generator = random.Random(seed)  # noqa: S311  # no secret
        cases = [cases[place] for place in sorted(generator.sample(range(len(cases)), limit))]
    return cases


@checked()
def write_test_set(path: str | Path, cases: Sequence[TestCase]) -> Path:
    """Write cases as JSON lines."""
    return write_atomically(path, "".join(json.dumps(case.to_dict(), ensure_ascii=False) + "\n" for case in cases))


@checked()
def read_test_set(path: str | Path, domain: Domain) -> list[TestCase]:
    """Read cases that :func:`write_test_set` wrote.

    :raises TrainDataError: for a row that is none, or of a strategy that the domain has not, naming file and line.
    :raises mctsdialog.DataError: for a file that cannot be read.
    """
    cases = []
    for number, found in enumerate(read_rows(path), start=1):
        item = f"row {number}"
        row = found if isinstance(found, dict) else {}
        gold = row["gold"] if isinstance(row.get("gold"), dict) else {}
        name, strategy, text = row.get("id"), gold.get("strategy"), gold.get("text")
        if not (
            isinstance(name, str | int) and isinstance(strategy, str) and isinstance(text, str) and "prompt" in row
        ):
            message = "is no test case with id, prompt and gold strategy and text; make one with 'testset'"
            raise TrainDataError(message, file=path, item=item)
        case = TestCase(str(name), tuple(checked_prompt(row["prompt"], path, item)), strategy, text)
        if case.strategy not in domain.strategies.names:
            message = f"{case.strategy!r:.60} is no strategy of the domain {domain.name}"
            raise TrainDataError(message, file=path, item=item, field="gold.strategy")
        cases.append(case)
    if not cases:
        raise TrainDataError("holds no test cases", file=path)
    return cases
