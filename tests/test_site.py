"""The documentation site builds without a warning, holds what it promises, and asks no network for anything."""

import json
import os
import re
import subprocess
import sys
import zlib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

import cso_train
import mctsdialog
from cso_train.cli import main as training
from mctsdialog.cli import main as searching

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; it is built once."""
    if not os.environ.get("CI"):
        pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "default"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False, env=environment)
    told = [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line or "Abort" in line]
    assert done.returncode == 0, done.stderr[-3000:]
    assert not told, told
    return folder


class Page(HTMLParser):
    """What a page loads, where it leads, and what it says."""

    def __init__(self, file):
        super().__init__()
        self.loads, self.anchors, self.text = [], set(), []
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed", "object"):
            self.loads.append(values.get("src") or values.get("data") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(values.get("href") or "")

    def handle_data(self, data):
        self.text.append(data)


def words(file):
    return " ".join("".join(Page(file).text).split())


@pytest.mark.timeout(240)
def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        for address in Page(page).loads:
            assert "://" not in address, f"{page.name}: {address}"
            assert not address.startswith("//"), f"{page.name}: {address}"
    for style in site.rglob("*.css"):
        loaded = re.findall(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)", style.read_text("utf-8"))
        assert not loaded, f"{style.name}: {loaded}"
    for drawing in (ROOT / "docs").rglob("*.svg"):
        assert "href" not in drawing.read_text("utf-8")


@pytest.mark.timeout(240)
def test_every_public_name_is_in_the_reference(site):
    lines = zlib.decompress((site / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]).decode()
    listed = {line.split(" ")[0] for line in lines.splitlines()}
    for package in (mctsdialog, cso_train):
        for name in set(package.__all__) - {"__version__"}:
            module = getattr(package, name).__module__
            homes = {f"{each}.{name}" for each in (package.__name__, f"{package.__name__}.errors", module)}
            assert homes & listed, f"{package.__name__}.{name}"


def commands(command, path):
    """A command and all below it, with their names as typed."""
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, f"{path} {name}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("page", "main", "program"),
    [("mctsdialog", searching, "mctsdialog"), ("cso_train", training, "cso-train")],
)
def test_every_command_and_its_help_are_there(site, page, main, program):
    shown = words(site / "commands" / f"{page}.html")
    for path, command in commands(main, program):
        context = click.Context(command, info_name=path)
        usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
        assert usage in shown, path
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None:
                head, text = (" ".join(part.split()) for part in record)
                assert head in shown, f"{path}: {head}"
                assert text.split(" [")[0][:40] in shown, f"{path}: {head}"


@pytest.mark.timeout(240)
def test_the_schema_is_published_and_each_of_its_fields_explained(site):
    schema = json.loads((site / "tree.schema.json").read_text("utf-8"))
    assert schema == json.loads((ROOT / "docs" / "tree.schema.json").read_text("utf-8"))
    page = (ROOT / "docs" / "schema.md").read_text("utf-8")
    for name in schema["properties"]:
        assert f"`{name}`" in page, name
    kinds = ["root", "unexpanded", "expanded", "end"]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", page.split("## Nodes")[1], re.MULTILINE))
    fields = {kind: schema["$defs"][f"{kind.title()}Document"]["properties"] for kind in kinds}
    assert set(rows) == set().union(*fields.values())
    for name, where in rows.items():
        assert where == ("all" if name in ("type", "id") else ", ".join(kind for kind in kinds if name in fields[kind]))


@pytest.mark.timeout(240)
def test_the_site_names_no_place_of_this_machine(site):
    for page in site.rglob("*.html"):
        text = unescape(page.read_text("utf-8"))
        assert str(ROOT) not in text, page.name
        assert str(Path.home()) + "/" not in text, page.name
