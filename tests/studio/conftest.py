"""A studio on a few pairs, its client, and one that runs as the command."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="the extra 'studio' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'studio' is not installed")

from starlette.testclient import TestClient

from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.preferences import PreferenceConfig, PreferenceDataset, TreeRecord, system_prompt
from mctsdialog.preferences._record import RecordNode
from mctsdialog.studio import ReviewDesk, studio_app

TOKEN = "t0ken-of-the-tests"
HOST = "127.0.0.1:8765"
HOSTILE = (
    '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">\u202eevil\u202c & &lt; {{data}} '
    "\x1b[2J \u2028 ' \" \u0627\u0644\u0639 \U0001f600"
)


def made_dataset(domain, pairs=12, *, text="reply", hostile=False):
    """A dataset of trees with one turn each and up to two pairs, without a search."""
    names, records = domain.strategies.names, []
    extra = f" {HOSTILE}" if hostile else ""
    for number in range((pairs + 1) // 2):
        scenario = Scenario(scene=f"Work{extra}", description=f"Too much of it.{extra}", id=f"tree-{number}{extra}")
        opening = (Turn("seeker", f"I am tired of {number}.{extra}"),)
        nodes = [
            RecordNode(1, 0, names[0], f"Good {text} {number}.{extra}", None, 0.9, 9, False, "chosen", (0.9, 0.2)),
            RecordNode(2, 0, names[1], f"Poor {text} {number}.{extra}", None, 0.3, 2, False, "rejected", (0.6, 0.2)),
            RecordNode(3, 0, names[2], f"Bad {text} {number}.{extra}", None, -0.9, 2, False, "rejected", (-0.9, 0.2)),
        ]
        of = ((1, 2), (1, 3))[: 2 if 2 * number + 1 < pairs else 1]
        record = TreeRecord(scenario, domain.name, names, system_prompt(domain), opening, None, tuple(nodes), of)
        records.append(record)
    return PreferenceDataset(tuple(records), domain, PreferenceConfig())


@pytest.fixture
def dataset(domain_maker):
    return made_dataset(domain_maker())


@pytest.fixture
def file(tmp_path):
    return tmp_path / "reviews.jsonl"


@pytest.fixture
def desk(dataset, file):
    desk = ReviewDesk([dataset], file, twice=0.0)
    yield desk
    desk.close()


def client_of(app, **settings):
    client = TestClient(app, base_url=f"http://{HOST}", **settings)
    assert client.get("/", params={"token": TOKEN}).status_code == 200
    client.headers["origin"] = f"http://{HOST}"
    return client


@pytest.fixture
def client(desk):
    return client_of(studio_app(desk, token=TOKEN))


class Studio:
    """The command in a process of its own."""

    def __init__(self, *words):
        self.words = [str(word) for word in words]
        self.start()

    def start(self, *more):
        program = [sys.executable, "-u", "-m", "mctsdialog", "studio", *self.words, *more]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        self.process = subprocess.Popen(
            program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if found := re.search(r"Studio: (http://\S+:(\d+)/\?token=\S+)", line):
                self.address, self.port = found[1], found[2]
                self.root = self.address.partition("/?")[0]
                return self
        raise AssertionError("".join(lines))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture
def studios():
    """Starts studios; at the end all of them are ended."""
    started = []

    def start(*words):
        started.append(Studio(*words))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture
def browser(chromium):
    """One a test: playwright's loop runs for as long as it is open, and neither another one nor anyio can then run."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser):
    """Opens a page of a studio as a person of that name; no script may have failed and nothing asked elsewhere."""
    contexts, faults = [], []

    def opened(studio, path, name="Ana", *, width=1366, height=768, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        known = json.dumps(json.dumps(name))
        context.add_init_script(f"localStorage['studio-reviewer'] ??= {known}")
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message) or dialog.dismiss())
        page.on(
            "request", lambda request: request.url.startswith((studio.root, "data:,")) or faults.append(request.url)
        )
        page.on(
            "console",
            lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None,
        )
        page.goto(studio.address)
        page.goto(studio.root + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def until(page, expression, argument=None):
    """Waits for it to be true; the browser's own waiting evaluates text, which the pages' policy forbids."""
    for _ in range(500):
        if page.evaluate(expression, argument):
            return
        time.sleep(0.02)
    raise AssertionError(f"never true: {expression}; the page says: {page.inner_text('body')[:500]}")


@pytest.fixture(scope="session")
def kit():
    """What tests call."""
    return SimpleNamespace(
        until=until, client_of=client_of, made_dataset=made_dataset, HOSTILE=HOSTILE, TOKEN=TOKEN, HOST=HOST
    )
