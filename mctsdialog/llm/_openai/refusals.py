"""What in a request a server refuses: a parameter, the system message, the format of the reply."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from mctsdialog.llm._openai.error_body import ErrorBody, Field, any_of

_SYSTEM = any_of(
    r"system[ _]?(?:role|messages?|prompts?|instructions?)\b[^.]{0,60}"
    r"(?:not (?:supported|allowed|enabled|permitted|available)|unsupported)",
    r"(?:not support|n't support|unsupported)[^.]{0,60}\bsystem\b",
    r"roles? must alternate",
    r"only [^.]{0,60}\broles? (?:are|is) (?:supported|allowed)",
    r"\brole['\"`]?\s*:?\s*['\"`]?system['\"`]?[^.]{0,40}not (?:supported|allowed|enabled|permitted)",
    r"['\"`]system['\"`] (?:role|messages?)[^.]{0,60}not (?:supported|allowed|enabled|permitted)",
    r"\brole\b['\"`]?:?[^.]{0,20}\b(?:should|must) be (?:one of )?:?\s*['\"`]?(?:user|assistant)\b(?![^.]*system)",
    r"developer instruction is not enabled",
    r"(?:unexpected|invalid|unknown|unsupported) (?:message )?role:? ['\"`]?system",
)
_FORMAT = any_of(
    r"response_?\s?format",
    r"response_schema",
    r"json_?\s?schema",
    r"json_?\s?object",
    r"json[ _]mode",
    r"grammar",
    r"guided",
    r"structured",
    r"\bschema\b",
)
_KEYWORDS = any_of(
    r"\b(?:exclusive)?(?:minimum|maximum)\b(?! (?:context|length|tokens|number))",
    r"additional_?properties",
    r"invalid schema",
    r"schema[^.]{0,40} (?:keyword|not permitted)",
)
_REFUSED = any_of(
    r"unsupported",
    r"not[ _]support",
    r"n't (?:support|accept|allow|exist)",
    r"does not (?:accept|allow|exist|have)",
    r"not (?:enabled|permitted|allowed|available|accepted|recogni[sz]ed|(?:yet )?implemented)",
    r"not an? (?:supported|allowed|valid|known|recogni[sz]ed)",
    r"unknown",
    r"unrecogni[sz]ed",
    r"unexpected",
    r"extra[ _](?:inputs?|fields?|forbidden)",
    r"forbidden|disallowed|incompatible",
    r"deprecated|no longer",
    r"only (?:the )?(?:default|[\d.]+ (?:is|are))",
    r"only (?:supports?|works|accepts)",
    r"cannot (?:both )?be (?:used|set|specified|given|combined)",
    r"(?:may|can|must) (?:only )?be (?:set to )?(?:1\b|the default|unset|omitted|null)",
    r"invalid (?:argument|parameter|field)",
    r"cannot find field",
    r"\bmandatory\b|cannot be (?:disabled|turned off)",
)
_RANGE = any_of(
    r"\b(?:between|less than|greater than|at least|at most|maximum|minimum|range|exceeds?)\b",
    r"\b(?:above max|below min)",
    r"\btoo (?:large|high|low|small|many)\b",
    r"[<>]=?",
)
_SURELY = any_of("unsupported", "unknown", "unrecogni[sz]ed", "unexpected", "extra[ _]", "n(?:o|')t[ _]support")
_SUPPORTED = re.compile(
    r"(?<!not a )\b(?:supported|allowed|accepted|valid|available|permitted|known) (?:\w+ )?"
    r"(?:parameters?|params|values?|fields?|arguments?|options|keys|inputs)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_ADVICE = re.compile(r"\s*(?:please )?(?:use|try|consider|see|check)\b", re.IGNORECASE)
_OTHER_PART = any_of(r"response_?\s?format", r"json_?\s?schema", r"\bmessages\b", r"\btools?\b")

_NAMES: Mapping[str, str] = {
    "temperature": r"temperature",
    "top_p": r"top[_ -]?p",
    "frequency_penalty": r"(?:(?:frequency|presence)[_ -]?)?penalt(?:y|ies)",
    "seed": r"(?:random[_ -]?)?seed",
    "max_tokens": r"max[_ -]?(?:output[_ -]?|completion[_ -]?|new[_ -]?)?tokens",
    "max_completion_tokens": r"max[_ -]?(?:output[_ -]?|completion[_ -]?|new[_ -]?)?tokens",
    "reasoning_effort": r"(?:reasoning[ _.]?)?effort|thinking(?:[ _.]?(?:level|budget|config|mode))?|think|reasoning",
    "reasoning": r"(?:reasoning[ _.]?)?effort|reasoning|thinking",
    "thinking": r"thinking(?:[ _.](?:type|budget_tokens))?",
    "chat_template_kwargs": r"chat[_ -]?template[_ -]?kwargs",
}
"""How servers write the parameters that this package sends of its own accord, in snake and camel case."""
EFFORT_NAMES = ("reasoning_effort", "reasoning", "thinking", "chat_template_kwargs")


def refuses_system(said: ErrorBody) -> bool:
    """Whether the model has no system role, or wants its roles to alternate."""
    return said.status in (400, 422, 500) and said.has(_SYSTEM)


def refuses_format(said: ErrorBody) -> tuple[bool, bool]:
    """Whether a refusal is about the response format, and whether about keywords of its schema."""
    named = _FORMAT.search(said.param) is not None or said.has(_FORMAT)
    named = named or any(_FORMAT.search(each.path) for each in said.fields)
    keywords = said.has(_KEYWORDS)
    return named or keywords, keywords


def refused_parameters(said: ErrorBody, sent: Collection[str]) -> list[str]:
    """Which of the parameters that were sent the server does not take.

    A value out of a parameter's range is none: that is for the user to mend.

    :param sent: names out of those that this package sends of its own accord; others are left out.
    """
    names = [name for name in sent if name in _NAMES]
    if said.fields:
        return [name for name in names if any(_field_names(each, name) for each in said.fields)]
    if said.param:
        last = re.sub(r"\[\d+\]", "", said.param).rpartition(".")[2]
        named = [each for each in names if any(_is(each, part) for part in (said.param, last))]
        surely = _SURELY.search(said.codes) or _SURELY.search(said.message)
        return named if surely or not _RANGE.search(said.message) else []
    return next(filter(None, (_in_sentence(each, names) for each in _SENTENCE.split(said.message[:4000]))), [])


def names_parameter(said: ErrorBody, sent: Collection[str]) -> bool:
    """Whether a refusal is about one of the parameters that were sent, if only about its value."""
    return any(_place(said.message[:4000], name) >= 0 for name in sent if name in _NAMES)


def _is(name: str, word: str) -> bool:
    return re.fullmatch(_NAMES[name], word, re.I) is not None


def _field_names(field: Field, name: str) -> bool:
    refused = _REFUSED.search(f"{field.kind} {field.message}") or name in EFFORT_NAMES
    return bool(refused) and any(_is(name, part) for part in field.path.split("."))


def _in_sentence(sentence: str, names: list[str]) -> list[str]:
    """The parameter that is first refused in a sentence."""
    sentence = _SUPPORTED.sub("", sentence)
    if _ADVICE.match(sentence) or not _REFUSED.search(sentence):
        return []
    if _RANGE.search(sentence) and not _SURELY.search(sentence):
        return []
    found = sorted((place, name) for name in names if (place := _place(sentence, name)) >= 0)
    other = _OTHER_PART.search(sentence)
    if not found or (other is not None and other.start() < found[0][0]):
        return []
    return [name for place, name in found if place == found[0][0]]


def _place(sentence: str, name: str) -> int:
    """Where a sentence names a parameter; -1 where it does not. A plain word has to stand as a name."""
    for found in re.finditer(rf"(?<![\w-])(?:{_NAMES[name]})(?![\w-])", sentence, re.I):
        before, after = sentence[: found.start()], sentence[found.end() :]
        plain = found[0].lower() in ("seed", "temperature", "think", "thinking", "reasoning", "effort")
        if not plain or re.search(_NAMED_BEFORE, before, re.I) or re.match(_NAMED_AFTER, after, re.I):
            return found.start()
    return -1


_NAMED_BEFORE = (
    r"(?:^|['\"`:(]|\b(?:parameters?|params?|arguments?|fields?|names?|values?|keys?|supports?|for|invalid|specify|set"
    r"|use))\s*$"
)
_NAMED_AFTER = (
    r"['\"`]|\s*(?::|\(|(?:parameters?|arguments?|fields?|values?|mode|is|was|may|must|can|cannot|does|has|and|or|to)\b"
    r"|$)"
)


def quoted_values(message: str) -> list[str]:
    """The values that a message lists as those that are taken, in lower case; none where it lists none."""
    listed = re.search(
        r"(?:supported values|one of|should be|allowed values|valid values|accepts?)\b(.*)", message, re.I | re.S
    )
    return [] if listed is None else [word.lower() for word in re.findall(r"['\"`](\w+)['\"`]", listed[1])]
