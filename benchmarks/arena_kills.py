"""An arena on a stub server, killed with SIGKILL several times: is anything paid for twice?

Six systems (models, a search, scripts) talk with seekers of role cards at a server on loopback, are judged, and the
command is killed while it works, each time as a call is about to be answered. Then it runs to its end. Counted are the
calls that were answered twice, and the report is held against that of a run that nobody killed.
Run: python benchmarks/arena_kills.py [--cards 40] [--repeats 2] [--kills 3] [--out FILE]
"""

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import common

SETTLE = 0.5  # seconds
ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = {
    "base": {"kind": "model", "model": "base"},
    "base, plain": {"kind": "model", "model": "base", "prompt": "plain"},
    "other": {"kind": "model", "model": "other"},
    "search, 0 calls": {"kind": "plan", "model": "base", "calls": 0},
    "search, 12 calls": {"kind": "plan", "model": "base", "calls": 12},
    "script": {"kind": "script", "lines": ["I hear you.", "Tell me more.", "What would help?"]},
}


def filled(schema, key):
    """Values of a schema's shape, by a number."""
    values = {}
    for index, (name, of) in enumerate(schema["properties"].items()):
        number = key >> 3 * index
        if "enum" in of:
            values[name] = of["enum"][number % len(of["enum"])]
        elif of["type"] == "string":
            values[name] = f"Words number {number % 10**6}."
        else:
            values[name] = number % (of["maximum"] + 1)
    return values


class Stub:
    """A server whose replies are a function of the request. It answers one call at a time, and can kill as it does so.

    :ivar answered: calls answered, by a digest of their body.
    """

    def __init__(self):
        self.answered, self.calls = {}, 0
        self.victim, self.kill_at = None, None
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                self.caller = outer.victim

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer._lock:
                    reply = outer.reply(body, self.caller)
                    if reply is None:
                        self.close_connection = True
                        return
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(reply)))
                    self.end_headers()
                    self.wfile.write(reply)

            def log_message(self, *arguments):
                pass

            def handle(self):
                with contextlib.suppress(OSError):  # the other side was killed
                    super().handle()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def reply(self, body, caller):
        """The reply to a call; None once its caller is dead."""
        if caller.poll() is not None:
            return None
        self.calls += 1
        if self.kill_at is not None and self.calls >= self.kill_at:
            time.sleep(SETTLE)  # what was answered before has arrived, on a busy machine too
            caller.send_signal(signal.SIGKILL)
            caller.wait()
            return None
        digest = hashlib.sha256(body).hexdigest()
        self.answered[digest] = self.answered.get(digest, 0) + 1
        key = int(digest[:15], 16)
        schema = json.loads(body).get("response_format", {}).get("json_schema", {}).get("schema")
        text = (
            f"This is what I think of it, number {key % 10**6}." if schema is None else json.dumps(filled(schema, key))
        )
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        made = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}
        return json.dumps(made).encode()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def beyond(self, other):
        """Calls answered more often than by another server; repeats of a conversation ask the same again."""
        return sum(max(0, count - other.answered.get(each, 0)) for each, count in self.answered.items())


def write_config(path, arguments):
    config = {
        "systems": SYSTEMS,
        "seeker": {"model": "seeker"},
        "judges": {"one": {"model": "judge one"}, "two": {"model": "judge two"}},
        "cards": str(path.with_suffix(".jsonl")),
        "repeats": arguments.repeats,
        "rounds": arguments.rounds,
        "concurrency": arguments.concurrency,
        "resamples": 200,
    }
    from mctsdialog.seekers import RoleCard, sample_cards, write_cards  # noqa: PLC0415

    cards = [RoleCard(**{**dict(card), "domain": "esc"}) for card in sample_cards()[: arguments.cards]]
    write_cards(cards, path.with_suffix(".jsonl"))
    path.write_text(json.dumps(config), "utf-8")  # JSON is YAML


def start(stub, config, out):
    words = [
        sys.executable,
        "-m",
        "cso_train",
        "arena",
        str(config),
        "--server",
        stub.url,
        "--out",
        str(out),
        "--no-figures",
    ]
    environment = {**os.environ, "OPENAI_API_KEY": "", "PYTHONPATH": str(ROOT)}
    log = (out.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen(words, stdout=log, stderr=log, env=environment, cwd=out.parent)


def whole(stub, config, out):
    stub.victim = start(stub, config, out)
    status = stub.victim.wait()
    if status != 0:
        raise SystemExit((out.parent / f"{out.name}.log").read_text("utf-8")[-3000:])


def measure(arguments):
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "arena.yaml"
        write_config(config, arguments)
        calm, killed = Stub(), Stub()
        began = time.monotonic()
        whole(calm, config, Path(folder) / "calm")
        seconds = time.monotonic() - began
        dead = []
        for number in range(arguments.kills):
            killed.victim = start(killed, config, Path(folder) / "killed")
            killed.kill_at = killed.calls + calm.calls // (arguments.kills + 1) + number
            killed.victim.wait()
            dead.append(killed.victim.returncode)
        killed.kill_at = None
        whole(killed, config, Path(folder) / "killed")
        reports = [(Path(folder) / name / "arena.json").read_bytes() for name in ("calm", "killed")]
        for stub in (calm, killed):
            stub.close()
        if arguments.keep:
            (Path(folder) / "killed").rename(arguments.keep)
        return {
            "systems": len(SYSTEMS),
            "cards": arguments.cards,
            "repeats": arguments.repeats,
            "calls, undisturbed": sum(calm.answered.values()),
            "calls, killed": sum(killed.answered.values()),
            "kills": sum(code == -signal.SIGKILL for code in dead),
            "answered twice": killed.beyond(calm),
            "same report": reports[0] == reports[1],
            "seconds, undisturbed": round(seconds, 1),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--keep", type=Path, help="folder that keeps the report of the killed run")
    parser.add_argument("--cards", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=16)
    figures = measure(parser.parse_args())
    arguments = parser.parse_args()
    print(common.table([figures], {name: (name, "") for name in figures}))
    common.write(arguments.out, **figures)


if __name__ == "__main__":
    main()
