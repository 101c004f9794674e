"""README, documentation and examples run as they stand."""

import gc
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner

from mctsdialog.cli import main
from mctsdialog.llm._http import HttpSessions

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


PAGES.append(ROOT / "examples" / "README.md")
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SCRIPTS = sorted((ROOT / "examples").glob("*.sh"))
TRAINING = ROOT / "examples" / "train_in_a_world.py"

sys.path.append(str(ROOT / "examples"))
import run_notebooks  # noqa: E402


def blocks(language):
    for page in PAGES:
        found = re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for number, block in enumerate(found):
            marks = [pytest.mark.model, pytest.mark.timeout(300)] if "LocalChat" in block else []
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}", marks=marks)


@pytest.fixture
def no_network(monkeypatch, stub_server):
    """Whatever server a model names, a stand-in on this machine answers."""
    init = HttpSessions.__init__

    def stand_in(self, url, *arguments, **options):
        init(
            self,
            url if url.host == "localhost" else httpx.URL(f"{stub_server.url}/chat/completions"),
            *arguments,
            **options,
        )

    monkeypatch.setattr(HttpSessions, "__init__", stand_in)
    return stub_server


@pytest.mark.parametrize("block", list(blocks("python")))
def test_python_blocks_run(block, tmp_path, monkeypatch, request, no_network):
    if request.node.get_closest_marker("model"):
        request.getfixturevalue("embedded_model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-example-of-no-one")
    exec(compile(block, request.node.name, "exec"), {"__name__": "__main__"})
    gc.collect()


def told(notebook):
    """The text of a notebook."""
    return "\n\n".join(cell.source for cell in run_notebooks.read(notebook).cells if cell.cell_type == "markdown")


def texts():
    """(where, text) of all that tells what to type: pages, notebooks, and scripts as blocks of the shell."""
    yield from ((page.name, page.read_text("utf-8")) for page in PAGES)
    yield from ((notebook.name, told(notebook)) for notebook in NOTEBOOKS)
    yield from ((script.name, f"```bash\n{script.read_text('utf-8')}```\n") for script in SCRIPTS)


def typed(text):
    """Our commands in a text, as (click group, words after it, the line).

    ``mctsdialog`` in shell blocks, ``cso_train`` wherever it is started; arrays of a script are put in their places.
    """
    from cso_train.cli import main as training

    text = text.replace("\\\n", " ").replace(".venv/bin/mctsdialog", "mctsdialog")
    for name, words in re.findall(r"^(\w+)=\((.*)\)$", text, re.MULTILINE):
        text = text.replace(f'"${{{name}[@]}}"', words)
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in re.findall(r"^ *mctsdialog .*$", block, re.MULTILINE):
            yield main, shlex.split(line, comments=True)[1:], line
        for line in re.findall(r"^ *cso-train .*$", block, re.MULTILINE):
            yield training, shlex.split(line, comments=True)[1:], line
    for line in re.findall(r"^.*-m(?:odule)? cso_train .*$", text, re.MULTILINE):
        after = re.split(r"-m(?:odule)? cso_train ", line, maxsplit=1)[1].split(" > ")[0].split("`")[0]
        yield training, shlex.split(after, comments=True), line


def unknown(command, words):
    """Options among the words that the command has not; KeyError for a command that is not there."""
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {word for word in words if word.startswith("--")} - options - {"--help"}


def test_the_domain_file_on_the_page_is_sound_and_shown_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "domains.md").read_text("utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    Path("care.json").write_text(block, "utf-8")
    done = CliRunner().invoke(main, ["domains", "care.json"])
    assert (done.exit_code, done.output) == (0, shown)


@pytest.mark.parametrize(("where", "text"), list(texts()), ids=[where for where, _ in texts()])
def test_commands_and_options_exist(where, text):
    for command, words, line in typed(text):
        assert not unknown(command, words), line


def test_a_command_or_option_that_does_not_exist_is_found():
    shell = 'A=(--data x --colour red)\nmctsdialog search a.json \\\n    --fast\ntorchrun -m cso_train train "${A[@]}"'
    text = f"```bash\n{shell}\n```"
    assert [unknown(command, words) for command, words, _ in typed(text)] == [{"--fast"}, {"--colour"}]
    ((command, words, _),) = typed("```bash\nmctsdialog serch a.json\n```")
    with pytest.raises(KeyError, match="serch"):
        unknown(command, words)


def test_every_script_has_commands_of_ours():
    assert SCRIPTS
    for where, text in texts():
        assert not where.endswith(".sh") or list(typed(text)), where


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_are_sound(script, tmp_path):
    bash = ["bash", "-n", str(script)]
    assert subprocess.run(bash, capture_output=True, text=True, timeout=20, check=False).stderr == ""
    environment = {"PATH": "/usr/bin:/bin", "VLLM_API_KEY": "x"}
    done = subprocess.run(
        [str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


def test_the_files_that_contributing_copies_from_exist():
    """``NAME`` stands for the new file, beside the one that is copied."""
    named = re.findall(
        r"`((?:mctsdialog|cso_train|tests|docs)/[\w/.]+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    )
    assert sum(name.endswith("/NAME.py") for name in named) == 4
    for name in named:
        path = ROOT / name
        assert path.parent.is_dir() if path.stem == "NAME" else path.is_file(), name


def test_make_targets_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for target in re.findall(r"^make ([a-z]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE):
        assert target in targets


def test_links_lead_somewhere():
    sources = [(page, page.read_text("utf-8")) for page in PAGES] + [(each, told(each)) for each in NOTEBOOKS]
    for page, text in sources:
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_option_has_help():
    for name, command in main.commands.items():
        assert command.help, name
        for option in command.params:
            assert isinstance(option, click.Argument) or option.help, f"{name} {option.name}"


def needs_model(notebook):
    return "LocalChat" in notebook.read_text("utf-8") or "smollm2" in notebook.read_text("utf-8")


def printed(content):
    """What each code cell prints or shows as text; progress lines, which tell times, aside."""
    return [
        "".join(
            output.get("text", "") + output.get("data", {}).get("text/plain", "")
            for output in cell.outputs
            if "iterations/s" not in output.get("data", {}).get("text/plain", "")
        )
        for cell in content.cells
        if cell.cell_type == "code"
    ]


def comparable(content):
    """What is printed; of a cell that trains no numbers or times, of those after it nothing: the processor decides."""
    sources = [cell.source for cell in content.cells if cell.cell_type == "code"]
    texts = printed(content)
    training = next((number for number, source in enumerate(sources) if "= train(" in source), len(sources))
    pace = r", \S+ s a step(, \d+:\d\d:\d\d left)?"
    cell = [re.sub(r"\d+\.\d+", "#", re.sub(pace, "", text)) for text in texts[training : training + 1]]
    return [*texts[:training], *cell]


def notebook_runs():
    for notebook in NOTEBOOKS:
        marks = [pytest.mark.timeout(400), *([pytest.mark.model] if needs_model(notebook) else [])]
        yield pytest.param(notebook, id=notebook.stem, marks=marks)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("notebook", list(notebook_runs()))
def test_notebooks_run(notebook, tmp_path, request):
    if request.node.get_closest_marker("model"):
        request.getfixturevalue("embedded_model")
    content = run_notebooks.execute(run_notebooks.read(notebook), tmp_path)
    if not request.node.get_closest_marker("model"):
        assert comparable(content) == comparable(run_notebooks.read(notebook)), (
            "what is saved is not what it prints now"
        )


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_saved_outputs_are_whole_and_tell_nothing_of_a_machine(notebook):
    content = run_notebooks.read(notebook)
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert content.metadata == run_notebooks.METADATA
    assert not any(cell.metadata for cell in content.cells)
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output.name for output in outputs if output.output_type == "stream"} <= {"stdout"}
    for output in outputs:
        data = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
        shown = json.dumps([output.get("text"), data])
        assert not re.search(r"/(home|root|tmp|work|usr|opt|var|mnt|Users|private)/|[A-Z]:\\\\", shown), shown[:500]
    assert len(notebook.read_bytes()) < 2**20


def test_examples_are_listed_in_their_readme():
    text = (ROOT / "examples" / "README.md").read_text("utf-8")
    files = {path.name for path in (*NOTEBOOKS, *SCRIPTS, TRAINING)}
    assert files == set(re.findall(r"\]\(([^)/]+\.(?:ipynb|sh|py))\)", text))


@pytest.mark.timeout(300)
def test_the_example_that_trains_runs_and_keeps_its_result(tmp_path):
    pytest.importorskip("trl")
    words = [sys.executable, str(TRAINING), "--small", "--out", str(tmp_path / "out")]
    texts = []
    for _ in range(2):
        done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        texts.append(done.stdout[done.stdout.index("True worth") :])
    assert done.stdout.startswith("from an earlier run")
    assert texts[0] == texts[1]
    assert len(re.findall(r"^  [+-]\d\.\d\d  \([+-]\d\.\d\d to [+-]\d\.\d\d\)  ", texts[0], re.MULTILINE)) == 3
    assert "after training on trees of the paper's search" in (tmp_path / "out" / "headline.txt").read_text("utf-8")


def test_the_examples_interval_takes_a_scenario_with_all_its_seeds():
    pytest.importorskip("trl")
    import train_in_a_world

    one, two = train_in_a_world.interval([[0.0, 1.0] * 20]), train_in_a_world.interval([[0.0, 1.0] * 20] * 2)
    assert one.value == two.value == 0.5
    assert two.high - two.low == pytest.approx(one.high - one.low, abs=0.05)  # twice the same tells no more
