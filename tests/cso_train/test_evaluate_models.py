"""Which model is evaluated: adapters by themselves, a revision, a number format; and what a run says of its data."""

import json

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train import TrainedSupporter, resolve_config, train  # noqa: E402
from cso_train._models import ModelSource, load_for_answers  # noqa: E402
from cso_train.cli import main  # noqa: E402
from cso_train.errors import TrainDataError, TrainModelError  # noqa: E402
from cso_train.evaluation._contexts import TestCase as Case  # noqa: E402
from cso_train.evaluation._contexts import write_test_set  # noqa: E402
from mctsdialog import get_domain  # noqa: E402

pytestmark = [pytest.mark.timeout(200), pytest.mark.filterwarnings("ignore")]


def settings(folder, data, out, **more):
    values = {"model": str(folder), "data": str(data), "output_dir": str(out), "max_steps": 2, "batch_size": 4}
    return values | {"max_length": 256, "max_completion_tokens": 64, "learning_rate": 0.05, "packing": "none"} | more


@pytest.fixture(scope="module")
def run(tiny_folder, preference_file, tmp_path_factory):
    """A finished run of adapters."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert train(
        resolve_config(None, None, settings(tiny_folder, preference_file, out)), say=lambda line: None
    ).finished
    return out


@pytest.fixture(scope="module")
def test_file(tmp_path_factory):
    prompt = ({"role": "system", "content": "Listen."}, {"role": "user", "content": "I am tired."})
    cases = [Case(f"d/{place}", prompt, "Affirmation", "You do well.") for place in range(3)]
    return write_test_set(tmp_path_factory.mktemp("test") / "test.jsonl", cases)


def evaluated(test_file, out, *words):
    options = ["--no-figures", "--max-tokens", "8", "--max-length", "400", "--resamples", "5", "--out", str(out)]
    done = CliRunner().invoke(main, ["evaluate", "--test", str(test_file), *map(str, words), *options])
    rows = out / "replies.jsonl"
    return done, json.loads(rows.read_text("utf-8").splitlines()[0])["replies"] if rows.exists() else {}


def test_a_folder_of_adapters_finds_its_base(run, tiny_folder, test_file, tmp_path):
    done, alone = evaluated(test_file, tmp_path / "one", "--model", run / "model")
    assert done.exit_code == 0, done.output
    done, beside = evaluated(test_file, tmp_path / "two", "--model", tiny_folder, "--adapter", run / "model")
    assert done.exit_code == 0, done.output
    assert list(alone.values()) == [beside[str(run / "model")]]
    assert alone[str(run / "model")] != beside[str(tiny_folder)]
    assert load_for_answers(str(run / "model"))[0].peft_config
    assert TrainedSupporter.load(str(run / "model"), get_domain("esc"), max_tokens=4)


@pytest.mark.parametrize(
    ("content", "match"),
    [("{", "names no base model"), ("{}", "names no base model"), ('{"base_model_name_or_path": "./gone"}', "no such")],
)
def test_adapters_without_a_base_are_one_error(tmp_path, content, match):
    (tmp_path / "adapter_config.json").write_text(content, "utf-8")
    with pytest.raises(TrainModelError, match=match):
        ModelSource.of(str(tmp_path))


def test_adapters_of_adapters_are_refused(run, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(run / "model")}), "utf-8")
    with pytest.raises(TrainModelError, match="is adapters too"):
        ModelSource.of(str(tmp_path))


@pytest.mark.parametrize(("dtype", "kind"), [("bf16", torch.bfloat16), ("fp32", torch.float32), ("auto", None)])
def test_the_number_format_is_chosen(tiny_folder, dtype, kind):
    on_gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    model, _ = load_for_answers(str(tiny_folder), dtype=dtype)
    assert model.dtype == (kind or (torch.bfloat16 if on_gpu else torch.float32))


def test_the_command_passes_on_how_a_model_is_loaded(monkeypatch, tiny_folder, test_file, tmp_path):
    seen = {}

    def load(name, **options):
        seen.update(options)
        return load_for_answers(name)

    monkeypatch.setattr("cso_train.cli._evaluate.load_for_answers", load)
    words = ["--model", tiny_folder, "--revision", "v1", "--trust-remote-code", "--dtype", "bf16"]
    done, _ = evaluated(test_file, tmp_path, *words)
    assert done.exit_code == 0, done.output
    assert seen == {"revision": "v1", "trust_remote_code": True, "dtype": "bf16"}


@pytest.mark.parametrize("words", ["[1]", "{", '{"enable_thinkin": true}'])
def test_settings_of_the_template_are_checked(tiny_folder, test_file, tmp_path, words):
    done, _ = evaluated(test_file, tmp_path, "--model", tiny_folder, "--chat-template-kwargs", words)
    assert done.exit_code == 2
    assert "chat_template_kwargs" in done.output or "--chat-template-kwargs" in done.output


def test_a_server_gets_the_settings_of_the_template(stub_server, test_file, tmp_path):
    words = ["--model", f"stub@{stub_server.url}", "--chat-template-kwargs", '{"enable_thinking": false}']
    done, _ = evaluated(test_file, tmp_path, *words)
    assert done.exit_code == 0, done.output
    assert all(each["chat_template_kwargs"] == {"enable_thinking": False} for each in stub_server.requests)


# -- what a run says of its data --------------------------------------------------------------------------------------


def dialogue(number):
    """A long dialogue whose beginning a small context cuts off."""
    turns = [{"role": "system", "content": "Choose a strategy."}]
    for turn in range(5):
        turns.append({"role": "user", "content": f"I am tired of case {number}, and this is turn {turn} of it."})
        turns.append({"role": "assistant", "content": f"(Affirmation) You do well, case {number} turn {turn}."})
    rejected = [{"role": "assistant", "content": "(Share Information) Do better."}]
    return {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": rejected}


def test_leakage_is_found_though_prompts_are_cut(tiny_folder, tmp_path):
    rows = [dialogue(number) for number in range(4)]
    files = [tmp_path / "train.jsonl", tmp_path / "test.jsonl"]
    for file, part in zip(
        files, (rows, [{**row, "rejected": [rows[0]["chosen"][0]]} for row in rows[2:]]), strict=True
    ):
        file.write_text("".join(json.dumps(row) + "\n" for row in part), "utf-8")
    lines = []
    given = settings(tiny_folder, files[0], tmp_path / "run", eval_data=str(files[1]), max_steps=1, max_length=120)
    train(resolve_config(None, None, given), say=lines.append)
    assert "warning: 4 prompts cut from their oldest turns" in lines
    assert "warning: 2 evaluation rows are of dialogues that are trained on; split by seed dialogue" in lines


def test_no_row_that_fits_is_told_before_a_model_is_loaded(tiny_folder, preference_file, tmp_path, monkeypatch):
    monkeypatch.setattr("cso_train._run.training.make_trainer", lambda *given: pytest.fail("a model is loaded"))
    given = settings(tiny_folder, preference_file, tmp_path / "run", max_completion_tokens=2)
    with pytest.raises(TrainDataError, match="16 rows left out with a reply longer"):
        train(resolve_config(None, None, given), say=lambda line: None)


def test_sft_trains_on_long_dialogues_whole(tiny_folder, tmp_path):
    turns = [{"role": "user", "content": "I am tired."}]
    for turn in range(40):
        turns += [
            {"role": "assistant", "content": f"(Affirmation) You do well in turn {turn}, and I mean it."},
            {"role": "user", "content": f"Do I, in turn {turn}, though I am so tired?"},
        ]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"messages": turns[:-1]}) + "\n", "utf-8")
    given = settings(tiny_folder, file, tmp_path / "run", method="sft", max_length=4000, max_steps=1, batch_size=1)
    from cso_train._run.prepare import prepare
    from cso_train._run.training import make_trainer

    config = resolve_config(None, None, given).config
    trainer, _ = make_trainer(prepare(config, lambda line: None), tmp_path / "run")
    assert len(trainer.train_dataset[0]["input_ids"]) > 1024
