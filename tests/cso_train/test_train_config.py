"""A run's settings: types and ranges, layers and origins, YAML files, batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cso_train import PresetError, TrainConfig, TrainConfigError, accumulation_steps, resolve_config
from cso_train._config import device_batch

pytest.importorskip("yaml")

METHODS = ("sft", "dpo", "ipo", "simpo", "kto", "orpo", "odpo", "infonca", "nca", "refuel", "distill")


def write(folder, text, name="run.yaml"):
    file = folder / name
    file.write_text(text, "utf-8")
    return file


# --- one config


def test_the_defaults_are_the_papers():
    config = TrainConfig().resolve()
    assert (config.model, config.method, config.lora) == ("smollm2", "dpo", True)
    assert (config.lora_rank, config.lora_alpha, config.lora_dropout) == (8, 8, 0.0)
    assert config.lora_targets == ("all-linear",)
    assert config.max_completion_tokens == 512
    assert (config.epochs, config.batch_size, config.learning_rate) == (3, 32, 1e-6)


def test_every_setting_says_what_it_means():
    for name, field in TrainConfig.model_fields.items():
        assert field.description, name
        assert not field.description.endswith("."), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lora", [True, False])
def test_resolving_sets_what_the_method_uses_and_nothing_else(method, lora):
    config = TrainConfig(method=method, lora=lora).resolve()
    weights = {"strategy_weight", "reply_weight", "confidence_weights"}
    used = {
        "sft": set(),
        "dpo": {"beta", "precompute_reference", "nll_weight", "label_smoothing", *weights},
        "ipo": {"beta", "precompute_reference"},
        "simpo": {"beta", "gamma"},
        "kto": {"beta", "chosen_weight", "rejected_weight", "precompute_reference"},
        "orpo": {"beta", "prompt_likelihood"},
        "odpo": {"beta", "precompute_reference", "nll_weight", "offset_weight", *weights},
        "infonca": {"beta", "precompute_reference", "value_temperature", *weights},
        "nca": {"beta", "precompute_reference", "value_temperature", *weights},
        "refuel": {"precompute_reference", "value_scale", *weights},
        "distill": {"value_temperature", *weights},
    }[method]
    optional = {"beta", "gamma", "chosen_weight", "rejected_weight", "precompute_reference", "prompt_likelihood"}
    optional |= {"nll_weight", "label_smoothing", "offset_weight", "value_temperature", "value_scale", *weights}
    assert {name for name in optional if getattr(config, name) is not None} == used
    adapters = {"lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "merge_adapter"}
    assert {name for name in adapters if getattr(config, name) is not None} == (adapters if lora else set())
    assert set(config.unused()) == (optional - used) | (set() if lora else adapters)
    assert config.resolve() == config


def test_what_is_given_stays():
    config = TrainConfig(method="simpo", beta=3.3, gamma=2.0, lora_alpha=16).resolve()
    assert (config.beta, config.gamma, config.lora_alpha, config.lora_rank) == (3.3, 2.0, 16, 8)
    assert config.replace(beta=1.0).beta == 1.0


def test_a_reference_model_is_for_full_training_with_dpo_ipo_and_kto():
    referring = {"dpo", "ipo", "kto", "odpo", "infonca", "nca", "refuel"}
    configs = [TrainConfig(method=method, lora=False, packing="none").resolve() for method in METHODS]
    assert {config.method for config in configs if config.reference_model} == referring
    assert not TrainConfig(method="dpo", lora=False, packing="tree").reference_model
    assert not TrainConfig(method="dpo").resolve().reference_model
    assert not TrainConfig(method="dpo", lora=False, precompute_reference=True).reference_model


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"epochs": 0}, "epochs", "greater than or equal to 1"),
        ({"epochs": 1.5}, "epochs", "valid integer"),
        ({"learning_rate": 0.0}, "learning_rate", "greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate", "finite"),
        ({"learning_rate": True}, "learning_rate", "valid number"),
        ({"method": "ppo"}, "method", "'simpo'"),
        ({"model": ""}, "model", "at least 1"),
        ({"warmup_ratio": 1.0}, "warmup_ratio", "less than 1"),
        ({"lora_dropout": 1.0}, "lora_dropout", "less than 1"),
        ({"seed": 2**32}, "seed", "less than"),
        ({"zero_stage": 4}, "zero_stage", "0, 1, 2 or 3"),
        ({"zero_stage": False}, "zero_stage", "given: 'False'"),
        ({"zero_stage": 2.0}, "zero_stage", "0, 1, 2 or 3"),
        ({"report_to": ("mlflow",)}, "report_to", "trackio"),
        ({"gamma": 1.0}, "gamma", "dpo does not use it, only simpo"),
        ({"method": "sft", "beta": 0.1}, "beta", "sft does not use it, only dpo, ipo, simpo, kto, orpo"),
        ({"method": "orpo", "chosen_weight": 1.0}, "chosen_weight", "only kto"),
        ({"method": "simpo", "precompute_reference": False}, "precompute_reference", "only dpo, ipo, kto"),
        ({"lora": False, "lora_rank": 8}, "lora_rank", "full-parameter"),
        ({"lora": False, "merge_adapter": True}, "merge_adapter", "full-parameter"),
        ({"lora_targets": ("all-linear", "q_proj")}, "lora_targets", "stands alone"),
        ({"max_length": 512}, "max_completion_tokens", "no room for a prompt"),
        ({"per_device_batch_size": 3}, "per_device_batch_size", "32 is no multiple of 3"),
        ({"method": "kto", "per_device_batch_size": 1}, "per_device_batch_size", "2 or more"),
        ({"method": "kto", "batch_size": 1}, "batch_size", "2 or more"),
        ({"lr_scheduler": "constant", "warmup_ratio": 0.1}, "warmup_ratio", "constant_with_warmup"),
        ({"eval_data": "a.json", "eval_fraction": 0.1}, "eval_fraction", "eval_data"),
        ({"eval_steps": 10}, "eval_steps", "nothing to evaluate on"),
        ({"zero_stage": 0, "offload": "optimizer"}, "zero_stage", "needs ZeRO stage 1, 2 or 3"),
        ({"zero_stage": "none", "offload": "optimizer"}, "zero_stage", "needs ZeRO stage"),
        ({"zero_stage": 2, "offload": "parameters"}, "zero_stage", "needs ZeRO stage 3"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_name(values, field, message):
    with pytest.raises(TrainConfigError, match=message) as caught:
        TrainConfig(**values)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [
        ("learnin_rate", "learning_rate"),
        ("max-completion-tokens", "max_completion_tokens"),
        ("per_device_train_batch_size", "per_device_batch_size"),
        ("num_train_epochs", "epochs"),
        ("simpo_gamma", "gamma"),
        ("gemma", "gamma"),
        ("undesirable_weight", "rejected_weight"),
        ("lr", "learning_rate"),
        ("lora_r", "lora_rank"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(given_name, meant):
    with pytest.raises(TrainConfigError, match=f"unknown setting '{given_name}'; did you mean '{meant}'") as caught:
        TrainConfig(**{given_name: 1})
    assert caught.value.field == given_name


def test_a_key_like_none_lists_them_all():
    with pytest.raises(TrainConfigError, match=r"there are model, .*beta, .*run_name"):
        TrainConfig(**{"x" * 5000: 1})


# --- layers


def test_each_layer_goes_before_the_one_below_it(tmp_path):
    file = write(tmp_path, "batch_size: 64\nlearning_rate: 2.0e-6\n")
    resolved = resolve_config("llama3.1-8b-lora-dpo", file, {"learning_rate": 3e-6})
    config, origins = resolved.config, resolved.origins
    assert (config.seed, origins["seed"]) == (0, "default")
    assert (config.beta, origins["beta"]) == (0.01, "preset llama3.1-8b-lora-dpo")
    assert (config.batch_size, origins["batch_size"]) == (64, str(file))
    assert (config.learning_rate, origins["learning_rate"]) == (3e-6, "command line")
    assert (config.lora_alpha, origins["lora_alpha"]) == (8, "default")
    assert set(origins) == set(TrainConfig.model_fields)
    assert resolved.preset == "llama3.1-8b-lora-dpo"


def test_nothing_given_is_the_defaults():
    resolved = resolve_config()
    assert resolved.config == TrainConfig().resolve()
    assert set(resolved.origins.values()) == {"default"}


def test_a_file_may_name_its_preset_and_the_command_line_another(tmp_path):
    file = write(tmp_path, "preset: gemma2-9b-lora-dpo\n")
    assert resolve_config(None, file).config.batch_size == 8
    assert resolve_config("qwen2.5-7b-lora-dpo", file).config.batch_size == 128
    with pytest.raises(PresetError, match=r"run.yaml:1: no preset 'gemma-9b-lora-dpo'; there are gemma2-9b-lora-dpo"):
        resolve_config(None, write(tmp_path, "preset: gemma-9b-lora-dpo\n"))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("learning_rate", "5e-7", 5e-7),
        ("learning_rate", "1", 1.0),
        ("epochs", "2", 2),
        ("max_steps", "none", None),
        ("zero_stage", "3", 3),
        ("zero_stage", "auto", "auto"),
        ("offload", "none", "none"),
        ("lora", "true", True),
        ("gradient_checkpointing", "no", False),
        ("report_to", "wandb, trackio", ("wandb", "trackio")),
        ("report_to", "none", ()),
        ("lora_targets", "q_proj,v_proj", ("q_proj", "v_proj")),
        ("model", "12", "12"),
    ],
)
def test_text_is_read_as_the_setting_wants_it(tmp_path, name, text, value):
    given_value = getattr(resolve_config(None, None, {name: text}).config, name)
    assert given_value == value
    assert type(given_value) is type(value)
    from_file = getattr(resolve_config(None, write(tmp_path, f'{name}: "{text}"\n')).config, name)
    assert from_file == value


def test_a_command_line_value_that_is_wrong_says_where_it_came_from():
    with pytest.raises(TrainConfigError, match=r"command line: epochs: .*given: 'many'"):
        resolve_config(None, None, {"epochs": "many"})
    with pytest.raises(TrainConfigError, match="command line: unknown setting 'epoch'; did you mean 'epochs'"):
        resolve_config(None, None, {"epoch": 3})


# --- files


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    file = write(tmp_path, "\ufefflearning_rate: 5e-7  # a comment\nreport_to: [tensorboard]\nmax_steps: ~\n")
    config = resolve_config(None, file).config
    assert (config.learning_rate, config.report_to, config.max_steps) == (5e-7, ("tensorboard",), None)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_has_no_settings(tmp_path, text):
    assert resolve_config(None, write(tmp_path, text)).config == TrainConfig().resolve()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("epochs: 1\nbatchsize: 3\n", 2, "unknown setting 'batchsize'; did you mean 'batch_size'"),
        ("epochs: 1\nbeta: 1\nepochs: 2\n", 3, "epochs stands here and in line 1"),
        ("seed: 1\nepochs: 0\n", 2, "epochs: Input should be greater"),
        ("\n\nepochs: 1.5\n", 3, "epochs: Input should be a valid integer"),
        ("method: dpo\ngamma: 1.0\n", 2, "gamma: dpo does not use it"),
        ("lora: maybe\n", 1, "lora: Input should be a valid boolean"),
        ("zero_stage: no\n", 1, "zero_stage"),
        ("epochs:\n  value: 3\n", 2, "epochs: a value is a scalar or a list"),
        ("report_to: [[wandb]]\n", 1, "report_to: a value is a scalar"),
        ("- epochs\n", 1, "settings are `name: value`"),
        ("epochs\n", 1, "settings are `name: value`"),
        ("1: 2\n", 1, "a setting's name is text"),
        ("? [a]\n: 2\n", 1, "a setting's name is text"),
        ("model: !!python/object/apply:os.system [id]\n", 1, "not YAML: could not determine a constructor"),
        ("epochs: 1\nmodel: 'a\n", 3, "not YAML"),
        ("epochs: 1\n---\nepochs: 2\n", 2, "not YAML"),
        ("a: &a [x, x]\nb: [*a, *a]\n", 2, "a value is a scalar"),
        ("<<: {epochs: 1}\n", 1, "not YAML: could not determine a constructor"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path, text, line, message):
    file = write(tmp_path, text)
    with pytest.raises(TrainConfigError) as caught:
        resolve_config(None, file)
    assert (caught.value.file, caught.value.line) == (str(file), line)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"epochs: \x00"])
def test_a_file_that_is_no_text_is_refused(tmp_path, content):
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(TrainConfigError, match=r"run\.yaml.*not"):
        resolve_config(None, file)


def test_a_file_that_is_not_there_or_nested_without_end_is_refused(tmp_path):
    with pytest.raises(TrainConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        resolve_config(None, tmp_path / "absent.yaml")
    with pytest.raises(TrainConfigError, match="not YAML"):
        resolve_config(None, write(tmp_path, "a: " + "[" * 100_000))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lora", [True, False])
def test_what_is_printed_reads_back_the_same(tmp_path, method, lora):
    values = {"method": method, "lora": lora, "report_to": ("wandb", "trackio"), "learning_rate": 5e-7}
    resolved = resolve_config(None, None, values)
    text = resolved.to_yaml()
    assert resolve_config(None, write(tmp_path, text)).config == resolved.config
    assert f"method: {method}  # command line\n" in text
    assert "seed: 0  # default\n" in text
    assert ("# gamma: not used by" in text) == (method != "simpo")
    assert ("# lora_rank: not used by full-parameter training" in text) == (not lora)


@given(text=st.text(min_size=1).filter(lambda text: text.isprintable() or text in "\n\t\0\x85\u2028"))
def test_any_name_reads_back(tmp_path_factory, text):
    resolved = resolve_config(None, None, {"output_dir": text})
    file = write(tmp_path_factory.mktemp("yaml"), resolved.to_yaml())
    assert resolve_config(None, file).config.output_dir == text


def test_a_printed_preset_serves_another_model(tmp_path):
    text = resolve_config("llama3.1-8b-lora-dpo").to_yaml()
    config = resolve_config(None, write(tmp_path, text), {"model": "smollm2"}).config
    assert (config.model, config.beta) == ("smollm2", 0.01)


# --- batches


@given(rows=st.integers(1, 64), world=st.integers(1, 64), steps=st.integers(1, 64))
def test_accumulation_makes_up_the_batch(rows, world, steps):
    assert accumulation_steps(rows * world * steps, rows, world) == steps


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((32, 1, 3), "32 cannot be made of 3 devices with 1 rows each; these work: batch_size 30 or 33, or 2 devices"),
        ((32, 3, 8), "batch_size 24 or 48, or per_device_batch_size 2 or 4"),
        ((8, 1, 16), "batch_size 16, or 8 devices"),
        ((32, 64, 1), "batch_size 64, or per_device_batch_size 16 or 32"),
        ((0, 1, 1), "batch_size: 0 is below 1"),
        ((8, 1, 0), "world_size: 0 is below 1"),
    ],
)
def test_an_impossible_batch_is_refused_with_ones_that_work(numbers, message):
    with pytest.raises(TrainConfigError) as caught:
        accumulation_steps(*numbers)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("batch", "world", "least", "rows"),
    [(32, 1, 1, 4), (32, 8, 1, 4), (32, 16, 1, 2), (9, 1, 1, 3), (7, 1, 1, 1), (25, 1, 2, 5), (7, 1, 2, 7)],
)
def test_the_rows_of_a_device_follow_from_the_batch(batch, world, least, rows):
    assert device_batch(batch, world, least=least) == rows
    assert accumulation_steps(batch, rows, world) * rows * world == batch


def test_no_rows_of_a_device_fit():
    with pytest.raises(TrainConfigError, match=r"8 cannot be made of 8 devices with 2 rows each; .*16, or .*4 devices"):
        device_batch(8, 8, least=2)
    with pytest.raises(TrainConfigError, match="these work"):
        device_batch(30, 8)


def test_the_help_tells_what_each_setting_takes():
    from cso_train.cli import main

    taken = {option.name: option.metavar for option in main.commands["train"].params}
    assert taken["set_method"] == f"[{'|'.join(METHODS)}]"
    assert taken["set_zero_stage"] == "[auto|none|0|1|2|3]"
    assert taken["set_report_to"] == "[tensorboard|wandb|trackio],..."
    found = [taken[f"set_{name}"] for name in ("lora", "merge_adapter", "beta", "max_steps", "run_name")]
    assert found == ["[true|false]", "[true|false]", "FLOAT", "INTEGER", "TEXT"]
