"""A corpus on a Ray cluster: searches run in worker processes, and what a lost worker had begun goes on in another.

Ray brings the processes, moves a lost one to a node that lives, and asks it again; a search asked again goes on from
its journal. All nodes need this package, the folder of the corpus at the same path, and the servers' keys in their
environment: keys do not travel.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import anyio
import sniffio

from mctsdialog._arguments import checked
from mctsdialog._moved import renamed_arguments
from mctsdialog._search import SearchConfig
from mctsdialog.algorithms import algorithm_names
from mctsdialog.corpus._output import Output
from mctsdialog.corpus._record import TreeRecord
from mctsdialog.corpus._report import Counts
from mctsdialog.dialogue import Dialogue, Domain, Scenario
from mctsdialog.errors import ConfigError, ModelUnavailableError
from mctsdialog.llm import Budget, Meter
from mctsdialog.roles import Roles

_STORE_BYTES = 100 * 2**20  # near the least that Ray takes: nothing is kept in its store
_START_SECONDS = 120.0  # a node may have to fetch what the workers need


@dataclass(frozen=True)
class Share:
    """A worker's part of what the whole run may use.

    :param number: of the worker, from 0.
    :param count: workers.
    """

    number: int
    count: int

    def of(self, whole: int) -> int:
        """This worker's part of a number; all parts together are the whole where it is not below their count.

        At least 1, for a worker without any calls would never end.
        """
        return max(1, whole // self.count + (self.number < whole % self.count))


@dataclass(frozen=True)
class WorkerModels:
    """What a worker searches with.

    :param roles: the four roles in a domain.
    :param meter: counts its calls.
    :param budget: whose money is shown.
    """

    roles: Callable[[Domain], Roles]
    meter: Meter | None = None
    budget: Budget | None = None

    def counts(self) -> Counts:
        """What its model calls have cost so far."""
        return Counts.of(self.meter, self.budget)


OpenWorker = Callable[[Share], AbstractAsyncContextManager[WorkerModels]]
"""Opens a worker's models with its share of the limits. It travels to the workers, so it must hold no secret."""


class RayExecutor:
    """Runs the searches of :func:`~mctsdialog.search_corpus` on a Ray cluster, in an asyncio event loop.

    Use it with ``async with``, and give it as ``executor``. A cluster that this process is connected to already is
    used as it is, and left as it is.

    :param open_worker: opens the models of a worker; a function of a module that the workers can import, or one that
        Ray can send.
    :param workers: worker processes, each on one CPU; None for as many as the cluster has CPUs.
    :param max_workers: never more than this; the smallest of the numbers that workers share, so that each has a part.
    :param address: of the cluster, "auto" for the one that this machine belongs to, or "local" to start one here.
    :raises ConfigError: if Ray is not installed, there is no such cluster, it has no room for the workers, or the
        event loop is not asyncio's.
    """

    @renamed_arguments(most_workers="max_workers")
    @checked()
    def __init__(
        self,
        open_worker: OpenWorker,
        *,
        workers: int | None = None,
        max_workers: int | None = None,
        address: str = "auto",
    ) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers must be at least 1, not {workers}", field="workers")
        if workers is not None and max_workers is not None and workers > max_workers:
            message = f"{workers} workers cannot share a limit or budget of {max_workers}; each needs a part of it"
            raise ConfigError(message, field="workers")
        self._open_worker, self._count, self._most, self._address = open_worker, workers, max_workers, address
        self._workers: list[_Handle] = []
        self._connected = False

    async def __aenter__(self) -> Self:
        if sniffio.current_async_library() != "asyncio":
            raise ConfigError("Ray's calls are awaited in asyncio; run the search there", field="executor")
        ray = _import_ray()
        try:
            self._connect(ray)  # not in a thread: Ray sets signal handlers
            await self._start(ray)
        except BaseException:
            self._end(ray)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end(_import_ray())

    async def search(
        self, start: Scenario, domain: Domain, config: SearchConfig, output: Output, *, restart: bool
    ) -> TreeRecord:
        """Search one dialogue in the worker that has least to do.

        :raises MctsDialogError: what the search raises.
        :raises ModelUnavailableError: if workers are lost again and again.
        """
        ray = _import_ray()
        worker = min(self._workers, key=lambda each: each.open)
        plain = {
            "start": start.model_dump_json(),
            "gold": isinstance(start, Dialogue),
            "domain": domain.model_dump_json(),
            "config": config.model_dump_json(),
            "algorithm": (config.algorithm, config.kind.__module__),
            "folder": str(output.folder.absolute()),
            "max_calls": output.max_calls,
            "restart": restart,
        }
        worker.open += 1
        try:
            record: TreeRecord = await worker.actor.search.remote(plain)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayError as error:
            raise ModelUnavailableError(f"its Ray worker was lost: {str(error).splitlines()[0]}") from None
        finally:
            worker.open -= 1
        return record

    async def refresh(self) -> None:
        """Ask the workers what their model calls have cost; one that does not answer soon is asked the next time."""
        async with anyio.create_task_group() as group:
            for worker in self._workers:
                group.start_soon(worker.refresh)

    @property
    def workers(self) -> int:
        """Worker processes."""
        return len(self._workers)

    def counts(self) -> Counts | None:
        """What the model calls of all workers have cost, those of lost ones as far as they were told."""
        return sum((counts for worker in self._workers for counts in worker.counts.values()), Counts())

    def removed(self) -> dict[str, Counter[str]]:
        """Empty: the workers do not report what they take out of utterances."""
        return {}

    def _connect(self, ray: Any) -> None:
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        _check_reachable(self._address)
        local: dict[str, Any] = {}
        if self._address == "local":
            local = {"num_cpus": self._count, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
        try:
            ray.init(address=self._address, log_to_driver=False, configure_logging=False, **local)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(self._address, error) from error
        self._connected = True

    async def _start(self, ray: Any) -> None:
        count = self._count or max(1, int(ray.cluster_resources().get("CPU", 1)))
        count = min(count, self._most or count)
        remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")(_Worker)
        self._workers = [_Handle(remote.remote(self._open_worker, Share(number, count))) for number in range(count)]
        with anyio.move_on_after(_START_SECONDS) as scope:
            for worker in self._workers:
                try:
                    await worker.actor.ready.remote()
                except ray.exceptions.RayTaskError as error:
                    raise _cause(error) from None
        if scope.cancelled_caught:
            why = "the cluster has no free CPUs for them, or is slow; ask for fewer"
            raise ConfigError(f"{count} workers did not start in {_START_SECONDS:.0f} s: {why}", field="workers")

    def _end(self, ray: Any) -> None:
        for worker in self._workers:
            ray.kill(worker.actor)  # what it had begun is in its journals
        self._workers = []
        if self._connected:
            ray.shutdown()
            self._connected = False


class _Handle:
    """A worker as the driver sees it."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.open = 0
        self.counts: dict[str, Counts] = {}  # by life of the worker

    async def refresh(self) -> None:
        with anyio.move_on_after(1.0):
            try:
                life, counts = await self.actor.counts.remote()
            except _import_ray().exceptions.RayError:
                return
            self.counts[life] = counts


class _Worker:
    """The actor: searches in one event loop, with the worker's models."""

    def __init__(self, open_worker: OpenWorker, share: Share) -> None:
        self._open_worker, self._share = open_worker, share
        self._life = f"{os.getpid()}-{time.time_ns()}"
        self._lock = anyio.Lock()
        self._closing = AsyncExitStack()
        self._models: WorkerModels | None = None

    async def ready(self) -> None:
        await self._opened()

    async def search(self, plain: dict[str, Any]) -> TreeRecord:
        models = await self._opened()
        _import_algorithm(*plain["algorithm"])
        start = (Dialogue if plain["gold"] else Scenario).model_validate_json(plain["start"])
        roles = models.roles(Domain.model_validate_json(plain["domain"]))
        output = Output(Path(plain["folder"]), max_calls=plain["max_calls"])
        return await output.search(
            start, roles, SearchConfig.model_validate_json(plain["config"]), restart=plain["restart"]
        )

    async def counts(self) -> tuple[str, Counts]:
        return self._life, Counts() if self._models is None else self._models.counts()

    async def _opened(self) -> WorkerModels:
        async with self._lock:
            if self._models is None:
                self._models = await self._closing.enter_async_context(self._open_worker(self._share))
        return self._models


def _import_algorithm(name: str, module: str) -> None:
    """See that a worker knows the algorithm, one of the user's own too: its module registers it.

    :raises ConfigError: if the module is not on the worker's path.
    """
    if name not in algorithm_names() and module != "__main__":
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"a worker cannot import algorithm {name!r}: {error}", field="algorithm") from error


def _check_reachable(address: str) -> None:
    """Say at once what Ray says after minutes: nobody listens there."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ConfigError:
    return ConfigError(f"there is no Ray cluster at {address!r}: {str(error).splitlines()[0]}", field="ray")


def _cause(error: Any) -> Exception:
    """What a worker raised, out of what Ray makes of it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else RuntimeError(str(error).splitlines()[-1])


def _import_ray() -> Any:
    try:
        import ray  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise ConfigError("Ray is not installed; install it: pip install 'mctsdialog[ray]'", field="ray") from error
    return ray
