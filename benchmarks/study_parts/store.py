"""What a study has found so far: kept as soon as it is there, so that the same command resumes."""

import json
import sys
import time
from dataclasses import asdict


class Store:
    """Results by name in a folder, as JSON lines.

    :param folder: of the study; made where it is not there.
    :param preset: its sizes. A folder of a study of other sizes is refused.
    """

    def __init__(self, folder, preset):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        sizes, file = json.loads(json.dumps(asdict(preset))), folder / "preset.json"
        if file.exists() and json.loads(file.read_text("utf-8")) != sizes:
            sys.exit(f"{folder} holds a study of other sizes; choose another folder with --out")
        file.write_text(json.dumps(sizes, indent=1) + "\n", "utf-8")
        self._file = folder / "results.jsonl"
        self._found = {}
        lines = self._file.read_text("utf-8").splitlines() if self._file.exists() else []
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # cut off by a kill: made again
                continue
            self._found[row["name"]] = row["result"]
        self._file.write_text("".join(map(self._line, self._found)), "utf-8")

    def kept(self, name, make):
        """The result of that name; made, and written down, where it is not there yet."""
        if name not in self._found:
            begun, cpu = time.monotonic(), time.process_time()
            self._found[name] = json.loads(json.dumps(make()))
            with self._file.open("a", encoding="utf-8") as file:
                file.write(self._line(name))
            took, used = time.monotonic() - begun, time.process_time() - cpu
            print(f"{name}: {took:.0f} s, {used:.0f} s of them on the CPU", file=sys.stderr, flush=True)
        return self._found[name]

    def _line(self, name):
        return json.dumps({"name": name, "result": self._found[name]}) + "\n"
