"""Settings that are passed on to TRL and peft, adapters that are trained on, longer runs, several data sets."""

import importlib.util
import json

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train import RunError, TrainConfig, TrainConfigError, load_preset, resolve_config, train  # noqa: E402
from cso_train._config import our_preset_names, preset_names  # noqa: E402
from cso_train._data import data_paths, load_sets  # noqa: E402
from cso_train._deepspeed import ParameterCount, Plan, memory_estimate  # noqa: E402
from cso_train._run.prepare import prepare  # noqa: E402
from cso_train._run.training import make_trainer  # noqa: E402
from cso_train.cli import main  # noqa: E402
from cso_train.errors import TrainDataError  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the libraries' own warnings


@pytest.fixture
def given(tiny_folder, preference_file, tmp_path):
    """The settings of a short run, more of them or others by name."""

    def given(out="run", **more):
        values = {"model": str(tiny_folder), "data": str(preference_file), "output_dir": str(tmp_path / out)}
        values |= {"max_length": 256, "max_completion_tokens": 64, "batch_size": 4, "max_steps": 2, "logging_steps": 1}
        return resolve_config(None, None, values | {"learning_rate": 1e-2, "packing": "none"} | more)

    return given


def finished(resolved, **options):
    lines = []
    result = train(resolved, say=lines.append, **options)
    assert result.finished
    return result, lines


def made(resolved, tmp_path):
    return make_trainer(prepare(resolved.config, lambda line: None), tmp_path / "made")[0]


def logged(result):
    return [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text("utf-8").splitlines()]


# -- TRL --------------------------------------------------------------------------------------------------------------


def test_fields_of_trls_config_are_passed_on_and_recorded(given, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("trainer:\n  optim: adafactor\n  adam_beta2: 0.95\n  ld_alpha: 0.5\n", "utf-8")
    values = given().config.model_dump(exclude_none=True, exclude={"precompute_reference"})
    resolved = resolve_config(None, file, values)
    args = made(resolved, tmp_path).args
    assert (args.optim, args.adam_beta2, args.ld_alpha) == ("adafactor", 0.95, 0.5)
    result, _ = finished(resolved)
    manifest = json.loads((result.folder / "manifest.json").read_text("utf-8"))
    assert manifest["config"]["trainer"] == {"optim": "adafactor", "adam_beta2": 0.95, "ld_alpha": 0.5}
    again = tmp_path / "again.yaml"
    again.write_text(resolved.to_yaml(), "utf-8")
    assert resolve_config(None, again, {}).config == resolved.config


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"optimm": "adamw_torch"}, r"trainer\.optimm: DPOConfig has no such field; did you mean 'optim'"),
        ({"optim": "no-such"}, "trainer: DPOConfig refuses it"),
        ({"gradient_accumulation_steps": 2}, "is decided by batch_size"),
        ({"learning_rate": 1.0}, "is decided by learning_rate"),
        ({"beta": 1.0}, "is decided by beta"),
        ({"group_by_length": True}, "batch_size decides how rows are drawn"),
        ({"hub_token": "secret"}, "environment variable HF_TOKEN"),
        ({"early_stopping_patience": 2}, "needs load_best_model_at_end"),
        ({"early_stopping_patience": "x", "load_best_model_at_end": True}, "must be a number"),
    ],
)
def test_fields_that_are_not_trls_or_that_settings_decide_are_refused(given, tmp_path, fields, match):
    with pytest.raises(TrainConfigError, match=match) as caught:
        made(given(trainer=fields, eval_fraction=0.25), tmp_path)
    assert caught.value.field == "trainer"


@pytest.mark.parametrize(
    ("fields", "package"),
    [
        ({"report_to": "mlflow"}, "mlflow"),
        ({"report_to": ["none", "wandb"]}, "wandb"),
        ({"use_liger_kernel": True}, "liger_kernel"),
        ({"optim": "adamw_8bit"}, "bitsandbytes"),
    ],
)
def test_packages_that_fields_need_are_looked_for_before_a_model_is_loaded(given, monkeypatch, fields, package):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == package else found(name, *more))
    with pytest.raises(TrainConfigError, match=f"{package} is not installed"):
        prepare(given(trainer=fields).config, lambda line: None)


def test_what_changes_the_loss_is_not_for_trees(given, tmp_path):
    with pytest.raises(TrainConfigError, match="without ld_alpha; take packing none"):
        prepare(given(trainer={"ld_alpha": 0.5}, packing="tree").config, lambda line: None)
    assert prepare(given(trainer={"ld_alpha": 0.5}, packing="auto").config, lambda line: None).config.packing == (
        "none"
    )
    on_trees = prepare(given(trainer={"optim": "adafactor"}, packing="tree").config, lambda line: None)
    assert on_trees.config.packing == "tree"


@pytest.mark.parametrize("packing", ["none", "tree"])
def test_a_run_stops_early_and_keeps_its_best_checkpoint(given, packing):
    trainer = {"load_best_model_at_end": True, "early_stopping_patience": 1, "early_stopping_threshold": 100.0}
    more = {"eval_fraction": 0.25, "eval_steps": 1, "save_steps": 1, "max_steps": 6, "packing": packing}
    result, _ = finished(given(trainer=trainer, **more))
    assert result.steps == 2  # nothing is better by 100
    assert [entry["eval_loss"] for entry in logged(result) if "eval_loss" in entry]


# -- peft -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["none", "tree"])
@pytest.mark.parametrize("fields", [{"use_dora": True}, {"use_rslora": True, "r": 4, "target_modules": ["q_proj"]}])
def test_fields_of_pefts_config_are_passed_on(given, fields, packing):
    result, _ = finished(given(lora=fields, packing=packing))
    saved = json.loads((result.folder / "model" / "adapter_config.json").read_text("utf-8"))
    for name, value in fields.items():
        assert saved[name] == value
    assert {entry["loss"] for entry in logged(result) if "loss" in entry}


def test_peft_names_stand_for_settings_of_ours():
    config = TrainConfig(lora={"r": 4, "lora_dropout": 0.1, "target_modules": "all-linear"})
    assert (config.lora, config.lora_rank, config.lora_dropout) == (True, 4, 0.1)
    assert config.lora_targets == ("all-linear",)
    assert TrainConfig(lora={}).lora is True
    assert resolve_config(None, None, {"lora": '{"use_dora": true}'}).config.lora == {"use_dora": True}
    with pytest.raises(TrainConfigError, match="lora_rank: is given twice"):
        TrainConfig(lora={"r": 4}, lora_rank=8)
    with pytest.raises(TrainConfigError, match="lora_rank"):
        TrainConfig(lora={"r": "four"})


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"use_doora": True}, r"lora\.use_doora: is no field of peft's LoraConfig to set; did you mean 'use_dora'"),
        ({"task_type": "SEQ_CLS"}, r"lora\.task_type"),
        ({"init_lora_weights": True, "layers_pattern": "x"}, "lora: peft refuses it"),
    ],
)
def test_fields_that_peft_does_not_take_are_refused(given, fields, match):
    with pytest.raises(TrainConfigError, match=match) as caught:
        prepare(given(lora=fields).config, lambda line: None)
    assert caught.value.field == "lora"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_quantised_model_needs_a_gpu(given):
    with pytest.raises(TrainConfigError, match="a model is quantised on a GPU; there is none here"):
        prepare(given(lora={"quantization": {"load_in_4bit": True}}).config, lambda line: None)


@pytest.mark.parametrize(("bits", "bytes_of_each"), [("load_in_4bit", 0.6), ("load_in_8bit", 1.2)])
def test_a_quantised_model_needs_less_memory(bits, bytes_of_each):
    plan = Plan(None, "bf16", "bf16", True, 1, 1, 4, 8)
    count = ParameterCount(total=1000, trainable=10, largest=100)
    config = TrainConfig(lora={"quantization": {bits: True}}).resolve()
    assert memory_estimate(count, config, plan).parts["frozen"] == bytes_of_each * 1000
    assert memory_estimate(count, TrainConfig().resolve(), plan).parts["frozen"] == 2 * 1000


def test_presets_take_fields_of_peft():
    name = "llama3.1-8b-lora-dpo"
    config = resolve_config(name, None, {"lora": {"use_dora": True}}).config
    assert (config.lora, config.beta) == ({"use_dora": True}, 0.01)


# -- adapters that are trained on -------------------------------------------------------------------------------------


@pytest.fixture
def sft_run(given, sft_file):
    return finished(given("sft", method="sft", data=str(sft_file), max_steps=4, learning_rate=0.05))[0].folder


@pytest.mark.parametrize("packing", ["none", "tree"])
@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_dpo_goes_on_with_the_adapters_of_sft(given, sft_run, tiny_folder, method, packing):
    resolved = given(method, method=method, model=str(sft_run / "model"), packing=packing)
    result, _ = finished(resolved)
    first = next(entry for entry in logged(result) if "loss" in entry)
    if method == "dpo":  # the reference is the model after sft, not before
        assert first["loss"] == pytest.approx(0.6931, abs=1e-3)
        assert first["rewards/margins"] == pytest.approx(0, abs=1e-3)
    saved = sorted(path.name for path in (result.folder / "model").iterdir())
    assert "adapter_config.json" in saved
    assert "ref" not in saved
    about = json.loads((result.folder / "model" / "adapter_config.json").read_text("utf-8"))
    assert about["base_model_name_or_path"] == str(tiny_folder)


def test_adapters_are_not_trained_on_whole(given, sft_run):
    with pytest.raises(TrainConfigError, match=r"are adapters: train them on with lora, or merge them first"):
        prepare(given(model=str(sft_run / "model"), lora=False).config, lambda line: None)


# -- longer runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["none", "tree"])
def test_a_finished_run_is_trained_on(given, packing):
    finished(given(max_steps=2, packing=packing))
    longer = given(max_steps=4, packing=packing)
    with pytest.raises(RunError, match="--extend trains it on to those"):
        train(longer, say=lambda line: None)
    with pytest.raises(RunError, match="holds another run"):
        train(given(max_steps=4, packing=packing, beta=0.5), say=lambda line: None, extend=True)
    result, lines = finished(longer, extend=True)
    assert result.steps == 4
    assert any(line.startswith("resuming from") for line in lines)
    assert [entry["step"] for entry in logged(result) if "loss" in entry] == [1, 2, 3, 4]
    assert "this run is finished" in "".join(finished(longer, extend=True)[1])


# -- several data sets ------------------------------------------------------------------------------------------------


def rows_file(path, *numbers):
    rows = [
        {
            "prompt": [{"role": "user", "content": f"I am number {number}."}],
            "chosen": [{"role": "assistant", "content": "(Affirmation) Good."}],
            "rejected": [{"role": "assistant", "content": "(Share Information) Bad."}],
        }
        for number in numbers
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_rows_of_several_data_sets_count_as_often_as_their_weights(tmp_path):
    one, other = rows_file(tmp_path / "one.jsonl", *range(4)), rows_file(tmp_path / "other.jsonl", 3, 10, 11, 12)

    def counted(weights):
        data = load_sets([one, other], "preference", weights, seed=0)
        prompts = [row["prompt"][0]["content"] for row in data.rows]
        return data, [sum(f"number {number}." in each for each in prompts) for number in (0, 3, 10)]

    data, counts = counted([2, 1])
    assert (len(data.rows), counts) == (8 + 3, [2, 2, 1])
    assert data.warnings["rows left out that an earlier data set has"] == 1
    assert len(counted([0.5, 0])[0].rows) == 2
    assert counted([1.5, 1])[0].rows == counted([1.5, 1])[0].rows
    assert len(load_sets([one, other], "preference").rows) == 7
    with pytest.raises(TrainDataError, match="1 weights for 2 data sets"):
        load_sets([one, other], "preference", [1])


def test_several_data_sets_are_named_by_a_list_or_with_commas(given, tmp_path):
    one, other = rows_file(tmp_path / "one.jsonl", *range(4)), rows_file(tmp_path / "other.jsonl", 10, 11)
    assert data_paths(f"{one},{other}") == (one, other) == data_paths((one, other))
    odd = rows_file(tmp_path / "a,b.jsonl", 1)
    assert data_paths(odd) == (odd,)
    for named in (f"{one}, {other}", [one, other]):
        prepared = prepare(given(data=named, data_weights="1,2").config, lambda line: None)
        assert len(prepared.train.rows) == 4 + 4
    result, _ = finished(given(data=[one, other], data_weights=[1, 2], packing="tree"))
    assert json.loads((result.folder / "manifest.json").read_text("utf-8"))["data"]["rows"] == 8


@pytest.mark.parametrize(
    ("weights", "match"), [([-1, 1], "0 or more"), ([0, 0], "all weights are 0"), ([1], "1 weights for 2 data sets")]
)
def test_weights_are_checked(weights, match):
    with pytest.raises(TrainConfigError, match=match):
        TrainConfig(data=("a", "b"), data_weights=tuple(map(float, weights)))


# -- the hub ----------------------------------------------------------------------------------------------------------


def test_a_model_is_pushed_with_its_card(given, monkeypatch):
    pushed = {}

    class Hub:
        def create_repo(self, name, *, private, exist_ok):
            pushed["repository"] = (name, private, exist_ok)

        def upload_folder(self, *, repo_id, folder_path):
            pushed["files"] = sorted(path.name for path in __import__("pathlib").Path(folder_path).iterdir())

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    _, lines = finished(given(push_to_hub="me/my-model"))
    assert pushed["repository"] == ("me/my-model", True, True)
    assert {"README.md", "adapter_model.safetensors", "tokenizer.json"} <= set(pushed["files"])
    assert lines[-1] == "pushed to https://huggingface.co/me/my-model"


@pytest.mark.parametrize(
    ("name", "token", "match"), [("me", "t", "OWNER/NAME"), ("me/it", None, "nobody is logged in")]
)
def test_a_push_that_cannot_be_is_refused_before_training(given, monkeypatch, name, token, match):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    with pytest.raises(TrainConfigError, match=match):
        train(given(push_to_hub=name), say=lambda line: None)


# -- presets and help -------------------------------------------------------------------------------------------------


def test_presets_of_newer_models_are_marked_as_ours():
    assert not set(our_preset_names()) & set(preset_names())
    assert all(load_preset(name).ours for name in our_preset_names())
    ours, papers = load_preset("qwen3-4b-lora-dpo"), load_preset("qwen2.5-7b-lora-dpo")
    assert {**ours.values, "model": 0} == {**papers.values, "model": 0}
    assert ours.fits("Qwen/Qwen3-4B")
    assert not ours.fits("Qwen/Qwen3-8B")
    listed = CliRunner().invoke(main, ["config", "presets"]).output.splitlines()
    assert [line.endswith(" (ours)") for line in listed] == [False] * 36 + [True] * len(our_preset_names())


def test_the_help_has_sections():
    shown = CliRunner().invoke(main, ["train", "--help"]).output
    titles = ["Options:", "Model:", "Method:", "Adapters:", "TRL:", "Data:", "Optimisation:", "What is written:"]
    places = [shown.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    assert shown.index("\nMethod:\n") < shown.index("--prompt-likelihood") < shown.index("\nTraining on trees:\n")
    assert shown.index("\nOptions:\n") < shown.index("--extend") < shown.index("\nModel:\n")


def test_settings_are_short_on_the_screen(given):
    short = given().short()
    assert "beta" not in short
    assert "learning_rate: 0.01  # command line" in short
    assert short.endswith("# the other settings have their defaults\n")
