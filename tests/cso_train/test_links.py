"""Folders of runs and evaluations: nothing is written or removed through a link in them."""

import json
from types import SimpleNamespace

import pytest

from cso_train._callbacks import MetricsLog
from cso_train._curves import save_curves
from cso_train._run.folder import claim
from cso_train.errors import RunError
from cso_train.evaluation import write_rating_sheet, write_report
from cso_train.packing._reference import save_table
from mctsdialog.errors import DataError

IDENTITY = {"config": {}, "data": "x", "world_size": 1}
RESOLVED = SimpleNamespace(to_yaml=lambda: "a: 1\n")


@pytest.fixture
def victim(tmp_path):
    folder = tmp_path / "victim"
    (folder / "checkpoint-1").mkdir(parents=True)
    (folder / "important.txt").write_text("mine")
    yield folder
    assert (folder / "important.txt").read_text() == "mine"
    assert {path.name for path in folder.iterdir()} == {"checkpoint-1", "important.txt"}


NAMES = ["checkpoints", "model", "merged", ".model.part", "checkpoints/checkpoint-9", "checkpoints/checkpoint-1/x.pt"]
NAMES += [
    "run.json",
    "config.yaml",
    "manifest.json",
    "metrics.jsonl",
    "curves.png",
    "checkpoints/reference.safetensors",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("restart", [False, True])
def test_a_run_refuses_links_in_its_folder(tmp_path, victim, name, restart):
    out = tmp_path / "out"
    claim(out, IDENTITY, RESOLVED, restart=False)
    link = out / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(victim if "." not in name.strip(".") else victim / "important.txt")
    with pytest.raises(RunError, match="symbolic link"):
        claim(out, IDENTITY, RESOLVED, restart=restart)
    assert link.is_symlink()


def test_restart_removes_what_a_run_has_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    claim(out, IDENTITY, RESOLVED, restart=False)
    for name in ("checkpoints/checkpoint-1", "model", "notes"):
        (out / name).mkdir(parents=True)
        (out / name / "x").write_text("x")
    (out / "metrics.jsonl").write_text("")
    with pytest.raises(RunError, match="holds other files"):
        claim(out, IDENTITY, RESOLVED, restart=True)
    assert [path.name for path in out.iterdir()] == ["notes"]


def test_a_kill_between_its_first_files_leaves_a_folder_that_can_be_used(tmp_path):
    out = tmp_path / "out"
    claim(out, IDENTITY, RESOLVED, restart=False)
    (out / "config.yaml").unlink()
    claim(out, IDENTITY, RESOLVED, restart=False)
    assert (out / "config.yaml").read_text() == "a: 1\n"
    other = tmp_path / "other"
    other.mkdir()
    (other / ".run.json.0123456789abcdef.tmp").write_text("{")
    claim(other, IDENTITY, RESOLVED, restart=False)
    assert json.loads((other / "run.json").read_text()) == IDENTITY
    assert len(list(other.iterdir())) == 2


def report(folder):
    return write_report(folder, {}, {}, [])


def sheet(folder):
    return write_rating_sheet(folder, [], seed=0)


def metrics(folder):
    state = SimpleNamespace(is_world_process_zero=True, global_step=1, epoch=1.0)
    return MetricsLog(folder / "metrics.jsonl").on_log(None, state, None, {"loss": 1.0})


def begin(folder):
    state = SimpleNamespace(is_world_process_zero=True, global_step=1, epoch=1.0)
    return MetricsLog(folder / "metrics.jsonl").on_train_begin(None, state, None)


def curves(folder):
    pytest.importorskip("matplotlib")
    (folder / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "loss": 1.0}\n')
    return save_curves(folder / "metrics.jsonl", folder / "curves.png")


def table(folder):
    return save_table(folder / "reference.safetensors", {}, "key")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (report, "replies.jsonl"),
        (sheet, "sheet.csv"),
        (sheet, "key.json"),
        (metrics, "metrics.jsonl"),
        (begin, "metrics.jsonl"),
        (curves, "curves.png"),
        (table, "reference.safetensors"),
    ],
)
def test_nothing_is_written_through_a_link(tmp_path, victim, write, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).symlink_to(victim / "important.txt")
    with pytest.raises(DataError, match="symbolic link"):
        write(out)
    assert (out / name).is_symlink()
