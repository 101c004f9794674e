"""The presets against Tables 13 and 14 of the paper."""

import json
import re
from pathlib import Path

import pytest

from cso_train import PresetError, load_preset, preset_names, resolve_config

pytest.importorskip("yaml")

PAPER = Path(__file__).resolve().parents[3] / "shared" / "paper" / "cso-paper.txt"
MODELS = {
    "LLaMA-3.1-8B-Instruct": ("llama3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"),
    "Qwen-2.5-7B-Instruct": ("qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct"),
    "Gemma-2-9b-it": ("gemma2-9b", "google/gemma-2-9b-it"),
}

# Typed from the paper, apart from the presets. Table 13: epochs, batch size, learning rate.
TRAINING = """
llama3.1-8b full sft 1  32 5.0e-7     llama3.1-8b full cso 3  32 5.0e-7
llama3.1-8b lora sft 3  32 1.0e-6     llama3.1-8b lora cso 3  32 1.0e-6
qwen2.5-7b  full sft 1  32 5.0e-7     qwen2.5-7b  full cso 3  32 6.0e-7
qwen2.5-7b  lora sft 3  32 1.0e-6     qwen2.5-7b  lora cso 1 128 5.0e-7
gemma2-9b   full sft 1  32 5.0e-7     gemma2-9b   full cso 1  32 5.0e-7
gemma2-9b   lora sft 3  32 5.0e-7     gemma2-9b   lora cso 3   8 6.0e-7
"""
# Table 14: beta, gamma, chosen weight, rejected weight.
LOSSES = """
llama3.1-8b full dpo   0.7  -   -   -      llama3.1-8b lora dpo   0.01 -   -   -
llama3.1-8b full simpo 3.3  2.0 -   -      llama3.1-8b lora simpo 2.0  0.5 -   -
llama3.1-8b full ipo   1.0  -   -   -      llama3.1-8b lora ipo   0.1  -   -   -
llama3.1-8b full kto   0.9  -   1.0 0.5    llama3.1-8b lora kto   0.01 -   1.0 1.0
llama3.1-8b full orpo  1.3  -   -   -      llama3.1-8b lora orpo  1.0  -   -   -
qwen2.5-7b  full dpo   0.1  -   -   -      qwen2.5-7b  lora dpo   0.1  -   -   -
qwen2.5-7b  full simpo 1.5  3.5 -   -      qwen2.5-7b  lora simpo 3.5  3.0 -   -
qwen2.5-7b  full ipo   0.5  -   -   -      qwen2.5-7b  lora ipo   0.01 -   -   -
qwen2.5-7b  full kto   0.07 -   1.0 0.5    qwen2.5-7b  lora kto   0.05 -   1.0 0.5
qwen2.5-7b  full orpo  0.7  -   -   -      qwen2.5-7b  lora orpo  2.0  -   -   -
gemma2-9b   full dpo   0.5  -   -   -      gemma2-9b   lora dpo   0.1  -   -   -
gemma2-9b   full simpo 3.5  2.0 -   -      gemma2-9b   lora simpo 1.5  2.0 -   -
gemma2-9b   full ipo   1.0  -   -   -      gemma2-9b   lora ipo   0.2  -   -   -
gemma2-9b   full kto   0.5  -   1.0 0.6    gemma2-9b   lora kto   0.5  -   1.0 0.3
gemma2-9b   full orpo  0.06 -   -   -      gemma2-9b   lora orpo  0.02 -   -   -
"""


def rows(text, width):
    words = text.split()
    return {tuple(words[at : at + 3]): tuple(words[at + 3 : at + width]) for at in range(0, len(words), width)}


TRAINING_ROWS, LOSS_ROWS = rows(TRAINING, 6), rows(LOSSES, 7)
WANTED = [(model, kind, "sft") for model, kind, what in TRAINING_ROWS if what == "sft"] + list(LOSS_ROWS)


def number(text):
    return None if text == "-" else float(text)


def test_there_is_a_preset_for_every_row_and_no_other():
    assert len(WANTED) == 36
    assert sorted(preset_names()) == sorted("-".join(row) for row in WANTED)


@pytest.mark.parametrize("row", WANTED, ids="-".join)
def test_a_preset_is_its_row(row):
    model, kind, method = row
    config = resolve_config("-".join(row)).config
    training = TRAINING_ROWS[model, kind, "sft" if method == "sft" else "cso"]
    assert (config.epochs, config.batch_size, config.learning_rate) == tuple(map(float, training))
    losses = LOSS_ROWS.get(row, ("-",) * 4)
    assert (config.beta, config.gamma, config.chosen_weight, config.rejected_weight) == tuple(map(number, losses))
    assert (config.method, config.lora) == (method, kind == "lora")
    assert config.model in [hub for name, hub in MODELS.values() if name == model]
    assert config.max_completion_tokens == 512
    if kind == "lora":  # Appendix F.2
        assert (config.lora_alpha, config.lora_dropout, config.lora_targets) == (8, 0.0, ("all-linear",))


@pytest.mark.skipif(not PAPER.is_file(), reason=f"no paper at {PAPER}")
def test_the_transcription_is_the_papers():
    lines = [[cell.strip() for cell in line.split("|")] for line in PAPER.read_text("utf-8").splitlines()]
    start = next(at for at, cells in enumerate(lines) if cells[0] == "Epoch")
    found, model, kind = {}, "", ""
    for cells in lines[start:]:
        if cells[0].startswith("Appendix H"):
            break
        if cells[0] in MODELS:
            model = MODELS[cells[0]][0]
            continue
        if cells[0].lower() in ("full", "lora"):
            kind = cells.pop(0).lower()
        if cells[0].lower() in ("sft", "cso", "dpo", "simpo", "ipo", "kto", "orpo"):
            values = [cell for cell in cells[1:] if re.fullmatch(r"-|[\d.]+(e-\d)?", cell)]
            found[model, kind, cells[0].lower()] = tuple(values)
    assert found == {**TRAINING_ROWS, **LOSS_ROWS}


def test_an_unknown_preset_is_refused_with_near_ones():
    with pytest.raises(
        PresetError, match=r"no preset 'llama-3\.1-8b-lora-dpo'; there are llama3\.1-8b-lora-dpo"
    ) as caught:
        load_preset("llama-3.1-8b-lora-dpo")
    assert caught.value.preset == "llama-3.1-8b-lora-dpo"
    with pytest.raises(PresetError, match=r"there are llama3\.1-8b-full-sft"):
        load_preset("")


@pytest.mark.parametrize(
    "model",
    [
        "meta-llama/Llama-3.1-8B-Instruct",
        "unsloth/Meta-Llama-3.1-8B-Instruct",
        "/models/Llama-3.1-8B-Instruct/",
        "models/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
    ],
)
def test_a_preset_takes_its_own_model_under_other_names(model):
    assert resolve_config("llama3.1-8b-lora-dpo", None, {"model": model}).config.model == model


@pytest.mark.parametrize(
    "model", ["smollm2", "Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-8B"]
)
def test_a_preset_of_another_model_is_refused(model):
    with pytest.raises(PresetError) as caught:
        resolve_config("llama3.1-8b-lora-dpo", None, {"model": model})
    message = str(caught.value)
    assert f"preset llama3.1-8b-lora-dpo is of the model meta-llama/Llama-3.1-8B-Instruct, not '{model}'" in message
    assert "config show --preset llama3.1-8b-lora-dpo" in message
    assert (caught.value.field, caught.value.preset) == ("model", "llama3.1-8b-lora-dpo")


def test_a_folder_is_told_by_what_is_in_it(tmp_path):
    folder = tmp_path / "after-sft"
    folder.mkdir()
    shape = {"model_type": "gemma2", "hidden_size": 3584, "num_hidden_layers": 42, "vocab_size": 256000}
    (folder / "config.json").write_text(json.dumps({**shape, "other": 1}), "utf-8")
    assert resolve_config("gemma2-9b-lora-dpo", None, {"model": str(folder)}).config.model == str(folder)
    misnamed = tmp_path / "gemma-2-9b-it"
    misnamed.mkdir()
    (misnamed / "config.json").write_text(json.dumps({**shape, "hidden_size": 2304}), "utf-8")
    with pytest.raises(PresetError, match="is of the model"):
        resolve_config("gemma2-9b-lora-dpo", None, {"model": str(misnamed)})
    (misnamed / "config.json").write_text("[", "utf-8")
    assert load_preset("gemma2-9b-lora-dpo").fits(str(misnamed))


@pytest.mark.parametrize(("field", "value"), [("method", "simpo"), ("lora", False)])
def test_a_preset_of_another_method_or_kind_is_refused(tmp_path, field, value):
    with pytest.raises(PresetError, match=f"is of {field} .*, not {value!r}"):
        resolve_config("qwen2.5-7b-lora-dpo", None, {field: value})
    file = tmp_path / "run.yaml"
    file.write_text(f"seed: 1\n{field}: {str(value).lower()}\n", "utf-8")
    with pytest.raises(PresetError, match=r"run\.yaml:2: preset"):
        resolve_config("qwen2.5-7b-lora-dpo", file)


def test_other_settings_may_be_laid_over_a_preset():
    config = resolve_config("qwen2.5-7b-lora-dpo", None, {"beta": 0.3, "lora_alpha": 16}).config
    assert (config.beta, config.lora_alpha, config.batch_size) == (0.3, 16, 128)
