"""Mutates files of every kind that the packages read; each must be accepted or refused by one clear error.

Valid files are made first. Cases are then drawn from a seed: structural changes (other types, deep nesting, huge
numbers, names that point elsewhere, wrong records with a right checksum, ...) and changed bytes. Each case is read by
the packages' functions in a forked process. What is accepted is then used: exported, rendered, resumed, trained on.
Some cases go through the commands. Anything else is a finding: another exception, more than 10 CPU seconds or 500 MB,
a file changed or read outside the case's folder, code run, a control character printed, more than one error message.
Findings are kept in --out with their input, and a case can be repeated by its number, e.g. --kind tree --only 17.
Run: python benchmarks/fuzz.py [--kind KIND] [--count 10000] [--commands 200] [--seed 0] [--out FOLDER]
"""

import argparse
import importlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path

import stub_server

GOOD = ("accepted", "refused")


def main():
    if os.environ.get("PYTHONHASHSEED") != "0":  # a case is the same in every run
        os.execve(
            sys.executable,
            [sys.executable, *sys.argv],
            {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
        )
    arguments = parsed()
    arguments.out.mkdir(parents=True, exist_ok=True)
    memory = Path("/dev/shm")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers and files do not stay behind
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        with stub_server.running(0.0) as url:
            return fuzz(arguments, folder, url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", help="only this kind; again for several")
    parser.add_argument("--count", type=int, default=10_000, help="cases of a kind in process")
    parser.add_argument("--commands", type=int, default=200, help="cases of a kind through the command")
    parser.add_argument("--seed", type=int, default=0, help="of every draw")
    parser.add_argument("--only", type=int, help="this case alone, with all that is known of it")
    parser.add_argument("--way", choices=["function", "command"], default="function", help="of --only")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    parser.add_argument("--out", type=Path, default=Path("fuzz-output"), help="folder for what is found")
    return parser.parse_args()


def fuzz(arguments, folder, url):
    """Run all, print the table; the exit code."""
    make_seeds(folder / "seeds", url)
    for name in ("numpy", "pyarrow.parquet", "anyio._backends._asyncio"):
        importlib.import_module(name)  # once, not in every worker

    from fuzz_parts.kinds import all_kinds
    from fuzz_parts.pool import CHUNK, Chunk, Pool
    from fuzz_parts.seeds import Seeds

    kinds, seeds = all_kinds(), Seeds(folder / "seeds", url)
    names = arguments.kind or list(kinds)
    if unknown := [name for name in names if name not in kinds]:
        raise SystemExit(f"there are the kinds {', '.join(kinds)}, not {', '.join(unknown)}")
    log = Log(arguments, kinds, seeds)
    pool = Pool(kinds, seeds, arguments.seed, arguments.workers, folder, log.tell)
    for name in list(names):
        if kinds[name].needs and any(importlib.util.find_spec(heavy) is None for heavy in ("torch", "trl")):
            print(f"{name}: left out, for it needs the extra 'train'", file=sys.stderr)
            names.remove(name)
    for name in names:
        if kinds[name].needs:
            importlib.import_module(kinds[name].needs)  # of no use to the kinds before it
        if arguments.only is not None:
            pool.run([Chunk(name, arguments.way, (arguments.only,))])
            continue
        began = time.monotonic()
        numbers = {"function": arguments.count, "command": arguments.commands if kinds[name].words else 0}
        size = {way: min(CHUNK, -(-count // arguments.workers)) or 1 for way, count in numbers.items()}
        pool.run(
            Chunk(name, way, tuple(range(at, min(at + size[way], count))))
            for way, count in numbers.items()
            for at in range(0, count, size[way])
        )
        log.line(name, time.monotonic() - began)
    return log.finish()


def make_seeds(folder, url):
    """Make the valid files in a process of its own, so that nothing of it stays in those that are forked."""
    folder.mkdir()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from fuzz_parts import seeds

            seeds.make(folder, url)
            code = 0
        except BaseException:  # noqa: BLE001 - printed
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("the valid files cannot be made")


class Log:
    """Counts cases, keeps what is found, prints."""

    def __init__(self, arguments, kinds, seeds):
        self._arguments, self._kinds, self._seeds = arguments, kinds, seeds
        self._counts = defaultdict(Counter)
        self._slowest, self._largest = {}, Counter()
        self._found = {}

    def tell(self, chunk, number, result):
        key = (chunk.kind, chunk.way)
        self._counts[key][result.outcome] += 1
        self._slowest[key] = max(self._slowest.get(key, (0.0, 0)), (result.seconds, number))
        self._largest[key] = max(self._largest[key], result.extra.get("megabytes", 0.0))
        if self._arguments.only is not None:
            print(f"{result.outcome}: {result.what}\n{result.where}\n{result.detail}\n{result.extra}")
        if result.outcome in GOOD:
            return
        what = result.what.partition(":")[0] if result.outcome == "traceback" else result.outcome
        seen = self._found.setdefault((result.where, result.outcome, what, chunk.way if not result.where else ""), [])
        seen.append((chunk, number, result))
        if len(seen) <= 2:
            self._keep(chunk, number, result)

    def _keep(self, chunk, number, result):
        """The case's files and what became of it, in the folder of what is found."""
        from fuzz_parts.pool import write_case

        folder = (self._arguments.out / chunk.kind / f"{number}-{chunk.way}").resolve()
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "case").mkdir(parents=True)
        was = Path.cwd()
        os.chdir(folder / "case")
        try:
            how, words = write_case(self._kinds[chunk.kind], chunk, self._seeds, self._arguments.seed, number)
        except Exception as error:  # noqa: BLE001 - a fault of the fuzzer itself
            how, words = repr(error), None
        finally:
            os.chdir(was)
        text = {"again": self._again(chunk, number), "how": how, "words": words, **vars(result)}
        (folder / "finding.json").write_text(json.dumps(text, indent=1) + "\n", "utf-8")

    def _again(self, chunk, number):
        case = f"--seed {self._arguments.seed} --kind {chunk.kind} --only {number} --way {chunk.way}"
        return f"python benchmarks/fuzz.py {case}"

    def line(self, name, seconds):
        """Progress, on standard error."""
        parts = [
            f"{way} " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._counts[name, way].items()))
            for way in ("function", "command")
            if self._counts[name, way]
        ]
        print(f"{name}: {'; '.join(parts)} in {seconds:.0f} s", file=sys.stderr, flush=True)
        self._save()

    def finish(self):
        """Print the table and what was found; 1 where something was."""
        bad = sorted({outcome for counts in self._counts.values() for outcome in counts} - set(GOOD))
        print(
            "| kind | way | cases | accepted | refused |"
            + "".join(f" {name} |" for name in bad)
            + " slowest, s | its number | most, MB |"
        )
        print("|---|---|" + "---:|" * (6 + len(bad)))
        for key, counts in self._counts.items():
            cells = [*key, sum(counts.values()), *(counts[name] for name in (*GOOD, *bad))]
            seconds, number = self._slowest.get(key, (0.0, 0))
            print(f"| {' | '.join(map(str, cells))} | {seconds:.1f} | {number} | {self._largest[key]:.0f} |")
        for (where, outcome, _, _), seen in sorted(self._found.items()):
            chunk, number, result = seen[0]
            print(f"\n{where or 'no frame of the packages'}: {outcome}, {len(seen)} times: {result.what}")
            print(f"  {self._again(chunk, number)}")
        self._save()
        return 1 if self._found else 0

    def _save(self):
        found = [
            {
                "where": where,
                "outcome": outcome,
                "count": len(seen),
                "what": seen[0][2].what,
                "again": self._again(*seen[0][:2]),
            }
            | {"kinds": sorted({f"{chunk.kind} ({chunk.way})" for chunk, _, _ in seen})}
            for (where, outcome, _, _), seen in sorted(self._found.items())
        ]
        (self._arguments.out / "found.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
