"""The trials of one tree, within a number of calls to roles and of seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
from anyio.abc import TaskGroup

from mctsdialog._search.scheduler import PlanningLimits, Scheduler
from mctsdialog._search.simulate import CheckedRoles, run_trial
from mctsdialog.algorithms._base import Algorithm
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.algorithms._trial import Growth, Outcome, Trial
from mctsdialog.errors import ConfigError, first_error


def most_calls_of(config: SearchConfig) -> int:
    """The most calls to roles that one trial of a search can take."""
    return sum(config.kind.most_calls(config).values())


def check_limits(
    max_seconds: float | None, max_calls: int | None, config: SearchConfig, *, begun: bool = False
) -> None:
    """See that limits leave room for a search.

    :param begun: whether there is something found already, so that no trial need be played.
    :raises ConfigError: for seconds that are not above 0, or calls below those of one trial.
    """
    least_calls = 0 if begun else most_calls_of(config)
    if max_seconds is not None and not max_seconds > 0:
        raise ConfigError(f"max_seconds must be above 0, not {max_seconds}", field="max_seconds")
    if max_calls is not None and max_calls < least_calls:
        settings = f"at horizon {config.horizon}" if config.algorithm == "cso" else f"of algorithm {config.algorithm!r}"
        needed = f"one trial can take {least_calls} calls {settings}"
        raise ConfigError(f"max_calls: {needed}, not {max_calls}", field="max_calls")


class LimitedTrials:
    """Runs trials until the algorithm gives no more or a limit is reached.

    :param roles: makes the roles of one trial, which count its calls.
    :param max_calls: most calls; no trial is begun that could need more. None for any number.
    :param max_seconds: stop then; trials in progress are given up. None for any time.
    :param calls: those made before the first trial.
    :param enough: whether the tree may be left as it is when the time is up; else the trials go on until it says so.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        roles: Callable[[], CheckedRoles],
        *,
        max_calls: int | None = None,
        max_seconds: float | None = None,
        calls: int = 0,
        enough: Callable[[], bool] = lambda: True,
    ) -> None:
        self._algorithm = algorithm
        self._roles = roles
        self._max_calls = max_calls
        self._max_seconds = max_seconds
        self._ended = self._told = calls
        self._played: dict[int, int] = {}
        self._in_progress: dict[int, CheckedRoles] = {}
        self._most = most_calls_of(algorithm.config)
        self._enough = enough
        self._ready = anyio.Event()
        self._late = False

    @property
    def calls(self) -> int:
        """Calls to roles so far, those of trials in progress included."""
        return self._ended + sum(roles.calls for roles in self._in_progress.values())

    def count(self, calls: int, known: Mapping[int, int]) -> None:
        """Count calls of an earlier run, too: those before its trials, and those of known trials by number."""
        self._told += calls
        self._ended += calls + sum(known.values())
        self._played.update(known)

    @property
    def share(self) -> float:
        """How far the search is, 0 to 1, by the limit that it is nearest to."""
        tree, config = self._algorithm.tree, self._algorithm.config
        limits = [(tree.iterations, config.max_iterations)]
        if config.algorithm == "cso":
            limits.append((tree.ends, config.max_ends))
            if tree.ends >= config.min_ends:
                limits.append((tree.iterations, config.min_iterations))
        if self._max_calls is not None:  # no trial is begun that could need more
            limits.append((self._ended, self._max_calls - self._most + 1))
        return min(1.0, max(done / most if most > 0 else 1.0 for done, most in limits))

    async def run(
        self,
        *,
        on_outcome: Callable[[Trial, Outcome, int], object] = lambda trial, outcome, calls: None,
        on_growth: Callable[[Trial, Growth, int], object] = lambda trial, growth, calls: None,
        on_commit: Callable[[], object] = lambda: None,
        known: Mapping[int, tuple[int, Outcome]] | None = None,
        limits: Mapping[int, PlanningLimits] | None = None,
    ) -> str:
        """Run trials; the parameters are those of :class:`~mctsdialog._search.scheduler.Scheduler`.

        :param on_outcome: called with the calls of the trial, too, and ``on_growth`` with those so far.
        :returns: why it stopped: the algorithm's reason, "seconds" or "calls".
        """

        def committed(trial: Trial) -> None:
            self._told += self._played.pop(trial.number, 0)
            self._check_enough()
            on_commit()

        scheduler = Scheduler(
            self._algorithm,
            self._run_trial,
            on_outcome=lambda trial, outcome: on_outcome(trial, outcome, self._played[trial.number]),
            on_growth=lambda trial, growth: on_growth(trial, growth, self._in_progress[trial.number].calls),
            on_commit=committed,
            may_begin=self._may_begin,
            known=known,
            limits=limits,
        )
        self._check_enough()
        if self._max_seconds is None:
            await scheduler.run()
        else:
            await self._run_for(self._max_seconds, scheduler)
        return "seconds" if self._late else self._algorithm.stop_reason() or "calls"

    async def _run_for(self, seconds: float, scheduler: Scheduler) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._clock, seconds, group)
                await scheduler.run()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as failed:  # callers meet the one error, not the task group around it
            raise first_error(failed) from None

    async def _clock(self, seconds: float, group: TaskGroup) -> None:
        await anyio.sleep(seconds)
        await self._ready.wait()
        self._late = True
        group.cancel_scope.cancel()

    async def _run_trial(self, trial: Trial, on_growth: Callable[[Growth], None]) -> Outcome:
        roles = self._in_progress[trial.number] = self._roles()
        try:
            domain, horizon = self._algorithm.tree.domain, self._algorithm.config.horizon
            return await run_trial(trial, roles, domain, horizon, on_growth)
        finally:
            self._played[trial.number] = self._in_progress.pop(trial.number).calls
            self._ended += self._played[trial.number]

    def _may_begin(self) -> bool:
        """Whether one more trial fits into the calls, whatever it and those in progress may need.

        A deterministic search knows no trial's calls before the tree has it: else its tree would depend on their times.
        """
        if self._late:
            return False
        trials = self._algorithm.in_flight + 1
        calls = self._told if self._algorithm.config.deterministic else self._ended
        return self._max_calls is None or calls + trials * self._most <= self._max_calls

    def _check_enough(self) -> None:
        if not self._ready.is_set() and self._enough():
            self._ready.set()
