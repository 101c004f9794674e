"""Trees give the log-probabilities, losses and gradients of pair-wise computation, written here apart."""

import json
import math
import sys

import pytest

from cso_train import load_data, methods, resolve_config
from cso_train._chat import ChatFormat
from cso_train._fit import fit

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # noqa: E402

from cso_train._models import ModelSource, _plain, load_model, load_tokenizer  # noqa: E402
from cso_train._trainer import build_trainer, training_settings  # noqa: E402
from cso_train.methods import Reply  # noqa: E402
from cso_train.packing import _attention as attention  # noqa: E402
from cso_train.packing._attention import (  # noqa: E402
    PACKABLE,
    MaskMaker,
    attention_kernel,
    check_exact,
    seen_parts,
)
from cso_train.packing._path import PathWalk  # noqa: E402
from cso_train.packing._path_attention import TREE_PATH  # noqa: E402
from cso_train.packing._pieces import cut_into_pieces  # noqa: E402
from cso_train.packing._trie import token_tree  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the trainers' own warnings

METHODS = {
    "sft": {},
    "dpo": {"beta": 0.3},
    "ipo": {"beta": 0.3},
    "simpo": {"beta": 2.0, "gamma": 0.7},
    "orpo": {"beta": 0.3},
    "kto": {"beta": 0.3, "chosen_weight": 1.5, "rejected_weight": 0.5},
}


@pytest.fixture
def make(model_folder, tree_file, branching_sft_file, tmp_path, perturb):
    """A packed trainer over a small model, moved away from its reference."""

    def make(method, model="llama", on_sft=False, **more):
        values = {"method": method, "max_length": 256, "max_completion_tokens": 64, "batch_size": 64, "packing": "tree"}
        values |= {"gradient_checkpointing": False, "lora": True, "packing_memory": "pack", **METHODS[method], **more}
        config = resolve_config(None, None, values).config
        source = ModelSource.of(str(model_folder(model)))
        tokenizer = load_tokenizer(source)
        data = load_data([branching_sft_file if method == "sft" else tree_file], methods.METHODS[method].kind)
        data = fit(ChatFormat.of(tokenizer), data, config.max_length, config.max_completion_tokens)
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
        trainer.objective.ensure_reference()
        perturb(trainer.model)
        return trainer

    return make


def log_probs(model, reply):
    """Log-probabilities of a reply's scored tokens, the sequence alone in the pass."""
    ids = torch.from_numpy(reply.ids)[None]
    logits = model(input_ids=ids).logits[0, :-1]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    picked = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0]
    return picked[torch.from_numpy(reply.scored) - 1]


def scored_parts(row):
    """A row's replies, then the spans of them, each as a reply."""
    return [*row.replies, *(Reply(reply.ids, span) for reply in row.replies for span in reply.spans.values())]


def before(trainer, reply):
    model = trainer.model
    with torch.no_grad(), model.disable_adapter():
        return log_probs(model, reply).sum()


def expected_loss(trainer, rows):
    """The loss of a batch by the method's formula, row by row."""
    config, model = trainer.objective.config, trainer.model
    beta, losses = config.beta, []
    own = [[log_probs(model, part) for part in scored_parts(row)] for row in rows]
    if config.method == "sft":
        return -sum(each[0].sum() for each in own) / sum(len(each[0]) for each in own)
    if config.method == "kto":
        with torch.no_grad():
            gains = [log_probs(model, row.mismatched).sum() - before(trainer, row.mismatched) for row in rows]
        divergence = max(0.0, float(sum(gains)) / len(gains))
        for row, (scores,) in zip(rows, own, strict=True):
            ratio = scores.sum() - before(trainer, row.replies[0])
            sign, weight = (1, config.chosen_weight) if row.values[0] else (-1, config.rejected_weight)
            losses.append(weight * (1 - torch.sigmoid(beta * sign * (ratio - divergence))))
        return sum(losses) / len(losses)
    for row, (chosen, rejected, *whole) in zip(rows, own, strict=True):
        if config.method in ("dpo", "ipo"):
            sides = zip((chosen, rejected), row.replies, strict=True)
            gains = [scores.sum() - before(trainer, reply) for scores, reply in sides]
        if config.method == "dpo":
            losses.append(-torch.log(torch.sigmoid(beta * (gains[0] - gains[1]))))
        elif config.method == "ipo":
            losses.append((gains[0] / len(chosen) - gains[1] / len(rejected) - 1 / (2 * beta)) ** 2)
        elif config.method == "simpo":
            losses.append(-torch.log(torch.sigmoid(beta * (chosen.mean() - rejected.mean()) - config.gamma)))
        else:
            odds = [scores.mean() - torch.log(1 - torch.exp(scores.mean())) for scores in (chosen, rejected)]
            losses.append(-(whole or [chosen])[0].mean() - beta * torch.log(torch.sigmoid(odds[0] - odds[1])))
    return sum(losses) / len(losses)


def gradients(trainer):
    found = {name: each.grad.clone() for name, each in trainer.model.named_parameters() if each.grad is not None}
    trainer.model.zero_grad()
    return found


def packed_step(trainer, number=0):
    """(loss, gradients, rows) of a packed step."""
    trainer.model.eval()  # the same passes, without the trainer's bookkeeping
    plan = next(iter(trainer.get_train_dataloader()))["plan"]
    whole = 0.0
    for forward in trainer.objective.passes("train", trainer.model, plan):
        loss = forward()
        loss.backward()
        whole += float(loss)
    rows = [trainer.objective.rows["train"][index] for index in plan.rows]
    return whole, gradients(trainer), rows, plan


def same_gradients(ours, theirs):
    assert ours.keys() == theirs.keys()
    largest = max(float(each.abs().max()) for each in theirs.values())
    assert largest > 0
    for name, each in theirs.items():
        torch.testing.assert_close(ours[name], each, rtol=1e-5, atol=1e-5 * largest)


def check(trainer):
    loss, ours, rows, plan = packed_step(trainer)
    expected = expected_loss(trainer, rows)
    expected.backward()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    same_gradients(ours, gradients(trainer))
    return plan


# a loss sees log-probabilities alone, whatever model they are of
CASES = [*((method, "llama") for method in METHODS), *(("dpo", model) for model in PACKABLE if model != "llama")]


@pytest.mark.parametrize(("method", "model"), CASES)
def test_every_method_and_every_architecture(make, method, model):
    plan = check(make(method, model))
    assert len(plan.packs) == 1
    assert math.isclose(sum(map(len, plan.packs)), len(plan.rows))


@pytest.mark.parametrize("model", ["llama", "mistral", "gemma3_text"])
def test_attention_over_seen_keys_alone_is_the_same(make, model, monkeypatch):
    monkeypatch.setattr(attention, "_CHUNK", 16)
    trainer = make("dpo", model)
    assert trainer.model.config._attn_implementation == attention.TREE_SDPA
    cut = []
    monkeypatch.setattr(attention, "seen_parts", lambda *given: cut.append(seen_parts(*given)) or cut[-1])
    check(trainer)
    assert all(len(parts.counts) > 4 and sum(parts.counts) < 16 * len(parts.counts) ** 2 for parts in cut)
    assert cut


def test_a_dequantised_model_has_the_attention_that_it_was_loaded_with(model_folder):
    asked = attention_kernel("auto", "llama", packed=True, on_gpu=False)
    model = load_model(ModelSource.of(str(model_folder("llama"))), dtype=torch.float32, attention=asked)
    plain = _plain(model, torch.float32)
    assert plain.config._attn_implementation == attention.TREE_SDPA
    assert all(module.config is plain.config for module in plain.modules() if hasattr(module, "config"))


@pytest.mark.parametrize("method", ["dpo", "orpo", "kto", "sft"])
def test_trees_that_are_cut_and_packs_of_several(make, method):
    plan = check(make(method, pack_tokens=90))
    assert len(plan.packs) > 1


@pytest.mark.parametrize("memory", ["pack", "path"])
@pytest.mark.parametrize("pack_tokens", [90, 4096])
def test_a_likelihood_over_the_prompt_too(make, pack_tokens, memory):
    trainer = make("orpo", prompt_likelihood=True, pack_tokens=pack_tokens, packing_memory=memory)
    assert check(trainer)
    assert trainer.objective.layout.spans == ("sequence",)


@pytest.mark.parametrize(("method", "model"), CASES)
def test_every_method_and_every_architecture_path_by_path(make, method, model):
    trainer = make(method, model, packing_memory="path", pack_tokens=320)
    plan = check(trainer)
    assert plan.by_path
    rows = [trainer.objective.rows["train"][index] for index in plan.rows]
    sizes = [each.last - each.first for each in pieces_of(rows, 20)]
    assert len(plan.packs) == 1
    assert len(sizes) > 4
    assert max(sizes) <= 20


def pieces_of(rows, size):
    return cut_into_pieces(token_tree([reply.ids for row in rows for reply in row.replies]), size)


def test_what_is_held_is_one_path_and_a_piece(make):
    trainer = make("dpo", packing_memory="path", pack_tokens=320)
    rows = trainer.objective.rows["train"]
    walk = PathWalk(rows, trainer.objective.layout, trainer.objective.masks, torch.device("cpu"), 20)
    longest = max(len(reply.ids) for row in rows for reply in row.replies)
    assert walk.tokens > 3 * longest
    trainer.model.eval()
    sums = walk.sums(trainer.model)
    for forward in walk.parts(trainer.model, trainer.model, torch.ones_like(sums)):
        forward().backward()
    layers = trainer.model.config.num_hidden_layers
    for held in (walk._states._states, walk._states._gradients):
        assert len(held) == layers
        assert all(each.shape[2] <= longest + 20 for both in held.values() for each in both)


def test_dropout_is_refused_path_by_path(make):
    from cso_train.errors import TrainConfigError

    with pytest.raises(TrainConfigError, match="packing_memory: path does not go with dropout"):
        make("dpo", packing_memory="path", lora_dropout=0.1)
    assert make("dpo", packing_memory="auto", lora_dropout=0.1).objective.memory == "pack"


def test_an_attention_that_is_not_ours_is_noticed(make, monkeypatch):
    trainer = make("dpo", packing_memory="path", pack_tokens=320)
    plan = next(iter(trainer.get_train_dataloader()))["plan"]
    real = ALL_ATTENTION_FUNCTIONS[TREE_PATH]

    def without(*given, path, **named):
        return real(*given, **named)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, TREE_PATH, without)
    with pytest.raises(RuntimeError, match="no longer hands on the mask and the path"):
        trainer.objective.passes("train", trainer.model, plan)


@pytest.mark.parametrize("model", PACKABLE)
def test_the_interface_of_attention_is_what_it_was(small_config, model):
    """What both modes rely on; where a version of transformers changes it, this test says so."""
    from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
    from transformers.masking_utils import sdpa_mask

    cls, values = small_config(model)
    calls = []

    def probe(module, query, key, value, attention_mask, scaling=None, **options):
        calls.append((module, query, key, value, attention_mask, options))
        return sdpa_attention_forward(
            module, query, key, value, attention_mask if attention_mask.shape[-1] > 1 else None, scaling=scaling
        )

    AttentionInterface.register("probe", probe)
    AttentionMaskInterface.register("probe", sdpa_mask)
    config = cls(vocab_size=50, **values)
    network = AutoModelForCausalLM.from_config(config, attn_implementation="probe").eval()
    windows = MaskMaker(config, torch.float32).windows
    masks = {kind: torch.ones(1, 1, 1, 1, dtype=torch.bool) for kind in windows}
    mine = object()
    given = masks.get(None, masks)
    network.base_model(
        input_ids=torch.arange(1, 6)[None],
        position_ids=torch.tensor([[0, 1, 2, 1, 2]]),
        attention_mask=given,
        use_cache=False,
        path=mine,
    )
    assert [call[0].layer_idx for call in calls] == list(range(config.num_hidden_layers))
    kinds = getattr(config, "layer_types", None) or [None] * len(calls)
    for kind, (module, query, key, value, mask, options) in zip(kinds, calls, strict=True):
        assert query.shape == (1, config.num_attention_heads, 5, module.head_dim)
        assert key.shape == value.shape == (1, config.num_key_value_heads, 5, module.head_dim)
        assert mask is (masks[kind] if kind in masks else masks[None])
        assert options["path"] is mine
        assert not options.get("dropout")
        assert callable(sys.modules[type(module).__module__].eager_attention_forward)


@pytest.mark.parametrize("sampler", ["pairs", "dialogues"])
def test_a_step_is_the_mean_over_its_own_rows(make, sampler):
    plan = check(make("dpo", batch_size=7, sampler=sampler))
    assert len(plan.rows) == 7


@pytest.mark.parametrize("memory", ["pack", "path"])
def test_all_parameters_trained_and_activations_computed_again(make, memory):
    trainer = make("simpo", lora=False, gradient_checkpointing=True, packing_memory=memory, pack_tokens=480)
    trainer.model.gradient_checkpointing_enable()
    loss, ours, rows, _ = packed_step(trainer)
    trainer.model.train()  # checkpointing is a thing of training alone
    plan = next(iter(trainer.get_train_dataloader()))["plan"]
    for forward in trainer.objective.passes("train", trainer.model, plan):
        forward().backward()
    again = gradients(trainer)
    expected = expected_loss(trainer, rows)
    expected.backward()
    theirs = gradients(trainer)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    same_gradients(ours, theirs)
    same_gradients(again, theirs)


def test_logits_in_small_parts(make, monkeypatch):
    from cso_train.packing import _forward as forward

    monkeypatch.setattr(forward, "_LOGITS", 2000)
    check(make("dpo"))


@pytest.mark.parametrize("memory", ["pack", "path"])
def test_bf16_within_its_rounding(make, memory):
    trainer = make("simpo", lora=False, packing_memory=memory, pack_tokens=480)
    trainer.model.to(torch.bfloat16)
    trainer.objective.masks = type(trainer.objective.masks)(trainer.model.config, torch.bfloat16)
    loss, ours, rows, _ = packed_step(trainer)
    expected = expected_loss(trainer, rows)
    expected.backward()
    theirs = gradients(trainer)
    assert loss == pytest.approx(float(expected), rel=2e-2)
    mine, other = (torch.cat([each.float().flatten() for each in found.values()]) for found in (ours, theirs))
    assert float(torch.nn.functional.cosine_similarity(mine, other, dim=0)) > 0.99


@pytest.mark.parametrize("memory", ["pack", "path"])
@pytest.mark.parametrize("method", ["dpo", "kto", "sft"])
def test_held_out_rows_have_the_same_mean_loss(make, method, memory):
    trainer = make(method, packing_memory=memory, pack_tokens=480)
    trainer.objective.rows["eval"] = trainer.objective.rows["train"][:5]
    if trainer.objective.table is not None:
        trainer.objective.table = dict(trainer.objective.table)
        for name in [name for name in trainer.objective.table if name.startswith("train")]:
            trainer.objective.table[name.replace("train", "eval")] = trainer.objective.table[name][:5]
    found = trainer.evaluation_loop(trainer.get_eval_dataloader(), "evaluation").metrics["eval_loss"]
    with torch.no_grad():
        assert found == pytest.approx(float(expected_loss(trainer, trainer.objective.rows["eval"])), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "max_length 512 or less"),
        ({"output_router_logits": True}, "output_router_logits"),
        ({"router_jitter_noise": 0.1}, "router_jitter_noise"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ],
)
def test_what_depends_on_more_than_a_tokens_own_path_is_refused(small_config, values, reason):
    from cso_train.errors import TrainConfigError

    cls, sizes = small_config("mixtral")
    check_exact(cls(**sizes), 4096)
    with pytest.raises(TrainConfigError, match=reason) as caught:
        check_exact(cls(**sizes, **values), 4096)
    assert caught.value.field == "packing"


def test_what_takes_no_mask_is_refused():
    from cso_train.errors import TrainConfigError
    from cso_train.packing._attention import check_packable

    with pytest.raises(TrainConfigError, match="models of type 'gpt2' cannot be trained on trees"):
        check_packable("gpt2")
    with pytest.raises(TrainConfigError, match="flash_attention_2 takes no tree's mask"):
        attention_kernel("flash_attention_2", "llama", packed=True, on_gpu=True)
    assert attention_kernel("auto", "llama", packed=True, on_gpu=True) == "tree_flex"
    assert attention_kernel("auto", "gemma2", packed=False, on_gpu=False) == "eager"


def test_a_template_that_writes_the_last_turn_otherwise_is_exact_and_counted(make, model_folder, tree_file):
    trainer = make("dpo")
    assert trainer.unshared == 0
    folder = model_folder("llama")
    template = (folder / "chat_template.jinja").read_text("utf-8")
    changed = template.replace(
        "{{ message['content'] }}", "{{ '' if loop.last else 'earlier: ' }}{{ message['content'] }}"
    )
    assert changed != template
    try:
        (folder / "chat_template.jinja").write_text(changed, "utf-8")
        trainer = make("dpo")
        check(trainer)
        assert trainer.unshared == sum(
            len(json.loads(line)["prompt"]) > 2 for line in tree_file.read_text("utf-8").splitlines()
        )
    finally:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
