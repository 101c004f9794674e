"""The four roles of a search, together."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, runtime_checkable

from mctsdialog._arguments import checked
from mctsdialog.dialogue import ESC, Domain, Scenario, get_domain
from mctsdialog.errors import ConfigError, shown
from mctsdialog.llm import AdaptiveLimits, ChatModel, OpenAIChat, ReasoningEffort, Sampling, build_stack, chat_model
from mctsdialog.roles._judge import JudgeScoring, LLMJudge
from mctsdialog.roles._llm import LLMRole, LLMSeeker, LLMStrategist, LLMSupporter
from mctsdialog.roles._protocols import Judge, Seeker, Strategist, Supporter
from mctsdialog.text import visible

ROLE_NAMES = ("seeker", "supporter", "strategist", "judge")

_MOST_CALLS = 128  # at once, by default; found from 8 up by what the server takes

_KINDS: tuple[type[LLMRole], ...] = (LLMSeeker, LLMSupporter, LLMStrategist, LLMJudge)


@checked()
def role_sampling(
    *,
    max_tokens: int | None = None,
    reasoning_effort: ReasoningEffort | None = None,
    judge_samples: int = 1,
) -> dict[str, Sampling]:
    """The sampling of every LLM role, with another limit or amount of reasoning; for :meth:`Roles.from_model`.

    :param max_tokens: most tokens in a reply, reasoning included; None keeps each role's own limit.
    :param reasoning_effort: how much a reasoning model thinks before it answers; None leaves it to the server.
    :param judge_samples: as :meth:`Roles.from_model` has it; above 1 the judge's temperature is 1.
    :raises ConfigError: for a value out of range.
    """
    given = {"max_tokens": max_tokens, "reasoning_effort": reasoning_effort}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    defaults = {kind.role: kind.default_sampling for kind in _KINDS} | {"judge": LLMJudge.sampling_for(judge_samples)}
    return {role: replace(sampling, **changed) for role, sampling in defaults.items()}


@runtime_checkable
class _Bindable(Protocol):
    def for_scenario(self, scenario: Scenario) -> Any: ...


@runtime_checkable
class _Prompted(Protocol):
    prompts: int
    provenance: dict[str, Any]

    def for_prompts(self, version: int) -> Any: ...


@checked(*ROLE_NAMES)
@dataclass(frozen=True)
class Roles:
    """The four roles of a search: any objects with the right async methods.

    :param seeker: has ``reply(history) -> str | None``.
    :param supporter: has ``reply(history, strategy) -> str``.
    :param strategist: has ``score(history) -> Mapping[str, float]``.
    :param judge: has ``judge(history) -> JudgeScores`` or a mapping by criterion.
    :param domain: the domain that the roles are for; None leaves it to the search.
    :param provenance: what determines the replies, as JSON values by role, for journals and exports. Roles without an
        entry are identified by their class names.
    :raises ConfigError: if an object lacks the method that its role needs.
    """

    seeker: Seeker
    supporter: Supporter
    strategist: Strategist
    judge: Judge
    domain: Domain | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for role in ROLE_NAMES:
            _check_role(role, getattr(self, role))
        found = {name: _known(self.provenance.get(name), getattr(self, name)) for name in ROLE_NAMES}
        known = {name: each for name, each in found.items() if each is not None}
        object.__setattr__(self, "provenance", {**self.provenance, **known})

    @classmethod
    @checked("model", "models", "judge")
    def from_model(
        cls,
        model: ChatModel | str,
        *,
        domain: Domain | str = ESC,
        scenario: Scenario | None = None,
        models: Mapping[str, ChatModel | str] | None = None,
        sampling: Mapping[str, Sampling] | None = None,
        attempts: int = 3,
        judge_samples: int = 1,
        judge: JudgeScoring = "digits",
    ) -> Self:
        """Create LLM roles on one model, or on several.

        If you pass a model's name or an :class:`~mctsdialog.OpenAIChat`, retries and adaptive limits are added. A stack
        from :func:`~mctsdialog.build_stack` and any other model are used as they are.

        :param model: plays every role that ``models`` does not list: a model, or a name that
            :func:`~mctsdialog.llm.chat_model` accepts ("gpt-4o-mini", "groq/llama-3.3-70b-versatile").
        :param domain: strategies, rubric, names and prompt templates; or the name of a built-in domain.
        :param scenario: what the conversation is about. A search sets its own scenario.
        :param models: different models for some roles, by role name.
        :param sampling: sampling settings for some roles, by role name; see :func:`~mctsdialog.roles.role_sampling`.
        :param attempts: most replies requested before :class:`~mctsdialog.ReplyError` is raised.
        :param judge_samples: judgements per turn, which are averaged. Above 1, the judge's default temperature is 1.
        :param judge: "digits" reads the scores that the judge writes; "expected" averages over the log-probabilities of
            the digits, for servers that return them.
        :raises ConfigError: for an unknown role name, a value out of range, an object that is not a model, or a
            provider whose key is not set.
        """
        domain = get_domain(domain) if isinstance(domain, str) else domain
        if not isinstance(judge, str):
            hint = "your own judge: dataclasses.replace(roles, judge=...); another model: models={'judge': ...}"
            raise ConfigError(f"judge is how it scores, 'digits' or 'expected'; {hint}", field="judge")
        if not isinstance(models, Mapping | None):
            raise ConfigError(f"models must be models by role, not {shown(models)}", field="models")
        sampling = dict(sampling or {})
        for name in (*(models or {}), *sampling):
            if name not in ROLE_NAMES:
                raise ConfigError(f"there is no role {name!r}; there are {', '.join(ROLE_NAMES)}", field=name)
        ready = _ready_models({name: (models or {}).get(name, model) for name in ROLE_NAMES})
        own: dict[str, Any] = {"samples": judge_samples, "scoring": judge}
        made: dict[str, Any] = {
            kind.role: kind(
                ready[kind.role],
                domain,
                scenario,
                sampling=sampling.get(kind.role),
                attempts=attempts,
                **(own if kind is LLMJudge else {}),
            )
            for kind in _KINDS
        }
        provenance = {name: role.provenance for name, role in made.items()}
        return cls(**made, domain=domain, provenance=provenance)

    @checked()
    def bind(self, scenario: Scenario) -> Self:
        """Return the roles for a scenario, using ``for_scenario`` of the roles that have it."""
        bound = {
            name: role.for_scenario(scenario)
            for name in ROLE_NAMES
            if isinstance(role := getattr(self, name), _Bindable)
        }
        return replace(self, **bound) if bound else self

    @checked()
    def with_prompts(self, version: int) -> Self:
        """Return the roles with another version of the prompts, using ``for_prompts`` of the roles that have it.

        :param version: 1 for the prompts of version 0.1, so that its searches resume with their own prompts.
        """
        changed: dict[str, Any] = {}
        provenance = dict(self.provenance)
        for name in ROLE_NAMES:
            role = getattr(self, name)
            if isinstance(role, _Prompted) and role.prompts != version:
                changed[name] = role.for_prompts(version)
                if provenance.get(name) == role.provenance:
                    provenance[name] = changed[name].provenance
        return replace(self, **changed, provenance=provenance) if changed else self

    def __repr__(self) -> str:
        parts = [f"{name}={_short(getattr(self, name))}" for name in ROLE_NAMES]
        if self.domain is not None:
            parts.append(f"domain={self.domain.name!r}")
        return f"Roles({', '.join(parts)})"

    @property
    def removed(self) -> dict[str, Counter[str]]:
        """Counts of what was removed from utterances, except labels, by role and kind."""
        counts = {name: getattr(getattr(self, name), "removed", None) for name in ROLE_NAMES}
        return {name: kinds for name, kinds in counts.items() if isinstance(kinds, Counter) and kinds}


def _ready_models(models: Mapping[str, ChatModel | str]) -> dict[str, ChatModel]:
    """The models by role, names looked up, clients of servers with retries and limits; equal ones share these."""
    made: dict[object, ChatModel] = {}
    ready = {}
    for role, model in models.items():
        key = model if isinstance(model, str) else id(model)
        if key not in made:
            made[key] = _ready(model, "model" if len(set(map(id, models.values()))) == 1 else role)
        ready[role] = made[key]
    return ready


def _ready(model: ChatModel | str, field: str) -> ChatModel:
    if isinstance(model, str):
        model = chat_model(model)
    if isinstance(model, type) or not callable(getattr(model, "complete", None)):
        wanted = "the name of a model or an object with an async method complete(), such as OpenAIChat"
        raise ConfigError(f"{field} must be {wanted}, not {shown(model)}", field=field)
    return build_stack(model, limits=AdaptiveLimits(_MOST_CALLS)) if isinstance(model, OpenAIChat) else model


_CALLS = {
    "seeker": ("reply", ("history",)),
    "supporter": ("reply", ("history", "strategy")),
    "strategist": ("score", ("history",)),
    "judge": ("judge", ("history",)),
}
"""The method of each role, and its arguments."""


def _check_role(name: str, role: object) -> None:
    method, arguments = _CALLS[name]
    call = f"{method}({', '.join(arguments)})"
    if isinstance(role, type):
        raise ConfigError(f"the {name} must be an object, not a class; make one: {role.__name__}(...)", field=name)
    asked = getattr(role, method, None)
    if not callable(asked):
        models = f"from_model(model, models={{{name!r}: other}})"
        hint = f"; a model plays it by Roles.from_model(model), or {models}" if hasattr(role, "complete") else ""
        raise ConfigError(f"the {name} needs an async method {call}; {shown(role)} has none{hint}", field=name)
    try:
        inspect.signature(asked).bind(*arguments)
    except TypeError:
        raise ConfigError(f"the {name} is asked by {call}; {shown(role)} has another {method}()", field=name) from None
    except ValueError:
        pass  # what is not written in Python may have no signature


def _known(said: Any, role: object) -> Any:
    """What decides the replies of a role; what was found out of the role that it replaced does not count."""
    found_out = isinstance(said, Mapping) and ("template" in said or said.keys() == {"class"})
    if said is not None and not found_out:
        return said
    told = getattr(role, "provenance", None)
    of_llm = dict(told) if isinstance(told, Mapping) else {}
    own = {} if type(role).__module__.startswith("mctsdialog.") else {"class": type(role).__qualname__}
    return of_llm | own or None


def _short(role: object) -> str:
    """The kind of a role, and its model where it has one; its own repr might hold anything."""
    name = getattr(getattr(role, "model", None), "name", None)
    return f"{type(role).__name__}({visible(name)!r})" if isinstance(name, str) else type(role).__name__
