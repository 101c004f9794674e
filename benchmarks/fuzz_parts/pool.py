"""Forked workers that go through cases, and the parent that watches them."""

import contextlib
import io
import json
import logging
import os
import random
import selectors
import signal
import sys
import time
import traceback
import warnings
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fuzz_parts.commands import run_command
from fuzz_parts.guard import SECONDS, Guard, Place, Result, dump_on_request, innermost_of_dump, limit_memory, of_error

CHUNK = 200
MOST_HANGS = 12
_GRACE = 4.0  # CPU seconds after which a worker that did not end a case by itself is killed


@dataclass(frozen=True)
class Chunk:
    """Some cases of a kind.

    :ivar way: "function" or "command".
    """

    kind: str
    way: str
    numbers: tuple

    def draw(self, seed, number):
        """The case's own generator."""
        return random.Random(f"{seed}/{self.kind}/{self.way}/{number}")


@dataclass
class Slot:
    """A worker and what it is at."""

    pid: int
    chunk: Chunk
    pipe: io.BufferedReader
    root: Path
    number: int = -1
    rest: bytes = b""
    began: float = 0.0
    cpu: float = 0.0
    left: deque = field(default_factory=deque)


def write_case(kind, chunk, seeds, seed, number):
    """Write a case into the working folder; how it is to be read, and a command's words."""
    draw = chunk.draw(seed, number)
    if seeds is not None:
        seeds.run = "served" if chunk.way == "command" else "run"
    how = kind.write(draw, seeds)
    return how, kind.words(draw, seeds, how) if chunk.way == "command" else None


def work(kind, chunk, seeds, seed, root, pipe):
    """Go through a chunk's cases; results go into the pipe, a line each."""
    place = Place(root)
    place.enter()
    warnings.simplefilter("ignore")
    logging.disable()
    sys.dont_write_bytecode = True
    dump = open(place.root / "log/dump", "w+")  # noqa: SIM115 - as long as the process
    dump_on_request(dump)
    guard = Guard(place)
    limit_memory()
    null = open(os.devnull, "w")  # noqa: SIM115
    for number in chunk.numbers:
        os.write(pipe, b"b %d\n" % number)
        place.empty()
        try:
            how, words = write_case(kind, chunk, seeds, seed, number)
        except Exception as error:  # noqa: BLE001 - a fault of the fuzzer itself
            os.write(pipe, b"r %s\n" % json.dumps(asdict(of_error("fuzzer", error))).encode())
            continue
        if words is None:
            was, sys.stdout = sys.stdout, null
            result = guard.run(lambda how=how: kind.read(seeds, how))
            sys.stdout = was
        else:
            result = run_command(guard, *words)
        os.write(pipe, b"r %s\n" % json.dumps(asdict(result)).encode())


class Pool:
    """Runs chunks in so many processes at once.

    :param tell: called with (chunk, number, result) for every case.
    """

    def __init__(self, kinds, seeds, seed, workers, folder, tell):
        self._kinds, self._seeds, self._seed = kinds, seeds, seed
        self._workers, self._folder, self._tell = workers, folder, tell
        self._selector = selectors.DefaultSelector()
        self._slots = {}
        self._hangs = {}

    def run(self, chunks):
        waiting = deque(chunks)
        free = list(range(self._workers))
        try:
            while waiting or self._slots:
                while waiting and free:
                    chunk = waiting.popleft()
                    if self._hangs.get((chunk.kind, chunk.way), 0) < MOST_HANGS:
                        self._start(chunk, free.pop())
                for key, _ in self._selector.select(0.5):
                    if not self._read(key.data):
                        self._ended(key.data, waiting, free)
                for index in list(self._slots):
                    self._watch(index)
        finally:
            for slot in self._slots.values():
                _kill(slot.pid)

    def _start(self, chunk, index):
        reading, writing = os.pipe()
        root = self._folder / f"worker-{index}"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.close(reading)
                work(self._kinds[chunk.kind], chunk, self._seeds, self._seed, root, writing)
                code = 0
            except BaseException:  # noqa: BLE001 - told, and taken for a crash by the parent
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writing)
        slot = Slot(pid, chunk, os.fdopen(reading, "rb", buffering=0), root, left=deque(chunk.numbers))
        slot.began = time.monotonic()
        self._slots[index] = slot
        self._selector.register(slot.pipe, selectors.EVENT_READ, index)

    def _read(self, index):
        """Take in what a worker says; False where it has ended."""
        slot = self._slots[index]
        data = slot.pipe.read(2**16)
        *lines, slot.rest = (slot.rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"b "):
                slot.number, slot.began, slot.cpu = int(line[2:]), time.monotonic(), _cpu(slot.pid)
            else:
                self._note(slot, Result(**json.loads(line[2:])))
        return bool(data)

    def _note(self, slot, result):
        number = slot.left.popleft()
        if result.outcome == "hang":
            key = (slot.chunk.kind, slot.chunk.way)
            self._hangs[key] = self._hangs.get(key, 0) + 1
        self._tell(slot.chunk, number, result)

    def _ended(self, index, waiting, free):
        slot = self._slots.pop(index)
        self._selector.unregister(slot.pipe)
        slot.pipe.close()
        _, status = os.waitpid(slot.pid, 0)
        free.append(index)
        if slot.left:
            slow = (slot.root / "log/slow").exists()
            text = (slot.root / "log/dump").read_text("utf-8", "replace") if slow else ""
            (slot.root / "log/slow").unlink(missing_ok=True)
            code = os.waitstatus_to_exitcode(status)
            result = (
                Result("hang", "Slow", innermost_of_dump(text), text[-2500:])
                if slow
                else Result("crash", f"the process ended with {code}")
            )
            self._note(slot, result)
            if slot.left:
                waiting.appendleft(Chunk(slot.chunk.kind, slot.chunk.way, tuple(slot.left)))

    def _watch(self, index):
        slot = self._slots[index]
        wall, cpu = time.monotonic() - slot.began, _cpu(slot.pid) - slot.cpu
        stuck = slot.chunk.way == "function" and wall > 3 * SECONDS and cpu < wall / 20
        if cpu > SECONDS + _GRACE or stuck or wall > 20 * SECONDS:
            (slot.root / "log/slow").write_text("", "utf-8")
            os.kill(slot.pid, signal.SIGUSR1)
            time.sleep(0.3)
            _kill(slot.pid)


def _kill(pid):
    """End a worker and the command that it runs."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _cpu(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
