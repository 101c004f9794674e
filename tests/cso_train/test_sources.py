"""A mistake on the command line of ``train`` is one clear line and exit code 2, before torch is imported."""

import subprocess
import sys

import httpx
import pytest
from click.testing import CliRunner

huggingface_hub = pytest.importorskip("huggingface_hub")
from huggingface_hub.errors import RepositoryNotFoundError  # noqa: E402

from cso_train.cli import main  # noqa: E402

ROW = '{"prompt": "Hello.", "chosen": "(Affirmation) Good.", "rejected": "(Question) Why?"}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text(ROW, "utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.yaml").write_text("method: dpo\nlearning_rat: 1e-5\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(*words):
    """The one line that a command ends with."""
    done = CliRunner().invoke(main, ["train", *words])
    assert done.exit_code == 2, done.output
    (line,) = [each for each in done.stderr.splitlines() if not each.startswith(("Usage:", "Try "))]
    return line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--data rows.jsonl --model ./absent", "./absent: there is no such file or folder"),
        ("--data rows.jsonl --model empty", "empty: this folder holds no model: config.json is missing"),
        ("--data empty", "empty: this folder holds no data; make some with: mctsdialog preferences TREES"),
        ("--data absent.jsonl", "absent.jsonl: there is no such file or folder"),
        ("--data rows.jsonl --eval-data absent", "absent: there is no such file or folder"),
        ("", "there is no data to train on; give --data"),
        ("--data rows.jsonl --method dpoo", "method: Input should be"),
        ("--data rows.jsonl --method orpo --gamma 0.5", "gamma: orpo does not use it"),
        ("--data rows.jsonl --method distill --packing none", "take packing tree"),
        (
            "--data rows.jsonl --config bad.yaml",
            "bad.yaml:2: unknown setting 'learning_rat'; did you mean 'learning_rate'?",
        ),
        ("--data rows.jsonl --preset llama", "llama"),
    ],
)
def test_a_mistake_is_one_line(folder, words, line):
    assert line in told(*words.split())
    assert not (folder / "cso-train-output").exists()


def response(status, *, code=None):
    headers = {} if code is None else {"X-Error-Code": code}
    return httpx.Response(status, headers=headers, request=httpx.Request("GET", "https://hub.example/"))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RepositoryNotFoundError("no", response=response(404, code="RepoNotFound")),
            "no such model on the Hugging Face",
        ),
        (httpx.ConnectError("no route"), "the Hugging Face hub cannot be reached; check the name and the network"),
        (httpx.ReadTimeout("slow"), "the Hugging Face hub cannot be reached"),
    ],
)
def test_the_hub_is_asked_once(folder, monkeypatch, error, line):
    asked = []

    def info(self, name, **_):
        asked.append(name)
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    text = told("--data", "rows.jsonl", "--model", "nobody/model-of-no-one")
    assert line in text
    assert text.startswith("Error: nobody/model-of-no-one: there is no such folder")
    assert asked == ["nobody/model-of-no-one"]


def test_a_mistake_is_told_before_torch_is_imported(folder):
    code = (
        "import sys\nfrom cso_train.cli import main\n"
        "try:\n    main(['train', '--data', 'empty'], standalone_mode=True)\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=110)
    assert done.stdout.strip() == "2 False False"
