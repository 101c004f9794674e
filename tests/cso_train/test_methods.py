"""The losses against their formulas, from log-probabilities computed here and not by the trainers' code."""

import copy
import math

import pytest

from cso_train import load_data, resolve_config
from cso_train._chat import ChatFormat
from cso_train._fit import fit
from cso_train.methods import METHODS

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train._models import ModelSource, load_model, load_tokenizer  # noqa: E402
from cso_train._trainer import build_trainer, training_settings  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the trainers' own warnings

BETA = 0.3
SETTINGS = {
    "sft": {},
    "dpo": {"beta": BETA},
    "ipo": {"beta": BETA},
    "simpo": {"beta": BETA, "gamma": 0.7},
    "orpo": {"beta": BETA},
    "kto": {"beta": BETA, "chosen_weight": 1.5, "rejected_weight": 0.5},
}


BY_TRL = [name for name, method in METHODS.items() if method().trees_alone is None]
"""Methods that TRL can compute; the others are in packing/test_set_losses.py."""


def settings(method, **more):
    values = {"method": method, "max_length": 256, "max_completion_tokens": 64, "batch_size": 8, "max_steps": 3}
    values |= {"gradient_checkpointing": False, "logging_steps": 1, "lora": False, **SETTINGS[method], **more}
    return resolve_config(None, None, values).config


@pytest.fixture
def make(tiny_folder, preference_file, sft_file, tmp_path, perturb):
    """A trainer of a method over the small model."""

    def make(method, perturbed=False, arguments=None, **more):
        config = settings(method, **more)
        source = ModelSource.of(str(tiny_folder))
        tokenizer = load_tokenizer(source)
        data = load_data([sft_file if method == "sft" else preference_file], METHODS[method].kind)
        data = fit(ChatFormat.of(tokenizer), data, config.max_length, config.max_completion_tokens)
        model = load_model(source, dtype=torch.float32)
        fixed = {"output_dir": str(tmp_path / "out"), "use_cpu": True, "per_device_train_batch_size": 4, "bf16": False}
        parts = {"settings": training_settings(config, {**fixed, **(arguments or {})})}
        if config.reference_model and not config.lora:
            parts["reference"] = copy.deepcopy(model)
        trainer = build_trainer(config, model, tokenizer, data, **parts)
        if perturbed:
            perturb(trainer.model)
        trainer.model.eval()
        return trainer

    return make


def log_probs(model, prompt, completion):
    """Log-probability of every completion token."""
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1]
    picked = torch.log_softmax(logits.float(), -1).gather(1, ids[0, 1:, None])[:, 0]
    return picked[len(prompt) - 1 :]


def reference_of(trainer):
    return trainer.ref_model


def batch_of(trainer, count=4):
    rows = [trainer.train_dataset[index] for index in range(count)]
    return rows, trainer.data_collator(rows)


def trainers_loss(trainer, batch):
    with torch.no_grad():
        return float(trainer.compute_loss(trainer.model, batch))


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("method", ["dpo", "ipo"])
def test_losses_with_a_reference(make, method):
    trainer = make(method, perturbed=True)
    rows, batch = batch_of(trainer)
    expected = []
    for row in rows:
        gain = {}
        for side in ("chosen", "rejected"):
            own = log_probs(trainer.model, row["prompt_ids"], row[f"{side}_ids"])
            before = log_probs(reference_of(trainer), row["prompt_ids"], row[f"{side}_ids"])
            gain[side] = float((own - before).sum() if method == "dpo" else (own - before).mean())
        difference = gain["chosen"] - gain["rejected"]
        dpo = -math.log(sigmoid(BETA * difference))
        expected.append(dpo if method == "dpo" else (difference - 1 / (2 * BETA)) ** 2)
    assert trainers_loss(trainer, batch) == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    assert not math.isclose(expected[0], expected[1], rel_tol=1e-6)


def test_dpo_with_a_likelihood_and_smoothed_labels(make):
    trainer = make("dpo", perturbed=True, nll_weight=0.7, label_smoothing=0.2)
    rows, batch = batch_of(trainer)
    expected, likelihoods = [], []
    for row in rows:
        gain = {}
        for side in ("chosen", "rejected"):
            own = log_probs(trainer.model, row["prompt_ids"], row[f"{side}_ids"])
            gain[side] = float((own - log_probs(reference_of(trainer), row["prompt_ids"], row[f"{side}_ids"])).sum())
            likelihoods += [own] if side == "chosen" else []
        h = BETA * (gain["chosen"] - gain["rejected"])
        expected.append((-0.8 * math.log(sigmoid(h)) + 0.2 * math.log(sigmoid(-h))) / 0.6)
    nll = -float(torch.cat(likelihoods).mean())  # TRL's, over the tokens that a device has at once
    assert trainers_loss(trainer, batch) == pytest.approx(sum(expected) / len(expected) + 0.7 * nll, rel=1e-4)
    alone = trainers_loss(trainer, trainer.data_collator(rows[:1]))  # of one pair it is the pair's own mean
    assert alone == pytest.approx(expected[0] - 0.7 * float(likelihoods[0].mean()), rel=1e-4)


@pytest.mark.parametrize(("method", "whole"), [("simpo", False), ("orpo", False), ("orpo", True)])
def test_losses_without_a_reference(make, method, whole):
    trainer = make(method, perturbed=True, **({"prompt_likelihood": True} if whole else {}))
    rows = [trainer.train_dataset[index] for index in range(4)]
    batch = trainer.data_collator(rows)
    expected = []
    for row in rows:
        mean = {}
        for side in ("chosen", "rejected"):
            start = row[f"{side}_labels"].count(-100)
            ids = row[f"{side}_input_ids"]
            mean[side] = float(log_probs(trainer.model, ids[:start], ids[start:]).mean())
        if method == "simpo":
            expected.append(-math.log(sigmoid(BETA * (mean["chosen"] - mean["rejected"]) - 0.7)))
        else:
            odds = {side: value - math.log1p(-math.exp(value)) for side, value in mean.items()}
            expected.append((mean["chosen"], BETA * -math.log(sigmoid(odds["chosen"] - odds["rejected"]))))
    found = trainers_loss(trainer, batch)
    if method == "simpo":
        assert found == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    else:
        nll = sequence_nll(trainer.model, rows) if whole else -sum(mean for mean, _ in expected) / len(expected)
        assert found == pytest.approx(nll + sum(odds for _, odds in expected) / len(expected), rel=1e-4)


def sequence_nll(model, rows):
    """ORPO's first term as TRL has it: negative log-likelihood of prompt and chosen reply."""
    sides = [row["chosen_input_ids"] for row in rows]
    assert len(set(map(len, sides))) > 1
    return -sum(float(log_probs(model, ids[:1], ids[1:]).mean()) for ids in sides) / len(sides)


def test_ktos_loss(make):
    trainer = make("kto", perturbed=True)
    rows, batch = batch_of(trainer)
    baseline = []
    for row in rows:
        prompt, other = row["prompt_ids"], row["KL_completion_ids"]
        own, before = (log_probs(model, prompt, other) for model in (trainer.model, reference_of(trainer)))
        baseline.append(float((own - before).sum()))
    kl = max(sum(baseline) / len(baseline), 0.0)
    expected = []
    for row in rows:
        prompt, reply = row["prompt_ids"], row["completion_ids"]
        own, before = (log_probs(model, prompt, reply) for model in (trainer.model, reference_of(trainer)))
        gain = float((own - before).sum())
        good, bad = 1.5 * (1 - sigmoid(BETA * (gain - kl))), 0.5 * (1 - sigmoid(BETA * (kl - gain)))
        expected.append(good if row["label"] else bad)
    assert trainers_loss(trainer, batch) == pytest.approx(sum(expected) / len(expected), rel=1e-3)
    assert {row["label"] for row in rows} == {True, False}


def test_sft_is_trained_on_the_supporters_words_alone(make):
    trainer = make("sft", perturbed=True)
    row = trainer.train_dataset[1]
    batch = trainer.data_collator([row])
    labels = batch["labels"][0].tolist()
    said = trainer.processing_class.decode([token for token in labels if token != -100])
    assert said == "(Affirmation) You do well.</s>(Emotional Validation) That is hard, 1.</s>"
    ids = batch["input_ids"][0].tolist()
    every = log_probs(trainer.model, ids[:1], ids[1:])
    counted = [float(value) for value, label in zip(every, labels[1:], strict=True) if label != -100]
    assert trainers_loss(trainer, batch) == pytest.approx(-sum(counted) / len(counted), rel=1e-4)


@pytest.mark.parametrize("method", ["dpo", "ipo", "simpo", "orpo", "kto"])
def test_dropout_of_the_adapters_is_at_work(make, method):
    trainer = make(method, lora=True, lora_dropout=0.5, packing="none")
    kept = [module.p for name, module in trainer.model.named_modules() if type(module) is torch.nn.Dropout]
    assert kept
    assert set(kept) == {0.5}
    _, batch = batch_of(trainer)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:  # adapters begin as nothing
                parameter.normal_(std=0.1)
    trainer.model.train()
    losses = {trainers_loss(trainer, batch) for _ in range(3)}
    assert len(losses) == 3
    trainer.model.eval()
    assert len({trainers_loss(trainer, batch) for _ in range(3)}) == 1


@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_the_model_itself_is_trained_without_dropout(make, method, tiny_folder, monkeypatch):
    loaded = load_model(ModelSource.of(str(tiny_folder)), dtype=torch.float32)
    loaded.model.layers[0].mlp.act_fn = torch.nn.Sequential(loaded.model.layers[0].mlp.act_fn, torch.nn.Dropout(0.5))
    monkeypatch.setitem(globals(), "load_model", lambda *args, **options: loaded)
    trainer = make(method)
    assert {module.p for module in trainer.model.modules() if type(module) is torch.nn.Dropout} == {0.0}


@pytest.mark.parametrize("method", BY_TRL)
def test_training_lowers_the_loss(make, method):
    trainer = make(method, learning_rate=5e-3, max_steps=12)
    trainer.model.train()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3])


def test_lora_trains_adapters_alone(make):
    trainer = make("dpo", lora=True)
    trained = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert {name.split(".")[-4] for name in trained} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    }


def test_ktos_baseline_is_of_other_conversations(make):
    rows = list(make("kto", arguments={"per_device_train_batch_size": 4}).train_dataset)
    chosen = {tuple(row["prompt_ids"]): row["completion_ids"] for row in rows if row["label"]}
    own = sum(row["KL_completion_ids"] == chosen[tuple(row["prompt_ids"])] for row in rows if not row["label"])
    assert len(rows) == 32
    assert own <= 4  # by chance; in the order of the pairs it would be all sixteen


@pytest.mark.parametrize("method", BY_TRL)
def test_one_step_of_eight_is_eight_steps_of_one(make, method, monkeypatch):
    if method == "kto":  # all but its baseline, which it estimates from the rows that a device has at once
        monkeypatch.setattr("trl.KTOTrainer._compute_kl_logps", lambda self, model, batch: torch.zeros(1))
    after = []
    for rows, steps in ((8, 1), (2, 4) if method == "kto" else (1, 8)):
        arguments = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": steps}
        trainer = make(method, arguments=arguments, max_steps=2, learning_rate=1e-3)
        trainer.train()
        after.append({name: value.detach().clone() for name, value in trainer.model.state_dict().items()})
    for name, value in after[0].items():
        assert torch.allclose(value, after[1][name], atol=2e-5), name
