"""Files that evaluation and settings are read from, made by somebody else: one clear line each."""

import csv
import io
import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cso_train import load_preset, resolve_config
from cso_train._callbacks import MetricsLog
from cso_train._curves import read_metrics
from cso_train._run.folder import finished_run
from cso_train.cli import main
from cso_train.errors import RunError, TrainConfigError, TrainDataError
from cso_train.evaluation import PairToJudge, ReplyToRate, evaluate_replies, read_test_set, rouge_l
from cso_train.evaluation._evaluate import join_tables, write_tables
from cso_train.evaluation._sheets import (
    SheetKey,
    items_of,
    read_pair_sheet,
    read_rating_sheet,
    write_pair_sheet,
    write_rating_sheet,
)
from mctsdialog.dialogue import ESC
from mctsdialog.errors import DataError

PAIRS = [PairToJudge((f"Seeker: {place}",), f"better {place}", "worse") for place in range(3)]
ITEMS = [ReplyToRate("a", (f"Seeker: {place}",), f"reply {place}") for place in range(3)]
PROMPT = [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
GOLD = {"strategy": "Emotional Validation", "text": "That is hard."}
ROW = {"id": "d/1", "prompt": PROMPT, "gold": GOLD, "replies": {"one": "(Plan) a", "two": "b"}}
NAMES = ESC.strategies.names


def refused(read, path):
    """The one short error that reading a file gives, beginning with its name; None where it reads."""
    try:
        read(path)
    except (TrainDataError, TrainConfigError, DataError) as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017
        return error
    return None


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets")
    write_pair_sheet(folder / "pairwise", PAIRS, {"use": "?"}, names=("x", "y"), seed=0)
    write_rating_sheet(folder / "rate", ITEMS, seed=0)
    return folder


@settings(max_examples=200)
@given(data=st.data(), kind=st.sampled_from(["pairwise", "rate"]))
def test_a_spoilt_key_is_one_error_or_a_key(sheets, spoilt, tmp_path_factory, data, kind):
    path = tmp_path_factory.mktemp("k") / "key.json"
    path.write_text(spoilt(data, json.loads((sheets / kind / "key.json").read_text())))

    def read(path):
        key = SheetKey.read(path, kind)
        items_of(key) if kind == "rate" else str(key.about["first"])

    refused(read, path)


@pytest.mark.parametrize("text", ["null", "[]", "3", '"x"', "[" * 20_000, "{}", '{"items": [{"place": Infinity}]}', ""])
def test_a_key_of_any_type_is_refused(tmp_path, text):
    path = tmp_path / "key.json"
    path.write_text(text)
    assert "this is no key of a sheet" in str(refused(lambda path: SheetKey.read(path, "rate"), path))


@settings(max_examples=150)
@given(data=st.data(), kind=st.sampled_from(["pairwise", "rate"]))
def test_a_spoilt_sheet_is_one_error_or_is_read(sheets, tmp_path_factory, data, kind):
    key = SheetKey.read(sheets / kind / "key.json", kind)
    rows = list(csv.reader(io.StringIO((sheets / kind / "sheet.csv").read_text("utf-8-sig"))))
    for _ in range(3):
        row = data.draw(st.sampled_from(rows), "row")
        cells = st.sampled_from(
            ["A", "tie", "5", "nan", "inf", "-1", "1e999", "x" * 200_000, "\x00", "", key.name(0), '"', "\n"]
        )
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(cells, "cell")
    del rows[data.draw(st.integers(0, len(rows) - 1))]
    path = tmp_path_factory.mktemp("s") / "sheet.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    refused(lambda path: (read_pair_sheet if kind == "pairwise" else read_rating_sheet)(path, key), path)


@settings(max_examples=200)
@given(data=st.data())
def test_a_spoilt_test_set_is_one_error_or_cases(spoilt, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("t") / "test.jsonl"
    path.write_text(spoilt(data, {"id": "d/1", "prompt": PROMPT, "gold": GOLD}) + "\n")
    refused(lambda path: read_test_set(path, ESC), path)


@settings(max_examples=100)
@given(data=st.data(), command=st.sampled_from(["pairwise", "rate"]))
def test_spoilt_replies_are_one_line_or_make_a_sheet(spoilt, tmp_path_factory, data, command):
    folder = tmp_path_factory.mktemp("r")
    path = folder / "replies.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + spoilt(data, ROW) + "\n")
    words = [command, "--replies", path, "--sheet", folder / "sheet"]
    words += ["--first", "one", "--second", "two"] if command == "pairwise" else []
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code in (0, 2), done.output
    assert done.exit_code == 0 or done.output.startswith("Error: ")
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "hi"}, "has no prompt and replies"),
        ({"prompt": [1]}, "row 1: prompt[0]: must be an object with role and content"),
        ({"prompt": [{"role": 1, "content": 1}]}, "row 1: prompt[0].role: must be"),
        ({"replies": {"one": 1, "two": "b"}}, "row 1: replies.one: must be a text"),
        ({"gold": {"text": 1}}, "row 1: gold: must have a text"),
    ],
)
def test_what_is_wrong_with_replies_is_named(tmp_path, change, message):
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({**ROW, **change}) + "\n")
    done = CliRunner().invoke(main, ["rate", "--replies", str(path), "--sheet", str(tmp_path / "s")])
    assert (done.exit_code, message in done.output) == (2, True), done.output


@settings(max_examples=200)
@given(data=st.data())
def test_a_spoilt_evaluation_is_one_error_or_a_table(spoilt, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("e")
    made = evaluate_replies([(NAMES[0], "a b"), (NAMES[1], "c")], [f"({NAMES[0]}) a", "?"], ESC.strategies, resamples=5)
    path = folder / "evaluation.json"
    path.write_text(spoilt(data, {"model": made.to_dict(), "other": made.to_dict()}))
    refused(lambda path: write_tables(folder / "out", join_tables([path]), resamples=3), path)


def test_an_evaluation_whose_parts_do_not_fit_is_named(tmp_path):
    made = evaluate_replies([(NAMES[0], "a b")], ["?"], ESC.strategies, resamples=0).to_dict()
    path = tmp_path / "evaluation.json"
    for change, message in (
        ({"confusion": [[1]]}, "strategy_f1, preferences and confusion"),
        ({"confusion": [[1]] * len(NAMES)}, "confusion: must have a row and a column"),
        ({"count": -1}, "m: is no evaluation.json of 'evaluate': count: "),
        ({"macro_f1": 3}, "macro_f1: Input should be an object"),
        ({"outcomes": made["outcomes"] * 2}, "outcomes: must be as many as count says"),
        ({"outcomes": [{**made["outcomes"][0], "gold": "Sing"}]}, "outcomes[0]: names a strategy that is none"),
    ):
        path.write_text(json.dumps({"m": {**made, **change}}))
        assert message in str(refused(lambda path: join_tables([path]), path))


def test_rouge_of_texts_without_end_is_bounded_and_right_for_those_with():
    assert rouge_l("a " * 500_000, "a b " * 250_000) == pytest.approx(0.5)
    assert rouge_l(" ".join(map(str, range(150_000))), " ".join(map(str, range(150_000)))) == 1.0


YAML = [
    "a: &a [*a]",
    "&a [*a]",
    "? a",
    "<<: {a: 1}",
    "- a\n" * 1000,
    "a: " * 1000,
    "[" * 50_000,
    "!!python/object/apply:os.system [x]",
    "epochs: 0x" + "f" * 5000,
    "epochs: " + "1:" * 30_000 + "1",
    "epochs: " + "9" * 5000,
    "epochs: 2001-99-99",
    "epochs: .inf",
    "epochs: [" + "1," * 10_000 + "]",
    "epochs: !!binary 1",
    "beta: 1e999",
    'model: "\\ud800"',
    "model: \x00",
    "!!bool x: 1",
    "model: !!bool x",
    "model: !!timestamp x",
    "epochs: !!int ''",
]


@settings(max_examples=100)
@given(text=st.text("ab:1.5[]{}&*!<>-?,'\"|%@`#\n \t_", max_size=60) | st.sampled_from(YAML))
def test_settings_of_any_kind_are_one_error_or_settings(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("y") / "run.yaml"
    path.write_text(text, "utf-8")
    refused(lambda path: resolve_config(None, path).to_yaml(), path)


def test_a_file_of_settings_has_a_bounded_size(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("#" * 300_000)
    assert "a file of settings has 262144 at most" in str(refused(lambda path: resolve_config(None, path), path))
    assert "home" in str(refused(lambda path: resolve_config(None, "~nobody-of-that-name/run.yaml"), "~nobody"))


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", '{"a": Infinity}', "\xff", ""])
def test_a_model_folder_with_a_strange_config_fits_no_preset(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    assert not load_preset("llama3.1-8b-lora-dpo").fits(str(tmp_path))


LINES = [
    '{"step": 1e400}',
    "[" * 9000,
    '{"step": true}',
    '{"step": "1"}',
    '{"step": 1, "loss": 1' + "0" * 400 + "}",
    "[1]",
]


@pytest.mark.parametrize("text", [b"\xff\xfe\n", *(f"{line}\n".encode() for line in LINES)])
def test_a_log_of_metrics_of_any_kind_goes_on(tmp_path, text):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 2.0}\n' + text)
    state = SimpleNamespace(is_world_process_zero=True, global_step=1, epoch=1.0)
    MetricsLog(path).on_train_begin(None, state, None)
    assert path.read_text("utf-8") == '{"step": 1, "loss": 2.0}\n'
    assert read_metrics(path) == {"loss": [(1, 2.0)]}


@pytest.mark.parametrize(
    "manifest",
    [
        '{"steps": 1e400, "loss": 1}',
        '{"steps": "3", "loss": 1}',
        '{"steps": 3, "loss": "1"}',
        '{"steps": 3, "loss": true}',
        '{"steps": 3, "loss": [1]}',
        '{"steps": 3, "loss": 1' + "0" * 400 + "}",
        '{"steps": 3}',
        "[]",
    ],
)
def test_a_manifest_with_wrong_types_is_one_error(tmp_path, manifest):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(RunError, match=r"its manifest cannot be read.*--restart trains again"):
        finished_run(tmp_path, {})
    (tmp_path / "manifest.json").write_text('{"steps": 3, "loss": null}')
    found = finished_run(tmp_path, {})
    assert (found.steps, found.loss) == (3, None)
    assert str(found) == f"3 steps, nothing was left to train, model in {tmp_path / 'model'}"
