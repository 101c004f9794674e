"""One case under guard: time, memory, files and processes outside its folder, and what an error was."""

import contextlib
import faulthandler
import hashlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import click

import cso_train
import mctsdialog
from cso_train import CsoTrainError
from mctsdialog import MctsDialogError

SECONDS = 10.0
MEGABYTES = 500
SECRET = "what stands outside of the case"
CLEAN = (MctsDialogError, CsoTrainError, click.ClickException)
PACKAGES = tuple(f"{Path(package.__file__).parent.as_posix()}/" for package in (mctsdialog, cso_train))
_CHANGES = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "os.chmod",
    "shutil.rmtree",
)  # fmt: skip
_CODE = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pickle.find_class", "os.startfile")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Slow(BaseException):
    """The case used up its time."""


class OutsideError(BaseException):
    """The case reached for what is not its own."""


class BrokenPromiseError(Exception):
    """What was accepted is not what the package says that it is."""


@dataclass
class Result:
    """What became of a case.

    :ivar outcome: "accepted", "refused", or the kind of finding: "traceback", "hang", "memory", "outside" (a file or a
        host), "code" (a process or a pickle), "control" (a character a terminal acts on), "exit" (a wrong exit code or
        number of errors), "message" (too long), "promise" (accepted, and not what the package says it is), "crash".
    :ivar what: the exception or what was seen, in one line.
    :ivar where: the innermost frame in the packages.
    :ivar detail: the end of the traceback or of the output.
    :ivar seconds: CPU time.
    """

    outcome: str
    what: str = ""
    where: str = ""
    detail: str = ""
    seconds: float = 0.0
    extra: dict = field(default_factory=dict)

    @property
    def found(self):
        return self.outcome not in ("accepted", "refused")


class Place:
    """Where a worker's cases lie: an empty folder for each, a folder beside it that must stay as it is, a home."""

    def __init__(self, root):
        self.root = Path(root).resolve()
        shutil.rmtree(self.root, ignore_errors=True)
        self.case, self.outside = self.root / "case", self.root / "outside"
        for name in ("case", "outside/sub", "home", "tmp", "log"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in ("important.txt", "train.jsonl", "sub/important.txt", "dataset.json"):
            (self.outside / name).write_text(f"{SECRET}\n", "utf-8")
        (self.outside / "link").symlink_to("sub")
        self._before = self._listing()

    def enter(self):
        """Make it the process's own place."""
        os.environ.update(HOME=str(self.root / "home"), TMPDIR=str(self.root / "tmp"), OPENAI_API_KEY="sk-fuzz")
        os.chdir(self.case)

    def empty(self):
        """An empty folder for the next case."""
        os.chdir(self.root)
        for entry in os.scandir(self.case):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        os.chdir(self.case)

    def changes(self):
        """What changed outside of the case's folder since the last look; it is put right again."""
        after = self._listing()
        if after == self._before:
            return []
        names = sorted(name for name in after.keys() | self._before.keys() if after.get(name) != self._before.get(name))
        self._before = after
        return names

    def _listing(self):
        found = {}
        for at, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in ("case", "log")]
            for name in (*folders, *files):
                path = os.path.join(at, name)
                seen = os.lstat(path)
                content = b""
                if os.path.isfile(path) and not os.path.islink(path) and seen.st_size < 2**20:
                    with open(path, "rb") as file:
                        content = file.read()
                stamp = seen.st_mtime_ns if name in files else 0
                found[path] = (seen.st_mode, seen.st_size if name in files else 0, stamp, hashlib.md5(content).digest())
        return found


class Guard:
    """Watches the process that it is in; only between :meth:`arm` and :meth:`disarm`."""

    def __init__(self, place):
        self.place = place
        self.seen = []
        self._armed = False
        self._slow = ""
        tempfile.gettempdir()  # found once, by writing a file there
        sys.addaudithook(self._audit)

    def arm(self):
        self.seen.clear()
        self._armed = True

    def disarm(self):
        self._armed = False

    def _audit(self, event, arguments):
        if not self._armed:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike):
                self._opened(os.fsdecode(path), flags)
        elif event in _CHANGES:
            for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._changed(event, os.fsdecode(path))
        elif event == "sqlite3.connect":
            name = os.fsdecode(arguments[0])
            self._changed(event, name.removeprefix("file://").partition("?")[0], follow=True)
        elif event in _CODE:
            self._report("code", event, repr(arguments)[:200])
        elif event == "socket.connect" and (arguments[1] or ("",))[0] not in ("127.0.0.1", "::1"):
            self._report("outside", event, repr(arguments[1]))

    def _opened(self, name, flags):
        if flags & _WRITES:
            self._changed("open", name, follow=True)
        elif os.path.abspath(name).startswith(f"{self.place.outside}/"):
            self._report("outside", "read", name)

    def _changed(self, event, name, *, follow=False):
        path = os.path.abspath(name)
        real = (
            os.path.realpath(path)
            if follow
            else os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        )
        case = str(self.place.case)
        if real.startswith(f"{case}/") or real == case or real in ("/dev/null", "/dev/tty"):
            return
        self._report("outside", event, name)

    def _report(self, outcome, event, what):
        self._armed = False
        stack = traceback.extract_stack()
        where = innermost(stack)
        if where:  # what the fuzzer and the interpreter do themselves is no matter
            what = what.replace(str(self.place.root), "ROOT")
            self.seen.append(Result(outcome, f"{event} {what}", where, "".join(traceback.format_list(stack[-12:]))))
            raise OutsideError(f"{event} {what}")
        self._armed = True

    def run(self, work):
        """Call ``work`` and say what became of it."""
        began, base = time.process_time(), _resident()
        _reset_peak()
        self._slow = ""
        signal.signal(signal.SIGPROF, self._on_slow)
        signal.setitimer(signal.ITIMER_PROF, SECONDS, 1.0)
        self.arm()
        try:
            try:
                work()
                result = Result("accepted")
            finally:
                self.disarm()
                signal.setitimer(signal.ITIMER_PROF, 0)
        except CLEAN as error:
            result = self._refused(error)
        except Slow as error:
            result = of_error("hang", error)
        except OSError as error:
            # a file that cannot be written is told by OSError: that is documented
            writing = innermost_of(error).startswith("mctsdialog/files/_atomic.py")
            result = Result("refused", f"OSError: {error}") if writing else of_error("traceback", error)
        except BaseException as error:  # noqa: BLE001 - nothing may be missed
            result = of_error("memory" if isinstance(error, MemoryError) else "traceback", error)
        if self._slow and result.outcome != "hang":
            result = Result("hang", "Slow", self._slow)
        if self.seen:
            result = self.seen[0]
        used = _peak() - base
        if used > MEGABYTES and not result.found:
            result = Result("memory", f"{used:.0f} MB", f"in all ({result.outcome})", result.what)
        changed = self.place.changes()
        if changed and not self.seen:
            result = Result(
                "outside", f"changed {changed[0].replace(str(self.place.root), 'ROOT')}", result.where, result.detail
            )
        result.seconds = time.process_time() - began
        result.extra["megabytes"] = used
        return result

    def _refused(self, error):
        message = str(error.format_message() if isinstance(error, click.ClickException) else error)
        if SECRET in message:
            return Result("outside", "a message holds what stands outside", innermost_of(error), message[:300])
        if len(message) > 20_000:
            return Result(
                "message",
                f"a message of more than 20,000 characters ({type(error).__name__})",
                innermost_of(error),
                message[:500],
            )
        return Result("refused", f"{type(error).__name__}: {message[:200]}")

    def _on_slow(self, number, frame):
        self._slow = self._slow or innermost(traceback.extract_stack(frame))
        raise Slow


def of_error(outcome, error):
    """A result of an exception that nobody should have seen."""
    if isinstance(error, BaseExceptionGroup):
        inner = error
        while isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
        if isinstance(inner, Slow | OutsideError):
            error = inner
    if isinstance(error, BrokenPromiseError):
        outcome = "promise"
    text = "".join(traceback.format_exception(error))
    first = str(error).splitlines()[0][:160] if str(error) else ""
    return Result(outcome, f"{type(error).__name__}: {first}", innermost_of(error), text[-3000:])


def innermost(stack):
    """The innermost frame within the packages, as ``path:function``."""
    for frame in reversed(stack):
        name = frame.filename.replace("\\", "/")
        if "/fuzz_parts/" in name:
            continue
        for package in PACKAGES:
            if package in name and "/site-packages/torch" not in name:
                return f"{Path(package).name}/{name.rpartition(package)[2]}:{frame.name}"
    return ""


def innermost_of(error):
    return innermost(traceback.extract_tb(error.__traceback__))


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _reset_peak():
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak():
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def limit_memory(megabytes=1536):
    """Let the process have so much more address space than it has."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    most = size + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def dump_on_request(file):
    """Write where the process is, into ``file``, when it gets SIGUSR1: also from within C."""
    faulthandler.register(signal.SIGUSR1, file=file, all_threads=True, chain=False)


def innermost_of_dump(text):
    """The innermost package frame of what faulthandler wrote."""
    for line in text.splitlines():
        name, _, function = line.strip().removeprefix('File "').partition('", line ')
        for package in PACKAGES:
            if package in name and "/fuzz_parts/" not in name:
                return f"{Path(package).name}/{name.rpartition(package)[2]}:{function.rpartition(' in ')[2]}"
    return ""
