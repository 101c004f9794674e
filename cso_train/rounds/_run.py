"""Stage after stage: search, extract, train, hold dialogues; each is kept in a journal, and the same call resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import anyio

from cso_train._models import load_for_answers
from cso_train._serving import TrainedStrategist, TrainedSupporter
from cso_train.errors import RunError, TrainDataError
from cso_train.evaluation._replies import TransformersReplies
from cso_train.rounds._config import RoundsConfig
from cso_train.rounds._held import hold_dialogues
from mctsdialog import OpenAIChat, ResponseCache, build_stack, get_domain, read_dialogues, search_corpus, write_dataset
from mctsdialog._arguments import checked
from mctsdialog.dialogue import Scenario
from mctsdialog.errors import JournalMismatchError
from mctsdialog.journal import Differences, Journal
from mctsdialog.llm import chat_model
from mctsdialog.preferences import read_trees
from mctsdialog.roles import Roles
from mctsdialog.worlds import World


@dataclass(frozen=True)
class Round:
    """One round; number 0 is the model that the first round started from.

    :param number: the round's number, from 1.
    :param model: the model after the round.
    :param worths: the judge's worth of each dialogue that the model held, from 0 to the best score.
    :param unnamed: share of the model's replies that named no strategy.
    :param trees: number of trees searched.
    :param pairs: number of pairs extracted.
    """

    number: int
    model: str
    worths: tuple[float, ...]
    unnamed: float
    trees: int = 0
    pairs: int = 0

    @property
    def worth(self) -> float:
        """Mean worth of the dialogues."""
        return sum(self.worths) / len(self.worths)


@dataclass(frozen=True)
class RoundsResult:
    """The result of all rounds.

    :param rounds: number 0 and the rounds that were run.
    :param fell: whether the last round was worth less than the one before, which stopped the run early.
    """

    rounds: tuple[Round, ...]
    fell: bool

    @property
    def best(self) -> Round:
        """The round whose dialogues are worth most; the earliest of equal ones."""
        return max(self.rounds, key=lambda each: each.worth)


@checked("roles")
def run_rounds(
    config: RoundsConfig, *, roles: Roles | None = None, say: Callable[[str], object] = print
) -> RoundsResult:
    """Search with the model, train it on the result, evaluate it in dialogues, and repeat until their worth falls.

    The dialogues of the file are divided among the rounds. The trained model plays supporter and strategist, so each
    search starts from what it has learned. Finished stages are recorded; an interrupted search or training resumes
    where it stopped.

    :param roles: your own seeker and judge, instead of ``config.partners``.
    :param say: called with lines of progress.
    :raises TrainDataError: if there are too few dialogues, or a round found nothing to train on.
    :raises RunError: if the folder holds rounds with other settings.
    :raises CsoTrainError: and MctsDialogError, as search and training do.
    """
    work = _Rounds(config, roles, say)
    with work.journal() as journal:
        rounds = [work.start(journal)]
        for number in range(1, config.rounds + 1):
            rounds.append(work.round(journal, number, rounds[-1]))
            if rounds[-1].worth < rounds[-2].worth:
                say(f"round {number}: worth fell; no further round")
                break
    return RoundsResult(tuple(rounds), rounds[-1].number > 0 and rounds[-1].worth < rounds[-2].worth)


class _Rounds:
    def __init__(self, config: RoundsConfig, roles: Roles | None, say: Callable[[str], object]) -> None:
        self.config, self.say, self.folder = config, say, Path(config.output_dir)
        self.domain = get_domain(config.domain)
        dialogues = list(read_dialogues(config.dialogues, domain=self.domain))
        if len(dialogues) < config.held + config.rounds:
            needed = f"{config.held} to hold out and one or more for each of {config.rounds} rounds"
            raise TrainDataError(f"{len(dialogues)} dialogues; {needed} are needed", file=config.dialogues)
        self.searched, held = dialogues[: -config.held], dialogues[-config.held :]
        self.scenarios = [Scenario(**{name: getattr(each, name) for name in Scenario.model_fields}) for each in held]
        self._roles = roles

    @cached_property
    def partners(self) -> Roles:
        """Who plays seeker and judge."""
        config = self.config
        if self._roles is not None:
            return self._roles
        if config.world is not None:
            return World(config.world).roles()
        name = config.partners
        chat = chat_model(name) if config.server is None else OpenAIChat(name, base_url=config.server)
        return Roles.from_model(build_stack(chat, cache=ResponseCache(self.folder / "cache")), domain=self.domain)

    def journal(self) -> Journal:
        header = {"rounds": self.config.model_dump(mode="json", exclude={"output_dir", "concurrency"})}
        try:
            return Journal(self.folder / "rounds.jsonl", header, compare=_differences, what="run")
        except JournalMismatchError as error:
            message = "holds rounds of other settings; choose another output_dir, or remove it"
            raise RunError(message, folder=self.folder) from error

    # -- stages --------------------------------------------------------------------------------------------------

    def start(self, journal: Journal) -> Round:
        """The model as it is given."""
        found = self._kept(journal, 0, "held", lambda: self._held(self.config.model))
        return self._told(Round(0, self.config.model, tuple(found["worths"]), found["unnamed"]))

    def round(self, journal: Journal, number: int, before: Round) -> Round:
        """All stages of a round."""
        folder = self.folder / f"round-{number}"
        searched = self._kept(journal, number, "search", lambda: self._search(folder, number, before.model))
        data = self._kept(journal, number, "data", lambda: self._extract(folder))
        trained = self._kept(journal, number, "train", lambda: self._train(folder, before.model))
        model = str(self.folder / trained["model"])
        found = self._kept(journal, number, "held", lambda: self._held(model))
        worths = tuple(found["worths"])
        return self._told(Round(number, model, worths, found["unnamed"], searched["trees"], data["pairs"]))

    def _kept(
        self, journal: Journal, number: int, stage: str, make: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """What a stage left, as it is written down; made where it is not."""
        for record in journal.records:
            if (record.get("round"), record.get("stage")) == (number, stage):
                return record
        self.say(f"round {number}: {stage}" if number else f"the model to begin with: {stage}")
        found = {"round": number, "stage": stage, **make()}
        journal.append(found)
        return found

    def _search(self, folder: Path, number: int, model: str) -> Mapping[str, Any]:
        config = self.config
        size = len(self.searched) // config.rounds
        part = self.searched[(number - 1) * size : number * size]
        loaded = load_for_answers(model)
        search = config.search_config()
        players: dict[str, Any] = {
            "supporter": TrainedSupporter(*loaded, self.domain, max_tokens=config.max_tokens),
            "strategist": TrainedStrategist(*loaded, self.domain, temperature=search.prior_temperature),
        }
        name = config.model if number == 1 else f"round {number - 1}"
        provenance = {**self.partners.provenance, **{role: {"trained model": name} for role in players}}
        roles = replace(self.partners, **players, provenance=provenance)
        out = folder / "search"
        report = anyio.run(partial(search_corpus, part, roles, search, out=out, concurrency=config.concurrency))
        if report.failures:
            first = f"the first, {report.failures[0].id}: {report.failures[0].error}"
            self.say(f"warning: {len(report.failures)} of {len(part)} dialogues could not be searched; {first}")
            if len(report.failures) == len(part):
                raise RunError(f"no dialogue could be searched; {first}", folder=out)
        if report.stop_reason is not None:
            raise RunError(f"the search stopped early ({report.stop_reason}); the same command resumes", folder=out)
        return {"trees": report.done + report.skipped}

    def _extract(self, folder: Path) -> Mapping[str, Any]:
        data = read_trees([folder / "search" / "trees"], self.config.preference_config())
        write_dataset({"train": data}, folder / "data")
        self.say(str(data.report))
        return {"pairs": sum(1 for _ in data.pairs())}

    def _train(self, folder: Path, model: str) -> Mapping[str, Any]:
        from cso_train._run.training import train  # noqa: PLC0415  # heavy

        settings = self.config.training(model, str(folder / "data"), str(folder / "run"))
        if not train(settings, say=self.say).finished:
            raise KeyboardInterrupt
        return {"model": (folder / "run" / "model").relative_to(self.folder).as_posix()}

    def _held(self, model: str) -> Mapping[str, Any]:
        config = self.config
        replies = TransformersReplies(*load_for_answers(model), max_tokens=config.max_tokens)
        limits: dict[str, Any] = {"max_turns": config.held_turns, "concurrency": config.concurrency}
        held = anyio.run(partial(hold_dialogues, replies, self.partners, self.scenarios, self.domain, **limits))
        turns = sum(len(each.rewards) for each in held)
        return {"worths": [each.worth for each in held], "unnamed": sum(each.unnamed for each in held) / turns}

    def _told(self, found: Round) -> Round:
        what = f"round {found.number}" if found.number else "the model to begin with"
        self.say(f"{what}: dialogues worth {found.worth:.2f}, {found.unnamed:.1%} of replies without a strategy")
        return found


def _differences(have: Mapping[str, Any], expected: Mapping[str, Any]) -> Differences:
    one, other = have.get("rounds"), json.loads(json.dumps(expected.get("rounds")))
    return {} if one == other else {"rounds": (one, other)}
