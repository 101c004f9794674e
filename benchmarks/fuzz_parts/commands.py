"""A case through a command: its main function in a forked child of a process that has everything imported."""

import faulthandler
import os
import re
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

import cso_train.cli
import mctsdialog.cli
from fuzz_parts.guard import MEGABYTES, PACKAGES, SECONDS, SECRET, Result, innermost_of_dump

MAINS = {"mctsdialog": (mctsdialog.cli.main, "mctsdialog"), "cso_train": (cso_train.cli.main, "python -m cso_train")}
CODES = (0, 1, 2, 3)
_WALL = 60.0
# what a terminal may act on: control characters but newline and tab, and marks that turn the writing around
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line \d+, in (?P<name>\S+)')
_MOST_OUTPUT = 200_000


def run_command(guard, tool, words):
    """Run a command in the working folder, and say what became of it."""
    place = guard.place
    out, err = place.root / "log/stdout", place.root / "log/stderr"
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_the_command(guard, tool, words, out, err)
    code, usage, slow = _wait(pid, err)
    shown = [_text(path) for path in (out, err)]
    result = _judged(code, *shown, slow)
    used = usage.ru_maxrss / 1024 - _resident()
    if used > MEGABYTES and not result.found:
        result = Result("memory", f"{used:.0f} MB", f"command {_command(words)}")
    changed = place.changes()
    if changed and not result.found:
        result = Result(
            "outside", f"changed {changed[0].replace(str(place.root), 'ROOT')}", f"command {_command(words)}"
        )
    if result.found:
        result.where = result.where or f"command {tool} {_command(words)}"
    result.extra["command"] = [tool, *words]
    result.extra["megabytes"] = used
    result.seconds = usage.ru_utime + usage.ru_stime
    return result


def _command(words):
    return " ".join(word for word in words[:2] if word.isalpha())


def _be_the_command(guard, tool, words, out, err):
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for path, descriptor in ((out, 1), (err, 2)):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(opened, descriptor)
            os.close(opened)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True, chain=False)
        main, name = MAINS[tool]
        sys.argv = [name, *words]
        guard.arm()
        try:
            main(args=words, prog_name=name, color=True)  # as on a terminal: click takes nothing out
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - what Python does with it
            traceback.print_exc()
        guard.disarm()
        try:
            sys.stdout.flush()
        except ValueError:
            traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _wait(pid, err):
    """Exit status, what the child used, and whether it was too slow."""
    began = time.monotonic()
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage, False
        signal.sigtimedwait({signal.SIGCHLD}, 1.0)
        seconds = time.monotonic() - began
        if (seconds > SECONDS and _cpu(pid) > SECONDS) or seconds > _WALL:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), usage, False
            os.kill(pid, signal.SIGUSR1)
            time.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            return -signal.SIGKILL, usage, True


def _cpu(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _text(path):
    return path.read_bytes()[: 2**22].decode("utf-8", "surrogateescape") if path.exists() else ""


def _judged(code, out, err, slow):
    both = out + err
    tail = err[-2500:]
    if slow:
        return Result("hang", "Slow", innermost_of_dump(err), tail)
    if "Traceback (most recent call last)" in err or "Exception ignored in" in err:
        last = next((line for line in reversed(err.splitlines()) if line and not line.startswith((" ", "+"))), "")
        outside = "OutsideError" in err
        memory = "MemoryError" in last
        return Result("outside" if outside else "memory" if memory else "traceback", last[:200], _frame(err), tail)
    if code < 0 or code not in CODES:
        return Result("exit", f"exit code {code}", "", tail)
    if code in (1, 2) and not err.strip():
        return Result("exit", f"exit code {code} without a message", "", tail)
    errors = sum(line.startswith("Error: ") for line in err.splitlines())
    if errors > 1 or (code == 2 and errors != 1):
        return Result("exit", f"exit code {code} with {errors} errors", "", tail)
    if SECRET in both:
        return Result("outside", "it shows what stands outside", "", tail)
    if found := _CONTROL.search(both):
        shown = both[max(0, found.start() - 60) : found.end() + 20]
        return Result("control", f"prints {found.group()!r}", "", repr(shown))
    if any("\udc80" <= letter <= "\udcff" for letter in both):
        return Result("control", "prints what is not UTF-8", "", tail)
    if len(err) > _MOST_OUTPUT:
        return Result("message", f"writes {len(err)} characters of messages", "", tail)
    if code == 0:
        return Result("accepted")
    return Result("refused", next((line for line in err.splitlines() if line.startswith("Error: ")), "")[:200])


def _frame(text):
    """The innermost frame within the packages, of the last traceback in a text."""
    last = text.rpartition("Traceback (most recent call last)")[2]
    for found in reversed(list(_FRAME.finditer(last))):
        for package in PACKAGES:
            if package in found["file"] and "/fuzz_parts/" not in found["file"]:
                return f"{Path(package).name}/{found['file'].rpartition(package)[2]}:{found['name']}"
    return ""
