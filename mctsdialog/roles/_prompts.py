"""Prompts: templates in Jinja's syntax, in named blocks, evaluated over plain data. Texts are data in them.

A template has a block ``system`` (constant for a scenario), a block ``instruction`` (what changes with the turn) and,
for seeker and supporter, a block ``opening`` that stands in where the model's own side speaks first. What is constant
comes first and what grows comes last, so that servers with prefix caching read each prompt only once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Self

from mctsdialog._arguments import checked
from mctsdialog.dialogue import TEMPLATE_NAMES, Domain, Scenario, Strategy, Turn
from mctsdialog.errors import ConfigError, DomainError, shown
from mctsdialog.llm import Message
from mctsdialog.roles._template import Template, TemplateError, Value, plain
from mctsdialog.text import with_article

END_TOKEN = "</end/>"  # noqa: S105  # the seeker's end-of-dialogue token, no secret
"""What the seeker says to end a dialogue."""

PROMPT_VERSION = 2
"""Version of the messages that roles send. It is part of a request's key and of the roles' provenance.

In version 1, of mctsdialog 0.1, a line break in a turn's text could look like the beginning of another turn.
"""

_BLOCKS = {
    "seeker": ("system", "opening", "instruction"),
    "supporter": ("system", "opening", "instruction"),
    "strategist": ("system", "instruction"),
    "judge": ("system", "instruction"),
    "labeller": ("system", "instruction"),
}


@checked()
@cache
def packaged_template(role: str) -> str:
    """The text of the template that ships with the package for a role.

    :raises ConfigError: for an unknown role.
    """
    if role not in TEMPLATE_NAMES:
        raise ConfigError(f"role must be one of {', '.join(TEMPLATE_NAMES)}, not {shown(role)}", field="role")
    return resources.files("mctsdialog.roles").joinpath("templates", f"{role}.j2").read_text("utf-8")


@checked()
class Prompt:
    """The prompt of one role in one domain and scenario.

    :param role: "seeker", "supporter", "strategist", "judge" or "labeller".
    :param domain: its strategies, names and rubric, and its own template for the role where it has one.
    :param scenario: the scene and description shown.
    :param version: of the messages' form: :data:`PROMPT_VERSION`, or 1 to resume what version 0.1 began.
    :raises DomainError: for a template with a fault or without a block it needs.
    """

    def __init__(self, role: str, domain: Domain, scenario: Scenario, version: int = PROMPT_VERSION) -> None:
        self.version = version
        self._shown = str if version == 1 else one_block
        self._role = role
        self._domain = domain
        self.text = domain.templates.get(role) or _in_english(packaged_template(role), domain, version)
        self._template = _compiled(self.text, role, domain.name)
        self._of_domain = _of_domain(role, domain)
        self._show(scenario)

    def _show(self, scenario: Scenario) -> None:
        shown = plain(scenario.model_dump(include=set(Scenario.model_fields)))
        self._context: Mapping[str, Value] = {**self._of_domain, "scenario": shown}
        self._rendered: dict[tuple[str, str], str] = {}
        self.system = self.render("system")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it does not change

    def for_scenario(self, scenario: Scenario) -> Self:
        """This prompt in another scenario."""
        made = copy(self)
        made._show(scenario)
        return made

    @property
    def digest(self) -> str:
        """A short fingerprint of the template."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def render(self, block: str, **values: Value) -> str:
        """One block of the template.

        :param values: further values by name, such as the supporter's ``strategy``.
        :raises DomainError: if the template asks for a part that is not there, or costs too much to render.
        """
        try:
            return self._template.render(block, {**self._context, **values})
        except TemplateError as error:
            raise DomainError(
                f"block {block!r} cannot be rendered: {error}",
                item=f"domain {self._domain.name}",
                field=f"templates.{self._role}",
            ) from error

    def _once(self, block: str, strategy: Strategy | None = None) -> str:
        """A block, rendered once for each strategy: nothing else in it changes."""
        key = (block, "" if strategy is None else strategy.name)
        if key not in self._rendered:
            self._rendered[key] = self.render(
                block, **({} if strategy is None else {"strategy": plain(strategy.model_dump())})
            )
        return self._rendered[key]

    def chat(self, history: Sequence[Turn], speaker: str, strategy: Strategy | None = None) -> tuple[Message, ...]:
        """The history as chat messages in which the model is ``speaker``, the instruction at the end.

        :param strategy: what the supporter is to carry out.
        """
        messages = [Message("system", self.system)]
        if not history or history[0].speaker == speaker:
            messages.append(Message("user", self._once("opening", strategy)))
        for turn in history:
            if turn.speaker == speaker:
                messages.append(Message("assistant", turn.text))
            else:
                messages.append(Message("user", self._shown(turn.text)))
        instruction = self._once("instruction", strategy)
        if instruction:
            messages = _with_instruction(messages, instruction)
        return tuple(messages)

    def echoes(self, strategy: Strategy | None = None) -> tuple[str, ...]:
        """What of the prompt a model may repeat: instruction, stand-in for a first turn, and the strategy's note."""
        notes = (f"[{strategy.description}]", f"({strategy.description})") if strategy and strategy.description else ()
        return self._once("instruction", strategy), self._once("opening", strategy), *notes

    def transcript(self, history: Sequence[Turn]) -> tuple[Message, ...]:
        """The history as one transcript with strategies, the instruction at the end."""
        names = {"seeker": self._domain.seeker.name, "supporter": self._domain.supporter.name}
        lines = []
        for turn in history:
            strategy = f" ({turn.strategy})" if turn.strategy else ""
            lines.append(f"{names[turn.speaker].capitalize()}{strategy}: {self._shown(turn.text)}")
        conversation = "\n".join(["The conversation so far:", *lines, "", self._once("instruction")])
        return (Message("system", self.system), Message("user", conversation))


def one_block(text: str) -> str:
    """``text`` as one turn in a prompt: further lines are indented and blank ones left out.

    So no line of it can be taken for another turn or for an instruction. A text of one line stays as it is.
    """
    if text.isprintable() or (lines := text.splitlines()) == [text]:
        return text
    return "\n  ".join(line.strip() for line in lines if line.strip())


def _with_instruction(messages: list[Message], instruction: str) -> list[Message]:
    last = messages[-1]
    if last.role != "user":
        return [*messages, Message("user", instruction)]
    return [*messages[:-1], Message("user", f"{last.content}\n\n{instruction}")]


@lru_cache(maxsize=64)
def _compiled(text: str, role: str, domain: str) -> Template:
    try:
        template = Template(text, (*_NAMES, "strategy") if role == "supporter" else _NAMES)
    except TemplateError as error:
        raise DomainError(str(error), item=f"domain {domain}", field=f"templates.{role}") from error
    missing = [block for block in _BLOCKS[role] if block not in template.blocks]
    if missing:
        raise DomainError(
            f"needs the blocks {', '.join(_BLOCKS[role])}; missing: {', '.join(missing)}",
            item=f"domain {domain}",
            field=f"templates.{role}",
        )
    return template


def _in_english(template: str, domain: Domain, version: int) -> str:
    """A packaged template, with "an" before the name of a side that needs it; version 1 had "a" before every name."""
    if version > 1:
        for side in ("seeker", "supporter"):
            if with_article(getattr(domain, side).name).startswith("an "):
                template = template.replace(f" a {{{{ {side}.name }}}}", f" an {{{{ {side}.name }}}}")
    return template


_NAMES = (
    "example", "domain", "scenario", "seeker", "supporter", "strategies", "rubric", "best", "end_token",
)  # fmt: skip


def _of_domain(role: str, domain: Domain) -> dict[str, Value]:
    """What of a domain every block of a role's template can refer to, by name: plain data alone."""
    keys = domain.criteria if role == "judge" else domain.strategies.names
    shown = domain.model_dump(exclude={"templates"})
    shown.update(strategies=shown["strategies"]["strategies"], criteria=domain.criteria, max_score=domain.max_score)
    values = {
        "example": "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: <number>" for key in keys) + "}",
        "domain": shown,
        "best": domain.max_score,
        "end_token": END_TOKEN,
        **{name: shown[name] for name in ("seeker", "supporter", "strategies", "rubric")},
    }
    return {name: plain(value) for name, value in values.items()}
