"""Rows that fit the context: long prompts lose their oldest turns, what does not fit is left out; both are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from cso_train._chat import ChatFormat, Messages, without_oldest
from cso_train._data import SIDES, Row, TrainingData, row_key
from cso_train._forms import replies
from cso_train.errors import TrainDataError


def fit(chat: ChatFormat, data: TrainingData, max_length: int, max_completion: int) -> TrainingData:
    """The rows that fit, and what became of the others in the warnings.

    The system prompt and the seeker's last turn are never cut. A reply is never cut either: the end of a reply that was
    cut would be trained on as if it had ended there. A dialogue whose earlier turns the template writes otherwise than
    the last becomes a row for each turn of the supporter.

    :param max_length: tokens of prompt and reply together.
    :param max_completion: tokens of a reply; a row with a longer one is left out.
    :raises TrainDataError: if no row fits, and for a template that writes replies elsewhere than it asks for them.
    """
    chat.check_trainable()
    counts: Counter[str] = Counter(data.warnings)
    fitted = _Fitting(chat, max_length, max_completion, counts)
    rows, seen = list[Row](), set[str]()
    for each in (fit for row in data.rows for fit in fitted.rows(row)):
        if (key := row_key(each) + str(each.get("copy", ""))) in seen:
            counts["rows left out that are equal once their prompts are cut"] += 1
        else:
            seen.add(key)
            rows.append(each)
    if not rows:
        found = "; ".join(f"{count} {what}" for what, count in counts.items() if count)
        message = (
            f"no row fits max_length {max_length} and max_completion_tokens {max_completion} ({found}); raise them"
        )
        raise TrainDataError(message, field="max_length")
    return replace(data, rows=tuple(rows), warnings=dict(counts))


class _Fitting:
    def __init__(self, chat: ChatFormat, max_length: int, max_completion: int, counts: Counter[str]) -> None:
        self._chat, self._counts = chat, counts
        self._max_length, self._max_completion = max_length, max_completion

    def rows(self, row: Row) -> Iterator[Row]:
        """What becomes of a row: itself, none, or one for each turn of a dialogue."""
        if "messages" in row and not self._chat.keeps_turns(row["messages"]):
            self._counts["dialogues trained on turn by turn: the chat template writes earlier turns otherwise"] += 1
            yield from (found for each in _turns(row) if (found := self._fitted(each)) is not None)
            return
        found = self._dialogue(row) if "messages" in row else self._pair(row)
        if found is not None:
            yield found

    def _pair(self, row: Row) -> Row | None:
        if max(map(self._chat.words, replies(row))) > self._max_completion:
            self._counts["rows left out with a reply longer than max_completion_tokens"] += 1
            return None
        return self._fitted(row)

    def _fitted(self, row: Row) -> Row | None:
        prompt: Messages | None = row["prompt"]
        while prompt is not None and self._longest({**row, "prompt": prompt}) > self._max_length:
            prompt = without_oldest(prompt)
        if prompt is None:
            self._counts["rows left out that do not fit the context"] += 1
            return None
        self._counts["prompts cut from their oldest turns"] += prompt is not row["prompt"]
        return {**row, "prompt": prompt}

    def _longest(self, row: Row) -> int:
        tokens = self._chat.row_tokens(row)
        said = [*(tokens[f"{side}_ids"] for side in SIDES if side in row), *tokens.get("reply_ids", ())]
        return len(tokens["prompt_ids"]) + max(map(len, said))

    def _dialogue(self, row: Row) -> Row | None:
        kept: Messages = row["messages"]
        while len(self._chat.dialogue_tokens(kept)["input_ids"]) > self._max_length:
            shorter = _without_newest(kept)
            if shorter is None:
                self._counts["rows left out that do not fit the context"] += 1
                return None
            kept = shorter
        self._counts["dialogues cut at their end"] += kept is not row["messages"]
        return {**row, "messages": kept}


def _turns(row: Row) -> Iterator[Row]:
    """A dialogue as rows of a prompt and the supporter's turn after it."""
    messages: Messages = row["messages"]
    others = {name: value for name, value in row.items() if name != "messages"}
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            yield {**others, "prompt": messages[:place], "completion": [message]}


def _without_newest(messages: Messages) -> Messages | None:
    """Without the last exchange; None where only one is left. It still ends with the assistant."""
    replies = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    return messages[: replies[-2] + 1] if len(replies) > 1 else None
