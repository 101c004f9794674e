"""The chat template of a run: the model's own, with all that a run needs of it written in.

What a template shows may depend on the day and on settings such as ``enable_thinking``; it may have no system role, or
want the user to speak first. All that is written into the template once, so that training, evaluation and a server that
takes the saved tokenizer see the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cso_train.errors import TrainDataError

THINKING = "enable_thinking"
"""The setting by which most templates turn reasoning on and off."""

UNCLOSED = re.compile(r"<think>\s*\Z")
"""The end of a generation prompt that has the model think."""

THOUGHT = re.compile(r"<think>\s*(</think>\s*)?\Z")
"""The same, or a thought that is closed at once."""

CLOSING = "\n</think>\n\n"
"""What closes a thought that a generation prompt opens."""

OPENING = "(The conversation begins.)"
"""What the user says where the supporter speaks first and the template wants the user to."""

_MARK = "{# cso_train #}"

# 26 July 2024: the day that Llama 3's own template names where there is no clock
_DATE = {
    "%-d": "26",
    "%d": "26",
    "%e": "26",
    "%m": "07",
    "%b": "Jul",
    "%B": "July",
    "%Y": "2024",
    "%y": "24",
    "%a": "Fri",
    "%A": "Friday",
    "%j": "208",
    "%H": "00",
    "%I": "12",
    "%M": "00",
    "%S": "00",
    "%p": "AM",
}

_OWN = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "strftime_now")


def with_settings(template: str, settings: Mapping[str, Any] | None = None) -> str:
    """A template with the date fixed, thinking off unless a setting says otherwise, and the settings written in.

    :param settings: ``chat_template_kwargs``: names that the template uses, and their values.
    :raises TrainDataError: for a setting that the template does not use.
    """
    chosen = dict(settings or {})
    for name in chosen:
        if name in _OWN or not name.isidentifier():
            raise TrainDataError("is no setting of a chat template", field=f"chat_template_kwargs.{name}")
        if name not in template and name != THINKING:
            message = "the model's chat template does not use it; see the template for the names that it uses"
            raise TrainDataError(message, field=f"chat_template_kwargs.{name}")
    head = "".join(_default(name, value) for name, value in chosen.items())
    if _MARK in template:  # written by an earlier run: what is set there already stays
        return _before(head, template)
    if THINKING in template and THINKING not in chosen:
        head += _default(THINKING, False)
    if "strftime_now" in template:
        head += _fixed_date()
    return _before(_MARK + head, template) if head else template


def merging_system(template: str) -> str:
    """A template without a system role that gets the system prompt at the head of the first user message."""
    rest = "messages[2:] if messages[1:] and messages[1].role == 'user' else messages[1:]"
    both = (
        "messages[0].content ~ ('\\n\\n' ~ messages[1].content if messages[1:] and messages[1].role == 'user' else '')"
    )
    merged = f"[{{'role': 'user', 'content': {both}}}] + ({rest})"
    return _before(
        f"{{%- if messages and messages[0].role == 'system' %}}{{%- set messages = {merged} %}}{{%- endif %}}", template
    )


def opening_user(template: str) -> str:
    """A template that wants the user to speak first, and has the user do so where the supporter does."""
    user = f"[{{'role': 'user', 'content': {json.dumps(OPENING)}}}]"
    begin = "{%- set cso_begin = 1 if messages and messages[0].role == 'system' else 0 %}"
    wanted = "not messages[cso_begin:] or messages[cso_begin].role == 'assistant'"
    inserted = f"messages[:cso_begin] + {user} + messages[cso_begin:]"
    return _before(f"{begin}{{%- if {wanted} %}}{{%- set messages = {inserted} %}}{{%- endif %}}", template)


def closing_thought(template: str) -> str:
    """A template whose generation prompt also closes the thought that it opens, unless thinking is on."""
    wanted = f"add_generation_prompt and not ({THINKING} is defined and {THINKING})"
    return f"{template}{{%- if {wanted} %}}{{{{- {json.dumps(CLOSING)} }}}}{{%- endif %}}"


def _before(head: str, template: str) -> str:
    """A template with tags before it. A line break behind a tag is none; what follows still begins a line."""
    return f"{head}\n{template}" if head else template


def _default(name: str, value: Any) -> str:
    """Set a name where the caller does not."""
    literal = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return f"{{%- if {name} is not defined %}}{{%- set {name} = {literal} %}}{{%- endif %}}"


def _fixed_date() -> str:
    """A macro in place of the function that gives today's date."""
    replaced = "".join(f'|replace("{code}", "{text}")' for code, text in _DATE.items())
    return f"{{%- macro strftime_now(format) -%}}{{{{- format{replaced} -}}}}{{%- endmacro -%}}"
