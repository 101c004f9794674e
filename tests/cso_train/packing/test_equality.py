"""Trees give the log-probabilities, losses and gradients of pair-wise computation, written here apart."""

import math

import pytest

from cso_train.chat import ChatFormat
from cso_train.config import resolve_config
from cso_train.data import KINDS, load_data

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train.methods import build_trainer, training_settings  # noqa: E402
from cso_train.models import ModelSource, load_model, load_tokenizer  # noqa: E402
from cso_train.packing import attention  # noqa: E402
from cso_train.packing.attention import PACKABLE, attention_kernel, seen_parts  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the trainers' own warnings

METHODS = {
    "sft": {},
    "dpo": {"beta": 0.3},
    "ipo": {"beta": 0.3},
    "simpo": {"beta": 2.0, "gamma": 0.7},
    "orpo": {"beta": 0.3},
    "kto": {"beta": 0.3, "chosen_weight": 1.5, "rejected_weight": 0.5},
}
EXACT = {"rtol": 1e-5, "atol": 1e-7}


@pytest.fixture
def make(model_folder, tree_file, branching_sft_file, tmp_path):
    """A packed trainer over a small model, moved away from its reference."""

    def make(method, model="llama", on_sft=False, **more):
        values = {"method": method, "max_length": 256, "max_completion_tokens": 64, "batch_size": 64, "packing": "tree"}
        values |= {"gradient_checkpointing": False, "lora": True, **METHODS[method], **more}
        config = resolve_config(None, None, values).config
        source = ModelSource.of(str(model_folder(model)))
        tokenizer = load_tokenizer(source)
        data = load_data([branching_sft_file if method == "sft" else tree_file], KINDS[method])
        data = ChatFormat.of(tokenizer).fit(data, config.max_length, config.max_completion_tokens)
        kernel = attention_kernel(config.attention, model, packed=True, on_gpu=False)
        fixed = {"output_dir": str(tmp_path / "out"), "use_cpu": True, "per_device_train_batch_size": 4, "bf16": False}
        trainer = build_trainer(
            config,
            load_model(source, dtype=torch.float32, attention=kernel),
            tokenizer,
            data,
            settings=training_settings(config, fixed),
        )
        trainer.accelerator.prepare_model(trainer.model)
        trainer._ensure_reference(trainer.model)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn_like(parameter))
        return trainer

    return make


def log_probs(model, reply):
    """Log-probabilities of a reply's scored tokens, the sequence alone in the pass."""
    ids = torch.from_numpy(reply.ids)[None]
    logits = model(input_ids=ids).logits[0, :-1].float()
    picked = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0]
    return picked[torch.from_numpy(reply.scored) - 1]


def before(trainer, reply):
    model = trainer.model
    with torch.no_grad(), model.disable_adapter():
        return log_probs(model, reply).sum()


def expected_loss(trainer, rows):
    """The loss of a batch by the method's formula, row by row."""
    config, model = trainer._setup.config, trainer.model
    beta, losses = config.beta, []
    own = [[log_probs(model, reply) for reply in row.replies] for row in rows]
    if config.method == "sft":
        return -sum(each[0].sum() for each in own) / sum(len(each[0]) for each in own)
    if config.method == "kto":
        with torch.no_grad():
            gains = [log_probs(model, row.mismatched).sum() - before(trainer, row.mismatched) for row in rows]
        divergence = max(0.0, float(sum(gains)) / len(gains))
        for row, (scores,) in zip(rows, own, strict=True):
            ratio = scores.sum() - before(trainer, row.replies[0])
            sign, weight = (1, config.chosen_weight) if row.label else (-1, config.rejected_weight)
            losses.append(weight * (1 - torch.sigmoid(beta * sign * (ratio - divergence))))
        return sum(losses) / len(losses)
    for row, (chosen, rejected, *_) in zip(rows, own, strict=True):
        if config.method in ("dpo", "ipo"):
            gains = [scores.sum() - before(trainer, reply) for scores, reply in zip((chosen, rejected), row.replies[:2], strict=True)]
        if config.method == "dpo":
            losses.append(-torch.log(torch.sigmoid(beta * (gains[0] - gains[1]))))
        elif config.method == "ipo":
            losses.append((gains[0] / len(chosen) - gains[1] / len(rejected) - 1 / (2 * beta)) ** 2)
        elif config.method == "simpo":
            losses.append(-torch.log(torch.sigmoid(beta * (chosen.mean() - rejected.mean()) - config.gamma)))
        else:
            odds = [scores.mean() - torch.log(1 - torch.exp(scores.mean())) for scores in (chosen, rejected)]
            losses.append(-beta * torch.log(torch.sigmoid(odds[0] - odds[1])))
    loss = sum(losses) / len(losses)
    if config.method == "orpo":
        loss = loss - sum(each[2].sum() for each in own) / sum(len(each[2]) for each in own)
    return loss


def gradients(trainer):
    found = {name: each.grad.clone() for name, each in trainer.model.named_parameters() if each.grad is not None}
    trainer.model.zero_grad()
    return found


def packed_step(trainer, number=0):
    """(loss, gradients, rows) of a packed step."""
    trainer.model.eval()  # the same passes, without the trainer's bookkeeping
    plan = next(iter(trainer.get_train_dataloader()))["plan"]
    totals = trainer._totals("train", plan, trainer.model)
    whole = 0.0
    for pack in plan.packs:
        loss = trainer._part_of_loss("train", trainer.model, pack, totals)
        loss.backward()
        whole += float(loss)
    rows = [trainer._parts["train"][index] for index in plan.rows]
    return whole, gradients(trainer), rows, plan


def same_gradients(ours, theirs):
    assert ours.keys() == theirs.keys()
    largest = max(float(each.abs().max()) for each in theirs.values())
    assert largest > 0
    for name, each in theirs.items():
        torch.testing.assert_close(ours[name], each, rtol=1e-5, atol=1e-5 * largest, msg=lambda text: f"{name}: {text}")


def check(trainer):
    loss, ours, rows, plan = packed_step(trainer)
    expected = expected_loss(trainer, rows)
    expected.backward()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    same_gradients(ours, gradients(trainer))
    return plan


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", PACKABLE)
def test_every_method_on_every_architecture(make, method, model):
    plan = check(make(method, model))
    assert len(plan.packs) == 1
    assert math.isclose(sum(map(len, plan.packs)), len(plan.rows))


@pytest.mark.parametrize("model", [name for name in PACKABLE if name != "gemma2"])
def test_attention_over_seen_keys_alone_is_the_same(make, model, monkeypatch):
    monkeypatch.setattr(attention, "_CHUNK", 16)
    trainer = make("dpo", model)
    assert trainer.model.config._attn_implementation == attention.TREE_SDPA
    cut = []
    monkeypatch.setattr(attention, "seen_parts", lambda *given: cut.append(seen_parts(*given)) or cut[-1])
    check(trainer)
    assert all(len(parts.counts) > 4 and sum(parts.counts) < 16 * len(parts.counts) ** 2 for parts in cut)
    assert cut
