"""Scheduler under way in one tree: as many as the config allows, without a barrier (design, "Parallel search")."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from mctsdialog.algorithms._base import Algorithm
from mctsdialog.algorithms._trial import Growth, Outcome, Trial
from mctsdialog.concurrency import rare_collections
from mctsdialog.errors import BudgetExceededError, TrialError, first_error


class PlanningLimits(NamedTuple):
    """Limits that an algorithm plans by."""

    max_iterations: int
    max_calls: int | None

    def apply(self, algorithm: Algorithm) -> None:
        """Have the algorithm plan by them from now on."""
        algorithm.config = algorithm.config.model_copy(update={"max_iterations": self.max_iterations})
        algorithm.max_calls = self.max_calls


class Scheduler:
    """Asks for trials, has them run and tells their outcomes until the search stops.

    A trial is told as soon as it stands first in line, and the next is asked at once. Trials join the line when they
    finish; in deterministic search when they are asked, so that the tree depends on the replies alone. In free search
    a trial also gives its leaf children as soon as it can, for the others to go on below it.

    :param algorithm: the tree's; its config says how many trials are under way at once.
    :param run_trial: gives the outcome of a trial; it may tell how the leaf grows before that.
    :param on_outcome: called with each trial that was played, in the order they finish.
    :param on_growth: called with each trial that gives its leaf children before it finishes.
    :param on_commit: called with each trial that the tree has taken in.
    :param may_begin: asked before a trial is begun that is not known; where it says no, none is begun until the next
        one ends.
    :param known: outcomes of trials that were played before, and the leaf each was played on, by number; for
        deterministic search. A trial that a limit on iterations held back then is held back again.
    :param limits: by number of a trial, the limits that hold from it on; for algorithms that plan by them.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        run_trial: Callable[[Trial, Callable[[Growth], None]], Awaitable[Outcome]],
        *,
        on_outcome: Callable[[Trial, Outcome], object],
        on_growth: Callable[[Trial, Growth], object] = lambda trial, growth: None,
        on_commit: Callable[[Trial], object],
        may_begin: Callable[[], bool] = lambda: True,
        known: Mapping[int, tuple[int, Outcome]] | None = None,
        limits: Mapping[int, PlanningLimits] | None = None,
    ) -> None:
        self._algorithm = algorithm
        self._run_trial = run_trial
        self._on_outcome = on_outcome
        self._on_growth = on_growth
        self._on_commit = on_commit
        self._may_begin = may_begin
        self._known = dict(known or {})
        self._limits = limits or {}
        self._line: deque[Trial] = deque()
        self._begun: deque[Trial] = deque()  # asked, and about to be played
        self._asked = 0
        self._outcomes: dict[int, Outcome] = {}
        self._failures: list[Exception] = []
        self._group: TaskGroup

    async def run(self) -> None:
        """Play until the algorithm gives no more trials.

        After the first failure no trial is begun, but those under way are played to their end, for they are paid for.

        :raises: what a trial failed with; a spent budget only where nothing else went wrong.
        """
        try:
            with rare_collections():
                async with anyio.create_task_group() as self._group:
                    self._advance()
                    self._start()
        except BaseExceptionGroup as group:  # callers meet the one error, not the task group around it
            raise first_error(group) from None
        finally:
            for trial in self._line:
                self._algorithm.release(trial)
        if self._failures:
            raise min(self._failures, key=lambda error: isinstance(error, BudgetExceededError))

    def _advance(self) -> None:
        """Tell whatever stands first and is finished; after each, ask what there is room for."""
        self._ask()
        while self._line and self._line[0].number in self._outcomes:
            trial = self._line.popleft()
            self._algorithm.tell(trial, self._outcomes.pop(trial.number))
            self._on_commit(trial)
            self._ask()

    def _ask(self) -> None:
        config = self._algorithm.config
        while (
            not self._failures
            and self._algorithm.in_flight < config.parallelism
            and (self._asked in self._known or self._may_begin())
        ):
            if (limits := self._limits.get(self._asked)) is not None:
                limits.apply(self._algorithm)
            trial = self._algorithm.ask(self._known.get(self._asked, (None, None))[0])
            if trial is None:
                return
            self._asked += 1
            if config.deterministic:
                self._line.append(trial)
            if trial.number in self._known:
                self._outcomes[trial.number] = self._recall(trial)
            else:
                self._begun.append(trial)

    def _start(self) -> None:
        while self._begun:
            self._group.start_soon(self._work, self._begun.popleft())

    async def _work(self, trial: Trial) -> None:
        """Play a trial, and then one of those that its end gives room for: a task for each takes longer to begin."""
        await self._attempt(trial)
        while self._begun:
            trial = self._begun.popleft()
            self._start()
            await self._attempt(trial)

    def _recall(self, trial: Trial) -> Outcome:
        leaf, outcome = self._known.pop(trial.number)
        if leaf != trial.leaf:
            raise TrialError(f"trial {trial.number} was played on node {leaf}, and is now one of node {trial.leaf}")
        return outcome

    def _grow(self, trial: Trial, growth: Growth) -> None:
        config = self._algorithm.config
        if config.deterministic or config.parallelism == 1 or self._failures:
            return
        self._on_growth(trial, growth)
        self._algorithm.grow(trial, growth)
        self._ask()
        self._start()

    async def _attempt(self, trial: Trial) -> None:
        try:
            outcome = await self._run_trial(trial, partial(self._grow, trial))
        except Exception as error:  # noqa: BLE001  # run raises it once the others under way are done
            self._algorithm.release(trial)
            self._failures.append(error)
            return
        except BaseException:
            self._algorithm.release(trial)
            raise
        self._on_outcome(trial, outcome)
        self._outcomes[trial.number] = outcome
        if not self._algorithm.config.deterministic:
            self._line.append(trial)
        self._advance()
