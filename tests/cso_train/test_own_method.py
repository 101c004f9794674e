"""A training method in one file of a user: its settings, pair by pair and on trees, and a loss over sets of replies."""

import contextlib
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cso_train import TrainConfig, TrainConfigError, resolve_config
from cso_train.methods import METHODS, Reply, ReplySet, register

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train import train  # noqa: E402
from cso_train._models import ModelSource, load_model  # noqa: E402
from cso_train.packing._attention import MaskMaker, attention_kernel  # noqa: E402
from cso_train.packing._forward import add_tree_head  # noqa: E402
from cso_train.packing._objective import PackedObjective  # noqa: E402
from cso_train.packing._plan import StepPlan  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the trainers' own warnings


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """The file of methods, imported; after the test they are as if they had never been there."""
    methods, fields = dict(METHODS), dict(TrainConfig.model_fields)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield importlib.import_module("toy_methods")
    del sys.modules["toy_methods"]
    for current, before in ((METHODS, methods), (TrainConfig.__pydantic_fields__, fields)):
        current.clear()
        current.update(before)
    TrainConfig.model_rebuild(force=True)


def test_its_settings_are_settings_of_a_run():
    config = resolve_config(None, None, {"method": "robust", "wrong_share": "0.3"}).config
    assert (config.beta, config.precompute_reference, config.wrong_share) == (0.1, False, 0.3)
    assert resolve_config(None, None, {"method": "robust"}).config.wrong_share == 0.2
    with pytest.raises(TrainConfigError, match=r"wrong_share: .*less than 0.5") as caught:
        TrainConfig(method="robust", wrong_share=0.7)
    assert caught.value.field == "wrong_share"
    with pytest.raises(TrainConfigError, match="dpo does not use it, only robust, listwise"):
        TrainConfig(wrong_share=0.1)
    with pytest.raises(TrainConfigError, match=r"method: Input should be 'sft', .* or 'listwise'"):
        TrainConfig(method="ppo")
    assert resolve_config(None, None, {"method": "dpo"}).config.wrong_share is None


def test_a_name_is_given_once(toys):
    assert register(toys.RobustDPO) is toys.RobustDPO
    with pytest.raises(ValueError, match="already a training method 'robust'"):
        register(type("Other", (toys.RobustDPO,), {}))


def test_it_trains_pair_by_pair_and_on_trees(tiny_folder, preference_file, tmp_path):
    logged = {}
    for packing in ("none", "tree"):
        settings = {"method": "robust", "wrong_share": 0.3, "beta": 0.3, "packing": packing, "learning_rate": 1e-2}
        settings |= {"model": str(tiny_folder), "data": str(preference_file), "output_dir": str(tmp_path / packing)}
        settings |= {"max_length": 256, "max_completion_tokens": 64, "batch_size": 16, "max_steps": 4, "lora": False}
        done = train(resolve_config(None, None, {**settings, "logging_steps": 1}), say=lambda line: None)
        assert done.finished
        lines = map(json.loads, (tmp_path / packing / "metrics.jsonl").read_text("utf-8").splitlines())
        logged[packing] = [line for line in lines if "loss" in line]
        assert "(e * log sigmoid(-h)" in (tmp_path / packing / "model" / "README.md").read_text("utf-8")
    for name in ("loss", "rewards/margins", "logps/chosen"):
        pairs, trees = ([line[name] for line in logged[packing]] for packing in ("none", "tree"))
        assert trees == pytest.approx(pairs, rel=1e-3, abs=1e-5)
    losses = [line["loss"] for line in logged["tree"]]
    assert losses[0] == pytest.approx(float(np.log(2)), rel=1e-4)  # a policy that is its reference
    assert losses[-1] < losses[0]


def sets(draw, width):
    """Turns of two or three replies each, with values and the span of a strategy."""
    made = []
    for count in (3, 2, 3):
        prompt = draw.integers(5, 300, 12)
        replies = []
        for _ in range(count):
            ids = np.concatenate([prompt, draw.integers(5, 300, int(draw.integers(4, width)))])
            replies.append(Reply(ids, np.arange(12, len(ids)), {"strategy": np.arange(12, 14)}))
        made.append(ReplySet(tuple(replies), values=tuple(draw.uniform(-3, 1, count))))
    return made


def log_probs(model, ids, tokens):
    logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0].double()
    return torch.stack([torch.log_softmax(logits[token - 1], -1)[ids[token]] for token in tokens])


def test_a_loss_sees_sets_of_replies_with_values_and_spans(tiny_folder):
    kernel = attention_kernel("auto", "llama", packed=True, on_gpu=False)
    model = load_model(ModelSource.of(str(tiny_folder)), dtype=torch.float32, attention=kernel).eval()
    add_tree_head(model)
    accelerator = SimpleNamespace(
        device=torch.device("cpu"),
        num_processes=1,
        process_index=0,
        reduce=lambda values, how: values,
        unwrap_model=lambda model: model,
    )
    host = SimpleNamespace(
        model=model,
        accelerator=accelerator,
        state=SimpleNamespace(global_step=0),
        compute_loss_context_manager=contextlib.nullcontext,
    )
    config = resolve_config(None, None, {"method": "listwise", "beta": 0.7, "span_weight": 0.4}).config
    rows = sets(np.random.default_rng(0), 9)
    objective = PackedObjective(host, config, {"train": rows}, MaskMaker(model.config, torch.float32), None)
    objective.ensure_reference()
    reference = [[log_probs(model, each.ids, each.scored).sum().item() for each in row.replies] for row in rows]
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))

    expected = []
    for row, before in zip(rows, reference, strict=True):
        sums = torch.stack([log_probs(model, each.ids, each.scored).sum() for each in row.replies])
        rho, q = 0.7 * (sums - torch.tensor(before)), torch.softmax(torch.tensor(row.values) / 0.5, 0)
        best = row.replies[int(np.argmax(row.values))]
        strategy = log_probs(model, best.ids, best.spans["strategy"]).mean()
        expected.append(-(q * torch.log_softmax(rho, 0)).sum() - 0.4 * strategy)
    wanted = sum(expected) / len(expected)
    wanted.backward()
    gradients = {name: each.grad.clone() for name, each in model.named_parameters()}
    model.zero_grad()

    plan = StepPlan((0, 1, 2), ((0, 1), (2,)))
    totals = objective.totals("train", plan)
    loss = sum(objective.part_of_loss("train", model, pack, totals) for pack in plan.packs)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-4)
    loss.backward()
    largest = max(float(each.abs().max()) for each in gradients.values())
    for name, each in model.named_parameters():
        torch.testing.assert_close(each.grad, gradients[name], rtol=1e-3, atol=1e-4 * largest)
    assert set(objective.logs("train")) == {"rewards/best", "tokens/packed", "tokens/pairwise"}
