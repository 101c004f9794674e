"""What a model said, and what it only thought: one reading of a reply for search, evaluation and judging.

Servers leave reasoning in the text in many forms: tags around it, a closing tag alone if the prompt ended in the
opening one, channels. This module reads plain text; reasoning in fields of its own is taken out by
:mod:`mctsdialog.llm._wire`.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Reading(NamedTuple):
    """A reply in its two parts.

    :param said: what the model meant to say; "" where it only thought.
    :param thought: its reasoning, without the marks around it; "" if there is none.
    """

    said: str
    thought: str


_WORDS = "(?:longcat_|ant)?think(?:ing)?|thoughts?|(?:thought|thinking|reasoning)_(?:process|steps?)|reason"
_WORDS += "|reasoning(?:_content)?|reflection|chain_of_thought|cot|analysis|scratchpad|planning|deliberation"
_WORDS += "|(?:inner|internal)_?(?:thoughts?|thinking|reasoning|monologue)"
_SQUARE = r"(?:THINK|(?-i:THINKING|THOUGHTS?|REASONING))\]"
_OPENS = rf"<(?:\s?(?:\w{{1,20}}:)?(?:{_WORDS})(?:\s[^<>]{{0,80}})?>"
_OPENS += rf"|\|(?:START_THINKING|(?:(?:begin|start)_of_)?(?:{_WORDS})(?:_start|_begin)?|inner_prefix)\|>"
_OPENS += rf"|\|channel>\s*(?:thought|analysis)?|(?:unused|ctrl)94>(?:thought)?)|\[{_SQUARE}|◁think▷"
_CLOSES = rf"<(?:/\s?(?:\w{{1,20}}:)?(?:{_WORDS})\s*>|\|(?:END_THINKING|(?:end_of_|/)(?:{_WORDS})|(?:{_WORDS})_end"
_CLOSES += rf"|inner_suffix)\|>|channel\|>|(?:unused|ctrl)95>)|\[/{_SQUARE}|◁/think▷"
_MARKS = re.compile(rf"(?P<open>{_OPENS})|(?P<close>{_CLOSES})", re.IGNORECASE)
_ESCAPED = re.compile(rf"&lt;(/?(?:{_WORDS}))&gt;", re.IGNORECASE)

# Blocks whose end is no mark of a thought by itself: of Open WebUI, of ChatML, a fence.
_BLOCK = re.compile(
    r"<details\s[^<>]{0,80}\breasoning\b[^<>]{0,80}>(.*?)(?:</details>|\Z)"
    rf"|<\|im_start\|>\s*(?:{_WORDS})\s*\n(.*?)(?:<\|im_end\|>|(?=<\|im_start\|>)|\Z)"
    rf"|\A\s*```(?:{_WORDS})\s*\n(.*?)(?:\n```|\Z)",
    re.DOTALL | re.IGNORECASE,
)

# OpenAI's Harmony: <|channel|>NAME ...<|message|>TEXT, up to the next mark of its kind.
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w*)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
# ... and what is left of it where the server drops special tokens.
_BARE_CHANNELS = re.compile(
    r"\s*(?:assistant)?(?:analysis|commentary)(?:(?=\S)(.*?)assistant\s*final(?=\S)(?!ly|ist|i[sz])"
    r"|(?=\s)(.*?)assistantfinal(?!ly|ist|i[sz]))"
    r'|\s*()(?:assistantfinal(?!ly|ist|i[sz])|final(?=[A-Z{"]))',
    re.DOTALL,
)
# IBM Granite 3, ServiceNow Apriel and Ollama's terminal say it in words, some models in headings.
_HEADING = r"(?:#{1,6}[^\S\n]*|\*\*)"
_IN_WORDS = re.compile(
    r"\s*(?:Here(?:'s| is) my thought process:(.*?)(?:Here(?:'s| is) my (?:response|answer|reply):|\Z)"
    r"|Here are my reasoning steps:(.*?)(?:\[BEGIN FINAL RESPONSE\]|\Z)"
    r"|Thinking\.\.\.\n(.*?)\n\s*\.\.\.done thinking\.?"
    rf"|{_HEADING}(?:Thinking|Thoughts|Reasoning|Analysis|Thought process)\b[:*]*(.*?)"
    rf"\n\s*{_HEADING}(?:Final )?(?:Response|Answer|Reply|Output)\b[:*]*)",
    re.DOTALL | re.IGNORECASE,
)
_LABEL = re.compile(r"\A(?:#{1,6}[^\S\n]*)?\**(?:my |final )?(?:response|answer|reply)\**:\**\s*", re.IGNORECASE)

_MARKER = r"<\|[^|<>\n]{1,60}\|>|<[|｜][^|｜<>\n]{1,60}[|｜]>"  # DeepSeek's bars are full-width
_HEADER = re.compile(
    r"(?:\s|<s>|<bos>|\[BOS\]|<\|im_start\|>\s*(?:assistant|answer)\b|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>"
    rf"|<\|start\|>\s*assistant\b|<start_of_turn>\s*model\b|<\|turn>\s*model\b|{_MARKER})*"
)
_END = re.compile(
    rf"{_MARKER}|</s>|<eos>|<end_of_turn>|<turn\|>|<end_of_utterance>|<start_of_turn>|<\|turn>|\[/?INST\]|\[EOS\]"
    r"|\[END FINAL RESPONSE\]|\[e~\[",
    re.IGNORECASE,
)
_WRAPPED = re.compile(
    r"\s*<((?:final_)?(?:answer|response|output|reply)|final|assistant|message|solution|utterance)>(.*?)(?:</\1>\s*|\Z)",
    re.DOTALL | re.IGNORECASE,
)


# The fixed phrases by which models decline; what a person might say in a dialogue is none of them.
_SORRY = r"\W*(?:(?:i['’]?m|i am)(?: \w+)? sorry|sorry|i apologi[sz]e|my apologies|unfortunately)\b\W*(?:but )?"
_CANNOT = r"(?:can['’]?t|cannot|can not|won['’]?t(?: be able to)?|must decline to"
_CANNOT += r"|(?:am|['’]?m)? ?(?:unable|not able|not allowed) to)"
_REFUSAL = re.compile(
    rf"(?:{_SORRY})(?:as an ai\b[^.]{{0,40}}, )?i ?{_CANNOT} (?:\w+ )?"
    r"(?:(?:assist|help|comply|engage)(?: you)? (?:with|in)|fulfil+|process|complete|respond to|answer|continue with) "
    r"(?:\w+ )?(?:requests?|prompts?|instructions)\b"
    rf"|(?:{_SORRY})i ?{_CANNOT} (?:assist|help)(?: you)? with (?:that|this)\W*\Z"
    rf"|\W*i ?{_CANNOT} (?:assist|help|comply)(?: you)? with (?:that|this|your|the) (?:request|prompt)\b"
    rf"|(?:{_SORRY})?as an ai(?: \w+){{0,3}},? i ?(?:{_CANNOT}|do not|don['’]t)\b"
    r"|\W*(?:非常|很)?(?:抱歉|对不起)[，,]?\s*我(?:无法|不能)[^。！？]{0,20}(?:请求|要求|该问题|这个问题|该内容|相关内容)",
    re.IGNORECASE,
)


def is_refusal(said: str) -> bool:
    """Whether what was said is a phrase by which a model declines to answer, and nothing of the role that it plays."""
    if len(said) > _MOST_OF_REFUSAL or not any(word in said for word in _DECLINING):
        return False
    return _REFUSAL.match(said) is not None


_DECLINING = ("n't", "n’t", "not", "unable", "decline", "抱歉", "对不起")
_MOST_OF_REFUSAL = 600  # characters; with the help lines that often follow


def read_reply(text: str) -> Reading:
    """Separate what was said from what was thought.

    Reasoning goes, in whatever form it stands in the text, and so do special tokens around the reply. A thought that
    never ends means that nothing was said. Reading what was said once more changes nothing.

    :param text: a reply as the server gave it.
    """
    said, thoughts = _ESCAPED.sub(r"<\1>", text).strip() if "&lt;" in text else text.strip(), []
    for _ in range(_MOST_LAYERS):
        if not ("<" in said or "[" in said or "◁" in said or _BEGINS.match(said)):
            break
        before = said
        said, *more = _unwrapped(said)
        thoughts += [each for each in more if each]
        if any(more):
            said = _LABEL.sub("", said)
        if said == before:
            break
    return Reading(said, "\n\n".join(thoughts))


_MOST_LAYERS = 8  # of marks in marks; a reply has one or two
_BEGINS = re.compile(r"assistant|analysis|commentary|final|here|thinking|```|\*\*|#", re.IGNORECASE)


def _unwrapped(text: str) -> tuple[str, str, str]:
    """What was said, and the thoughts of two kinds, after one layer of marks is taken off."""
    rest, of_channels = _of_channels(text)
    rest, of_marks = _without_thoughts(rest)
    return _without_tokens(rest), of_channels.strip(), of_marks


def _of_channels(text: str) -> tuple[str, str]:
    """What stands in Harmony's final channel, and what in the others; all of it if there are no channels."""
    found = _BARE_CHANNELS.match(text) or _IN_WORDS.match(text)
    if found is not None:
        return text[found.end() :], found[found.lastindex or 0]
    said: list[str] = []
    thought = [found[found.lastindex or 0] for found in _BLOCK.finditer(text)]
    if thought:
        return _BLOCK.sub("", text), "\n\n".join(part.strip() for part in thought)
    starts = list(_CHANNEL.finditer(text))
    if not starts:
        return text, ""
    for start in starts:
        end = _CHANNEL_END.search(text, start.end())
        part = text[start.end() : end.start() if end else len(text)]
        (said if start[1].lower() == "final" else thought).append(part)
    return "".join(said), "\n\n".join(part.strip() for part in thought)


def _without_thoughts(text: str) -> tuple[str, str]:
    """What stands outside of thoughts, and inside."""
    said: list[str] = []
    thoughts: list[str] = []
    place, inside = 0, False
    for mark in _MARKS.finditer(text):
        part = text[place : mark.start()]
        place = mark.end()
        if inside:
            thoughts.append(part)
            inside = mark["close"] is None
        elif mark["open"] is not None:
            said.append(part)
            inside = True
        else:  # a closing mark alone: all before it was thought
            thoughts += [*said, part]
            said = []
    (thoughts if inside else said).append(text[place:])
    if inside:
        thoughts, said = [*said, *thoughts], []
    return "".join(said), "\n".join(part.strip() for part in thoughts if part.strip())


def _without_tokens(text: str) -> str:
    """What was said, without the turn's header before it, and what follows the end of the turn."""
    header = _HEADER.match(text)
    begin = header.end() if header is not None else 0
    end = _END.search(text, begin)
    said = text[begin : end.start() if end is not None else len(text)].strip()
    wrapped = _WRAPPED.fullmatch(said)
    return wrapped[2].strip() if wrapped is not None else said
