"""Losses beyond plain pairs: their values and gradients on trees against formulas written here, and their limits."""

import itertools
import json
import math

import pytest

from cso_train import TrainConfigError, TrainDataError, load_data, methods, resolve_config
from cso_train._chat import ChatFormat
from cso_train._fit import fit

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train._models import ModelSource, load_model, load_tokenizer  # noqa: E402
from cso_train._trainer import build_trainer, training_settings  # noqa: E402
from cso_train.packing import _objective  # noqa: E402
from cso_train.packing._attention import attention_kernel  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the trainers' own warnings

SYSTEM = {"role": "system", "content": "Choose a strategy."}
NAMES = ("Emotional Validation", "Affirmation", "Collaborative Planning", "Share Information")
WORDS = ("That is hard.", "Do better, now!", "You do well. Do I?", "I am tired of number 3.")


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def turn_rows():
    """Turns of two dialogues with two to four replies, of which not all strategies were said."""
    rows = []
    for number, sizes in enumerate(((3, 2), (4, 3))):
        prompt = [SYSTEM, user(f"I am tired of number {number}.")]
        for depth, size in enumerate(sizes):
            replies = [[assistant(f"({NAMES[at]}) {WORDS[(at + depth) % 4]}")] for at in range(size)]
            values = [0.3 - 0.5 * at + 0.2 * depth for at in range(size)]
            policy = [{"strategy": name, "value": 0.3 - 0.4 * at} for at, name in enumerate(NAMES)]
            row = {"prompt": list(prompt), "replies": replies, "values": values, "policy": policy}
            rows.append({**row, "confidences": [0.9 - 0.1 * at for at in range(size)]})
            prompt += [replies[0][0], user(f"Do I? {depth}")]
    return rows


def pair_rows():
    """The first two replies of each turn as a pair."""
    rows = []
    for row in turn_rows():
        about = {"chosen_worth": row["values"][0], "rejected_worth": row["values"][1], "confidence": 0.8}
        chosen, rejected = row["replies"][:2]
        rows.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected, "provenance": about})
    return rows


@pytest.fixture
def make(model_folder, tmp_path, perturb):
    """A packed trainer over a small model, moved away from its reference."""

    def make(method, rows, **more):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        values = {"method": method, "max_length": 256, "max_completion_tokens": 64, "batch_size": 64, "packing": "tree"}
        config = resolve_config(None, None, {**values, "gradient_checkpointing": False, "lora": True, **more}).config
        source = ModelSource.of(str(model_folder("llama")))
        tokenizer = load_tokenizer(source)
        data = load_data([path], methods.METHODS[method].kind)
        data = fit(ChatFormat.of(tokenizer), data, config.max_length, config.max_completion_tokens)
        kernel = attention_kernel(config.attention, "llama", packed=True, on_gpu=False)
        fixed = {"output_dir": str(tmp_path / "out"), "use_cpu": True, "per_device_train_batch_size": 4, "bf16": False}
        model = load_model(source, dtype=torch.float32, attention=kernel)
        trainer = build_trainer(config, model, tokenizer, data, settings=training_settings(config, fixed))
        trainer.accelerator.prepare_model(trainer.model)
        trainer.objective.ensure_reference()
        perturb(trainer.model)
        trainer.model.eval()
        return trainer

    return make


class Apart:
    """A model's log-probabilities of one reply, computed alone; the strategy's tokens are found by decoding."""

    def __init__(self, trainer):
        self.model, self.chat = trainer.model, ChatFormat.of(trainer.processing_class)
        self.decode = trainer.processing_class.decode

    def tokens(self, prompt, text):
        """(sum over the strategy's name, sum over the words, tokens of each)."""
        before, said = self.chat.turn_tokens(prompt, assistant(text))
        ids = torch.tensor([before + said])
        logits = self.model(input_ids=ids).logits[0, :-1]
        logs = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0][len(before) - 1 :]
        name = text.partition(")")[0] + ")"
        count = next(n for n in range(1, len(said)) if self.decode(said[:n]) == name)
        return logs[:count], logs[count:]

    def own(self, prompt, text, weights=(1.0, 1.0)):
        named, words = self.tokens(prompt, text)
        return weights[0] * named.sum() + weights[1] * words.sum()

    def ratio(self, prompt, text, weights=(1.0, 1.0)):
        with torch.no_grad(), self.model.disable_adapter():
            before = self.own(prompt, text, weights)
        return self.own(prompt, text, weights) - before


def softmax(values):
    whole = sum(map(math.exp, values))
    return [math.exp(value) / whole for value in values]


def log_sigmoid(value):
    return torch.log(1 / (1 + torch.exp(-value)))


def of_pair(row, apart, *, beta=0.1, nll=0.0, e=0.0, offset=0.0, weights=(1.0, 1.0), sure=None):
    texts = [row[side][0]["content"] for side in ("chosen", "rejected")]
    better, worse = (apart.ratio(row["prompt"], text, weights) for text in texts)
    h = beta * (better - worse)
    about = row["provenance"]
    h = h - offset * max(0.0, about["chosen_worth"] - about["rejected_worth"])
    loss = -((1 - e) * log_sigmoid(h) - e * log_sigmoid(-h)) / (1 - 2 * e)
    loss = loss - nll * torch.cat(apart.tokens(row["prompt"], texts[0])).mean()
    return loss if sure is None else sure * loss


def of_set(method, row, apart, *, beta=0.1, temperature=0.5, scale=1.0, weights=(1.0, 1.0), sure=None):
    texts, values = [each[0]["content"] for each in row["replies"]], row["values"]
    ratios = [apart.ratio(row["prompt"], text, weights) for text in texts]
    sure = sure or [1.0] * len(texts)
    rho = [beta * ratio for ratio in ratios]
    q = softmax([value / temperature for value in values])
    if method == "infonca":
        whole = torch.log(sum(map(torch.exp, rho)))
        return -sum(w * p * (r - whole) for w, p, r in zip(sure, q, rho, strict=True))
    if method == "nca":
        good = sum(w * p * log_sigmoid(r) for w, p, r in zip(sure, q, rho, strict=True))
        return -good - sum(w * log_sigmoid(-r) for w, r in zip(sure, rho, strict=True)) / len(rho)
    pairs = list(itertools.combinations(range(len(texts)), 2))
    errors = [sure[i] * sure[j] * (ratios[i] - ratios[j] - scale * (values[i] - values[j])) ** 2 for i, j in pairs]
    return sum(errors) / len(pairs)


def of_policy(row, apart, *, temperature=0.25, weights=(1.0, 1.0)):
    policy = {each["strategy"]: each["value"] for each in row["policy"]}
    q = dict(zip(policy, softmax([value / temperature for value in policy.values()]), strict=True))
    said = {each[0]["content"].partition(")")[0][1:]: each[0]["content"] for each in row["replies"]}
    loss = 0.0
    for name, share in q.items():
        named, words = apart.tokens(row["prompt"], said.get(name, f"({name}) I"))
        loss = loss - weights[0] * share * named.sum()
        if name in said:
            loss = loss - weights[1] * share / sum(q[each] for each in said) * words.mean()
    return loss


def stepped(trainer):
    """(loss, gradients) of a packed step over all rows."""
    plan = next(iter(trainer.get_train_dataloader()))["plan"]
    passes, loss = trainer.objective.passes("train", trainer.model, plan), 0.0
    assert (len(passes) > 1) == plan.by_path == (trainer.objective.memory == "path")
    for forward in passes:
        part = forward()
        part.backward()
        loss += float(part)
    return loss, gradients(trainer)


def gradients(trainer):
    found = {name: each.grad.clone() for name, each in trainer.model.named_parameters() if each.grad is not None}
    trainer.model.zero_grad()
    return found


def same(trainer, expected):
    """The step's loss and gradients are those of the expected loss, in both memory modes."""
    loss, ours = stepped(trainer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.objective, "memory", "path")
        patch.setattr(_objective, "PIECES", 4096 // 20)
        loss_by_path, by_path = stepped(trainer)
    wanted = sum(expected) / len(expected)
    wanted.backward()
    theirs = gradients(trainer)
    for found, own in ((loss, ours), (loss_by_path, by_path)):
        assert found == pytest.approx(float(wanted), rel=1e-5, abs=1e-7)
        same_gradients(own, theirs)


def same_gradients(ours, theirs):
    assert ours.keys() == theirs.keys()
    largest = max(float(each.abs().max()) for each in theirs.values())
    assert largest > 0
    for name, each in theirs.items():
        torch.testing.assert_close(ours[name], each, rtol=1e-5, atol=1e-5 * largest)


PAIRS = [
    ("dpo", {"nll_weight": 0.7}, {"nll": 0.7}),
    ("dpo", {"label_smoothing": 0.2, "beta": 0.4}, {"e": 0.2, "beta": 0.4}),
    ("dpo", {"strategy_weight": 2.0, "reply_weight": 0.3}, {"weights": (2.0, 0.3)}),
    ("dpo", {"strategy_weight": 0.5, "reply_weight": 0.5}, {"weights": (0.5, 0.5)}),
    ("dpo", {"confidence_weights": True}, {"sure": 0.6}),
    ("odpo", {}, {"offset": 1.0}),
    ("odpo", {"offset_weight": 2.5, "nll_weight": 0.1, "beta": 0.4}, {"offset": 2.5, "nll": 0.1, "beta": 0.4}),
]


@pytest.mark.parametrize(("method", "settings", "by_hand"), PAIRS)
def test_losses_of_pairs(make, method, settings, by_hand):
    trainer = make(method, pair_rows(), **settings)
    apart = Apart(trainer)
    same(trainer, [of_pair(row, apart, **by_hand) for row in pair_rows()])


SURE = {0.9: 0.8, 0.8: 0.6, 0.7: 0.4, 0.6: 0.2}  # 2 c - 1, the confidences of the rows
SETS = [
    ("infonca", {"beta": 0.4, "value_temperature": 0.3}, {"beta": 0.4, "temperature": 0.3}),
    ("nca", {"beta": 0.4}, {"beta": 0.4}),
    ("nca", {"strategy_weight": 2.0, "reply_weight": 0.5}, {"weights": (2.0, 0.5)}),
    ("refuel", {"value_scale": 3.0}, {"scale": 3.0}),
    ("refuel", {"strategy_weight": 0.0}, {"weights": (0.0, 1.0)}),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("method", "settings", "by_hand"), SETS)
def test_losses_over_all_replies_of_a_turn(make, method, settings, by_hand, weighted):
    trainer = make(method, turn_rows(), confidence_weights=weighted, **settings)
    apart = Apart(trainer)
    expected = []
    for row in turn_rows():
        sure = [SURE[round(each, 1)] for each in row["confidences"]] if weighted else None
        expected.append(of_set(method, row, apart, sure=sure, **by_hand))
    same(trainer, expected)
    assert max(len(row.replies) for row in trainer.objective.rows["train"]) == 4


HOT = {"strategy_weight": 3.0, "reply_weight": 0.2, "value_temperature": 0.6}


@pytest.mark.parametrize(
    ("settings", "by_hand"),
    [
        ({}, {}),
        (
            {"strategy_weight": 3.0, "reply_weight": 0.2, "value_temperature": 0.6},
            {"weights": (3.0, 0.2), "temperature": 0.6},
        ),
    ],
)
def test_the_policy_of_a_tree_is_the_target(make, settings, by_hand):
    trainer = make("distill", turn_rows(), **settings)
    apart = Apart(trainer)
    same(trainer, [of_policy(row, apart, **by_hand) for row in turn_rows()])


def test_replies_without_a_strategy_are_no_target(make):
    rows = turn_rows()
    bare = {**rows[0], "replies": [[assistant(text)] for text in WORDS[:3]], "policy": None}
    alone, together = stepped(make("distill", rows)), stepped(make("distill", [*rows, bare]))
    assert together[0] == pytest.approx(alone[0] * len(rows) / (len(rows) + 1), rel=1e-5)


def test_infonca_of_two_replies_is_dpo(make):
    found = []
    for method in ("dpo", "infonca"):
        settings = {"value_temperature": 1e-3} if method == "infonca" else {}
        trainer = make(method, pair_rows(), beta=0.4, **settings)
        found.append(stepped(trainer))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    same_gradients(found[1][1], found[0][1])


def test_without_an_offset_and_a_likelihood_odpo_is_dpo(make):
    found = [stepped(make("dpo", pair_rows())), stepped(make("odpo", pair_rows(), offset_weight=0.0))]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    same_gradients(found[1][1], found[0][1])


def test_nca_of_two_replies_is_that_of_trl(make):
    trainer = make("nca", pair_rows(), beta=0.4, value_temperature=1e-3)
    loss, ours = stepped(trainer)
    apart, expected = Apart(trainer), []
    for row in pair_rows():  # as DPOTrainer has it under loss_type nca_pair
        texts = [row[side][0]["content"] for side in ("chosen", "rejected")]
        chosen, rejected = (0.4 * apart.ratio(row["prompt"], text) for text in texts)
        expected.append(-log_sigmoid(chosen) - 0.5 * log_sigmoid(-chosen) - 0.5 * log_sigmoid(-rejected))
    wanted = sum(expected) / len(expected)
    wanted.backward()
    assert loss == pytest.approx(float(wanted), rel=1e-5)
    same_gradients(ours, gradients(trainer))


def test_turns_of_different_sizes_are_the_same_alone_and_together(make):
    rows = turn_rows()
    together = stepped(make("refuel", rows))[0]
    alone = [stepped(make("refuel", [row]))[0] for row in rows]
    assert together == pytest.approx(sum(alone) / len(alone), rel=1e-5)


def test_a_loss_that_needs_values_or_confidences_says_so(make):
    bare = [{name: value for name, value in row.items() if name != "provenance"} for row in pair_rows()]
    with pytest.raises(TrainDataError, match="4 of 4 rows have no values, which odpo needs"):
        make("odpo", bare)
    with pytest.raises(TrainDataError, match="4 of 4 rows have no confidence"):
        make("dpo", bare, confidence_weights=True)
    with pytest.raises(TrainDataError, match="has no values of its replies, which the method needs"):
        make("infonca", bare)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"values": [0.1]}, "must be 3 finite numbers"),
        ({"values": [0.1, True, 0.2]}, "must be 3 finite numbers"),
        ({"replies": []}, "a list of one reply or more"),
        ({"replies": [[user("I am no reply.")]]}, "must be one message of the assistant"),
        ({"confidences": [0.1, 0.2, 1.3]}, "must be 3 numbers from 0 to 1"),
        ({"policy": [{"strategy": "Affirmation"}]}, "a strategy and its value"),
    ],
)
def test_turns_that_are_malformed_are_refused(tmp_path, row, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**turn_rows()[0], **row}), "utf-8")
    with pytest.raises(TrainDataError, match=message):
        load_data([path], "turns")


def test_what_trl_cannot_compute_is_trained_on_trees_alone(model_folder, tmp_path):
    from cso_train import train

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in turn_rows()), "utf-8")
    given = {"model": str(model_folder("llama")), "data": str(path), "output_dir": str(tmp_path / "out"), "lora": False}
    given |= {"max_steps": 2, "max_length": 256, "max_completion_tokens": 64, "learning_rate": 1e-2, "logging_steps": 1}
    with pytest.raises(TrainConfigError, match=r"packing: .*over all replies of a turn.*; take packing tree"):
        train(resolve_config(None, None, {**given, "method": "nca", "packing": "none"}), say=lambda line: None)
    for method in ("infonca", "nca", "refuel", "distill"):
        settings = {**given, "method": method, "output_dir": str(tmp_path / method)}
        assert train(resolve_config(None, None, settings), say=lambda line: None).finished
