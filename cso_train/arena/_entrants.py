"""Who enters the arena: models, searches with a budget, scripts, and the policies of simulated worlds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from mctsdialog import Plan, Roles, SearchConfig, plan
from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain, Scenario, Turn
from mctsdialog.errors import ConfigError
from mctsdialog.llm import ChatModel, ChatRequest, Completion, Message, ModelLayer, Sampling
from mctsdialog.llm.base import identity_of
from mctsdialog.preferences import chat_messages, parse_reply, system_prompt
from mctsdialog.roles import ask, read_utterance, supporter_labels
from mctsdialog.seekers import RoleCard
from mctsdialog.text import with_article
from mctsdialog.worlds import SeekerState, World, strategies_of, true_scores

Prompting: TypeAlias = Literal["strategies", "plain"]
Policy: TypeAlias = Literal["best", "pleasing", "strategist", "random", "worst"]

_REPEATS_APART = 100_000
"""Distance of the sample indices of two repeats, beyond those of draws that are asked for again."""


class Speaker(Protocol):
    """A system in one conversation."""

    async def answer(self, history: Sequence[Turn], /) -> Turn:
        """The supporter's next turn.

        :raises ReplyError: if no reply that can be used came.
        """
        ...


@runtime_checkable
class Entrant(Protocol):
    """A system.

    :ivar name: in reports.
    :ivar identity: what decides its replies; conversations of another identity are had again.
    """

    @property
    def name(self) -> str:
        """In reports."""
        ...

    @property
    def identity(self) -> str:
        """What decides its replies."""
        ...

    def open(self, card: RoleCard, repeat: int, /) -> Speaker:
        """The system in a conversation with the seeker of a card.

        :param repeat: which conversation with it, from 0; other ones draw other replies.
        """
        ...


class RepeatModel(ModelLayer):
    """Draws other replies for other repeats of a conversation.

    :param repeat: from 0.
    """

    def __init__(self, inner: ChatModel, repeat: int) -> None:
        super().__init__(inner)
        self._offset = repeat * _REPEATS_APART

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request."""
        return await self.inner.complete(replace(request, sample=request.sample + self._offset))

    async def aclose(self) -> None:
        """Leave the model open: it is shared."""


# -- models -----------------------------------------------------------------------------------------------------------


@checked()
@dataclass(frozen=True)
class ModelEntrant:
    """A model that answers by itself: at a server, or trained and loaded here.

    :param name: in reports.
    :param model: any chat model.
    :param domain: strategies and names of the sides.
    :param prompt: "strategies", the prompt of preference data, by which models are trained to name a strategy first; or
        "plain", without strategies.
    :param max_tokens: longest reply in tokens; a longer one is kept up to its last whole sentence.
    :param temperature: of its replies.
    """

    name: str
    model: ChatModel
    domain: Domain
    prompt: Prompting = "strategies"
    max_tokens: int = 192
    temperature: float = 0.7

    @property
    def identity(self) -> str:
        """Its model, prompt and sampling."""
        settings = [self.prompt, self.max_tokens, self.temperature]
        return json.dumps(["model", identity_of(self.model), self._system, *settings])

    @property
    def _system(self) -> str:
        if self.prompt == "strategies":
            return system_prompt(self.domain)
        supporter, seeker = self.domain.supporter, self.domain.seeker
        sides = f"{with_article(supporter.name)} talking with {with_article(seeker.name)}"
        about = f"You are {sides}. {supporter.description}".strip()
        return f"{about}\n\nAnswer with one to three sentences, as one says them aloud."

    def open(self, card: RoleCard, repeat: int, /) -> Speaker:
        """The model in one conversation. It sees what is said, and nothing of the card."""
        return _ModelSpeaker(self, RepeatModel(self.model, repeat))


@dataclass(frozen=True)
class _ModelSpeaker:
    entrant: ModelEntrant
    model: ChatModel

    async def answer(self, history: Sequence[Turn], /) -> Turn:
        entrant = self.entrant
        said = [Turn(turn.speaker, turn.text) for turn in history] if entrant.prompt == "plain" else history
        messages = [Message("system", entrant._system), *(_message(each) for each in chat_messages(said))]
        sampling = Sampling(temperature=entrant.temperature, max_tokens=entrant.max_tokens)
        request = ChatRequest(tuple(messages), sampling, role="supporter")
        return await ask(self.model, request, self._read, role="supporter", attempts=3, correct=_correction)

    def _read(self, completion: Completion) -> Turn:
        strategy, words = parse_reply(completion.text, self.entrant.domain.strategies)
        cut = completion.finish_reason == "length"
        said = read_utterance(words, supporter_labels(self.entrant.domain), cut=cut)
        if not said.text.strip():
            raise ValueError("nothing was said")
        return Turn("supporter", said.text, strategy)


def _message(said: Mapping[str, str]) -> Message:
    return Message("assistant" if said["role"] == "assistant" else "user", said["content"])


def _correction(reply: str, problem: str) -> tuple[Message, Message]:
    return Message("assistant", reply[:2000] or "..."), Message(
        "user", f"That cannot be used: {problem}. Answer again."
    )


# -- searches ---------------------------------------------------------------------------------------------------------


@checked("roles")
@dataclass(frozen=True)
class PlanEntrant:
    """A search that plans each turn within a number of calls to its roles.

    Its own seeker is a guess: it knows nothing of the card.

    :param name: in reports.
    :param roles: the roles it searches with, or a function that makes them for a scenario, how many rounds have passed
        and which repeat it is.
    :param domain: of the roles.
    :param calls: most calls to roles a turn; 0 takes the strategist's favourite without a search.
    :param algorithm: of the search.
    :param settings: other settings of :class:`~mctsdialog.SearchConfig`.
    :param known_as: what decides the replies, where the roles do not say it.
    :param reuse: whether a plan reuses what the plan before it foresaw.
    """

    name: str
    roles: Roles | Callable[[Scenario, int, int], Roles]
    domain: Domain
    calls: int = 32
    algorithm: str = "calibrated"
    settings: Mapping[str, Any] | None = None
    known_as: str = ""
    reuse: bool = True

    def __post_init__(self) -> None:
        if self.calls < 0:
            raise ConfigError(f"calls must be 0 or more, not {self.calls}", field="calls")

    @property
    def config(self) -> SearchConfig:
        """The settings of its searches."""
        return SearchConfig(algorithm=self.algorithm, **(self.settings or {}))

    @property
    def identity(self) -> str:
        """Its roles and settings."""
        roles = self.known_as or (dict(self.roles.provenance) if isinstance(self.roles, Roles) else "")
        return json.dumps(["plan", roles, self.domain.name, self.calls, self.config.recorded()], sort_keys=True)

    def open(self, card: RoleCard, repeat: int, /) -> Speaker:
        """The search in one conversation."""
        return _PlanSpeaker(self, card.scenario, repeat)


class _PlanSpeaker:
    def __init__(self, entrant: PlanEntrant, scenario: Scenario, repeat: int) -> None:
        self._entrant, self._scenario, self._repeat = entrant, scenario, repeat
        self._previous: Plan | None = None

    async def answer(self, history: Sequence[Turn], /) -> Turn:
        entrant = self._entrant
        given = entrant.roles
        passed = sum(turn.speaker == "supporter" for turn in history)
        roles = given if isinstance(given, Roles) else given(self._scenario, passed, self._repeat)
        if not entrant.calls:
            bound = roles.bind(self._scenario)
            scores = await bound.strategist.score(history)
            strategy = max(
                entrant.domain.strategies.names, key=lambda name: scores.get(name, 0.0)
            )  # the first of equals
            heard = [Turn(turn.speaker, turn.text) for turn in history]
            return Turn("supporter", await bound.supporter.reply(heard, strategy), strategy)
        found = await plan(
            history,
            roles,
            entrant.config,
            scenario=self._scenario,
            domain=entrant.domain,
            max_calls=entrant.calls,
            previous=self._previous if entrant.reuse else None,
        )
        self._previous = found
        return Turn("supporter", found.reply, found.strategy)


# -- scripts ----------------------------------------------------------------------------------------------------------


@checked()
@dataclass(frozen=True)
class ScriptEntrant:
    """A baseline that says given lines in turn, whatever it hears.

    :param name: in reports.
    :param lines: what it says, one or more; after the last one the first again.
    :param strategy: that its turns are labelled with.
    """

    name: str
    lines: tuple[str, ...]
    strategy: str | None = None

    def __post_init__(self) -> None:
        if not self.lines or not all(line.strip() for line in self.lines):
            raise ConfigError("a script needs lines that are not blank", field="lines")

    @property
    def identity(self) -> str:
        """Its lines."""
        return json.dumps(["script", self.lines, self.strategy])

    def open(self, card: RoleCard, repeat: int, /) -> Speaker:
        """The script in one conversation."""
        return self

    async def answer(self, history: Sequence[Turn], /) -> Turn:
        """The next line."""
        place = sum(turn.speaker == "supporter" for turn in history)
        return Turn("supporter", self.lines[place % len(self.lines)], self.strategy)


# -- simulated worlds -------------------------------------------------------------------------------------------------


@checked()
@dataclass(frozen=True)
class PolicyEntrant:
    """A policy of a simulated world, which sees the seeker's true state.

    :param name: in reports.
    :param world: where it acts.
    :param policy: "best" (highest expected worth), "pleasing" (what is received best at once), "strategist" (what the
        world's biased strategist rates highest), "random", "worst" (received worst at once), or a strategy's name.
    :param slip: chance of a random strategy instead, 0 to 1.
    :raises ConfigError: for another policy, or a chance out of range.
    """

    name: str
    world: World
    policy: str = "best"
    slip: float = 0.0

    def __post_init__(self) -> None:
        if self.policy not in (*get_args(Policy), *self.world.domain.strategies.names):
            known = ", ".join(get_args(Policy))
            raise ConfigError(f"policy must be one of {known}, or a strategy's name", field="policy")
        if not 0 <= self.slip <= 1:
            raise ConfigError("a chance lies between 0 and 1", field="slip")

    @property
    def identity(self) -> str:
        """World, policy and chance."""
        return json.dumps(["policy", self.world.roles().provenance["world"], self.policy, self.slip])

    def open(self, card: RoleCard, repeat: int, /) -> Speaker:
        """The policy in one conversation."""
        seed = json.dumps([self.identity, card.id, repeat])
        return _PolicySpeaker(self, card.scenario, random.Random(seed))  # noqa: S311  # no secret


class _PolicySpeaker:
    def __init__(self, entrant: PolicyEntrant, scenario: Scenario, draws: random.Random) -> None:
        self._entrant, self._scenario, self._draws = entrant, scenario, draws
        self._roles = entrant.world.roles().bind(scenario)

    async def answer(self, history: Sequence[Turn], /) -> Turn:
        world, before = self._entrant.world, strategies_of(history)
        state = world.states(self._scenario, before)[-1]
        slips, names = self._draws.random() < self._entrant.slip, world.domain.strategies.names
        at_random = self._draws.choice(names)
        strategy = at_random if slips else await self._chosen(state, len(before), history, at_random)
        return Turn("supporter", await self._roles.supporter.reply(history, strategy), strategy)

    async def _chosen(self, state: SeekerState, number: int, history: Sequence[Turn], at_random: str) -> str:
        policy, world = self._entrant.policy, self._entrant.world
        names = world.domain.strategies.names
        if policy == "best":
            return world.best_strategy(state, number)
        if policy == "random":
            return at_random
        if policy == "strategist":
            scores = await self._roles.strategist.score(history)
            return max(names, key=lambda name: scores[name])
        if policy in ("pleasing", "worst"):
            pick = max if policy == "pleasing" else min
            return pick(names, key=lambda name: true_scores(state, name)[3])
        return policy
