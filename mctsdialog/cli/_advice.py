"""What to change, by what an examination of the models has shown: a plain sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from mctsdialog.cli._examination import Examination, RoleResult
from mctsdialog.errors import MctsDialogError, ModelRefusedError, ReplyError
from mctsdialog.llm import Completion, Usage

_TOKENS, _THINKING_TOKENS = 1000, 4000  # that are advised for a reply, and where the model reasons
_MUCH = 0.5  # of the tokens written, for reasoning
_SEVERAL = 3  # turns judged, before equal scores say anything
_PAIRS = 24  # that tell a fair judge from one that guesses


def advice(seen: Examination, *, effort_given: bool) -> list[str]:
    """What to change; empty where nothing is.

    :param effort_given: whether the user has said how much the model may reason.
    """
    found = [*_of_errors(seen), *_of_cuts(seen)]
    for result in seen.results.values():
        if result.plays:
            found += _of_answer(result)
    if not any("--reasoning-effort" in text for text in found) and not effort_given:
        found += _of_reasoning(seen)
    return [*dict.fromkeys(found), *_of_judge(seen)]


def _last(result: RoleResult) -> Completion | None:
    return result.exchanges[-1].completion if result.exchanges else None


def _is_cut(result: RoleResult) -> bool:
    last = _last(result)
    return last is not None and last.finish_reason == "length"


def _of_errors(seen: Examination) -> Iterator[str]:
    """What failed, roles that failed in one way together."""
    kinds: dict[str, list[str]] = {}
    for result in seen.results.values():
        if result.error is not None and not (_is_cut(result) and isinstance(result.error, ReplyError)):
            kinds.setdefault(_of_error(result, result.error), []).append(result.role)
    for text, roles in kinds.items():
        everyone = len(roles) == len(seen.results)
        options = "--model" if everyone else " and ".join(f"--{role}-model" for role in roles)
        yield text.format(roles=" and ".join(f"the {role}" for role in roles), another=f"choose another with {options}")


def _of_error(result: RoleResult, error: MctsDialogError) -> str:
    """How a role failed, in words that do not name it."""
    last = _last(result)
    unsaid = last is not None and last.finish_reason in ("refusal", "content_filter")
    if isinstance(error, ModelRefusedError) or unsaid:
        return "The model refuses to play {roles}: {another}."
    if not isinstance(error, ReplyError):
        return "No reply came for {roles}: do what the message above says, then give this command again."
    if last is not None and not last.text.strip():
        return "The model said nothing for {roles}: {another}."
    return "The model's replies for {roles} cannot be used: {another}."


def _of_cuts(seen: Examination) -> Iterator[str]:
    """Replies cut by a limit of tokens, those of reasoning apart from others."""
    cuts = [(result.role, last) for result in seen.results.values() if _is_cut(result) and (last := _last(result))]
    thinking = [(role, last) for role, last in cuts if last.usage.reasoning_tokens or last.thought or not last.text]
    if thinking:
        yield (
            f"{_names(thinking)} ran out of tokens while the model was still reasoning: let it reason less with "
            f"--reasoning-effort low, or use --max-reply-tokens {_more(_THINKING_TOKENS, thinking)}."
        )
    plain = [cut for cut in cuts if cut not in thinking]
    if plain:
        yield f"{_names(plain)} had replies cut short: use --max-reply-tokens {_more(_TOKENS, plain)}."


def _names(cuts: Sequence[tuple[str, Completion]]) -> str:
    roles = [
        f"the {role}" + (f" (at {last.usage.completion_tokens} tokens)" if last.usage.completion_tokens else "")
        for role, last in cuts
    ]
    text = ", ".join(roles)
    return text[0].upper() + text[1:]


def _more(least: int, cuts: Sequence[tuple[str, Completion]]) -> int:
    return max(least, *(2 * last.usage.completion_tokens for _, last in cuts))


def _of_answer(result: RoleResult) -> Iterator[str]:
    if len(result.exchanges) > 1:
        count = len(result.exchanges)
        yield f"The {result.role} needed {count} replies for one that could be used: a run pays for all of them."
    if isinstance(result.answer, dict):
        yield from _of_scores(result.role, list(result.answer.values()))


def _of_scores(role: str, scores: Sequence[float]) -> Iterator[str]:
    """A strategist's scores that are a form filled in."""
    steps = {after - before for before, after in pairwise(scores)}
    if len(scores) < _SEVERAL or len(steps) != 1:
        return
    way = f"all strategies the same score ({scores[0]:g})" if steps == {0} else "scores that count the strategies"
    yield (
        f"The {role} gave {way}: it does not rate them, and the order of the list decides which is tried first. "
        f"Choose another model for it with --{role}-model."
    )


def _of_reasoning(seen: Examination) -> Iterator[str]:
    usage = sum((result.usage for result in seen.results.values()), Usage())
    if usage.reasoning_tokens > _MUCH * usage.completion_tokens:
        share = usage.reasoning_tokens / usage.completion_tokens
        yield f"{share:.0%} of the tokens written are reasoning: --reasoning-effort low makes a run cheaper and faster."


def _of_judge(seen: Examination) -> Iterator[str]:
    scores, signal = seen.judged, seen.signal
    another = "use a stronger model for the judge (--judge-model)"
    if len(scores) >= _SEVERAL and len(set(scores)) == 1:
        same = ", ".join(f"{score:g}" for score in scores[0])
        yield f"The judge gave the same scores ({same}) to all {len(scores)} turns, which says nothing: {another}."
    elif signal is not None and not signal.tells_apart:
        sure = f"make sure with --judge-pairs {max(_PAIRS, 2 * signal.cases)}"
        if not signal.better:
            yield f"The judge never ranked a real turn above one of another dialogue: {another}, or {sure}."
        else:
            ranked = f"{signal.better} of {signal.cases} pairs"
            yield f"{ranked} do not show that the judge tells turns apart: {sure}, or {another}."
