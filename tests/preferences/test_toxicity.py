"""Toxicity scoring: what every scorer is held to, and the local one with tiny random models."""

import importlib
import math
import sys

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.errors import ConfigError, DataError, ModelNotFoundError, ModelResponseError
from mctsdialog.statistics import ATTRIBUTES, LocalToxicityScorer, ToxicityScorer, score_unique

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def value(text, attribute):
    """A score that depends on the text and the attribute."""
    return (len(text) * 7 + ATTRIBUTES.index(attribute)) % 100 / 100


def expected(text, attributes=ATTRIBUTES):
    return {attribute: value(text, attribute) for attribute in attributes}


# --- any scorer


class Scorer:
    """Gives canned answers."""

    name = "canned"
    attributes = ("TOXICITY", "INSULT")

    def __init__(self, answer=None):
        self.calls = []
        self.answer = answer or (lambda texts: [expected(text, self.attributes) for text in texts])

    async def score(self, texts, /):
        self.calls.append(list(texts))
        return self.answer(texts)


@given(st.lists(st.text(min_size=1, max_size=3).filter(str.strip), max_size=15))
def test_score_unique_keeps_order_and_length(texts):
    scorer = Scorer()
    found = anyio.run(score_unique, scorer, texts)
    assert found == [expected(text, scorer.attributes) for text in texts]
    assert scorer.calls == ([list(dict.fromkeys(texts))] if texts else [])
    assert len({id(each) for each in found}) == len(texts)


GOOD = {"TOXICITY": 0.1, "INSULT": 0.1}


@pytest.mark.parametrize(
    "answer", [[], [GOOD], [GOOD, GOOD, GOOD], [GOOD, {"TOXICITY": 0.1}], [GOOD, None], [GOOD, [1]]]
)
async def test_an_answer_that_leaves_something_out_is_an_error(answer):
    with pytest.raises(ModelResponseError, match="canned"):
        await score_unique(Scorer(lambda texts: answer), ["a", "b"])


@pytest.mark.parametrize("score", [1.01, -0.01, math.nan, math.inf, "0.5", None, True, 10**400, {"summaryScore": 0.5}])
async def test_what_is_no_probability_never_becomes_a_score(score):
    with pytest.raises(ModelResponseError, match=r"canned: INSULT is .*, not a probability in \[0, 1\]"):
        await score_unique(Scorer(lambda texts: [{**GOOD, "INSULT": score}]), ["a"])


@pytest.mark.parametrize("blank", ["", "  \n\t"])
async def test_an_empty_text_is_named_before_the_scorer_is_asked(blank):
    scorer = Scorer()
    with pytest.raises(DataError, match="item 2: the text is empty") as caught:
        await score_unique(scorer, ["a", "b", blank])
    assert caught.value.item == 2
    assert not scorer.calls


@pytest.mark.parametrize("texts", ["one text", ["fine", 3], ["fine", "half \ud83d"]])
async def test_what_is_no_list_of_texts(texts):
    scorer = Scorer()
    with pytest.raises(DataError):
        await score_unique(scorer, texts)
    assert not scorer.calls


async def test_score_unique_names_the_callers_index():
    def refuse(texts):
        raise DataError("will not do", item=1)

    with pytest.raises(DataError, match="item 3: will not do"):
        await score_unique(Scorer(refuse), ["a", "a", "a", "b"])


# --- the local scorer

TOXIC_BERT = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
MULTI = "multi_label_classification"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Writes tiny random classifiers: ``make_model(labels, problem_type)`` returns the folder."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import torch

    def make(labels, problem_type=MULTI, head=True):
        folder = tmp_path_factory.mktemp("model")
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            problem_type=problem_type,
            initializer_range=0.5,
        )
        (transformers.BertForSequenceClassification if head else transformers.BertModel)(config).save_pretrained(folder)
        if not head:
            config.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def toxic_bert(make_model):
    return make_model(TOXIC_BERT)


def logits_of(folder, text, length=64):
    """The logits of a text's first window, computed by hand."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=length)
    with torch.no_grad():
        return AutoModelForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits[0]


def near(scores):
    """Batches of other shapes differ in the last digits."""
    return pytest.approx(scores, abs=1e-5)


async def test_local_scores_are_the_sigmoid_of_their_labels(toxic_bert):
    texts = ["a b c", "x", "a b c", "q r s t u v w"]
    async with LocalToxicityScorer(str(toxic_bert), device="cpu", batch_size=2) as scorer:
        assert isinstance(scorer, ToxicityScorer)
        assert scorer.attributes == ATTRIBUTES
        found = await scorer.score(texts)
        assert await scorer.score([]) == []
    assert [list(each) for each in found] == [list(ATTRIBUTES)] * 4
    columns = dict(zip(ATTRIBUTES, [0, 1, 5, 4, 2, 3], strict=True))
    for text, each in zip(texts, found, strict=True):
        direct = logits_of(toxic_bert, text).sigmoid()
        assert each == {name: pytest.approx(float(direct[columns[name]]), abs=1e-5) for name in ATTRIBUTES}
    assert found[0] == found[2] != found[1]
    assert found[0] is not found[2]


@pytest.mark.parametrize(
    ("labels", "problem", "attributes", "softmax"),
    [
        (["non-toxic", "toxic"], None, ("TOXICITY",), True),
        (["neutral", "Toxic"], "single_label_classification", ("TOXICITY",), True),
        (["neutral", "toxic", "threat"], "single_label_classification", ("TOXICITY", "THREAT"), True),
        (["toxicity", "insult"], None, ("TOXICITY", "INSULT"), False),
        (["toxic", "other"], MULTI, ("TOXICITY",), False),
        (["sexual", "threat", "Identity Attack"], None, ("IDENTITY_ATTACK", "THREAT"), False),
        (["toxic"], None, ("TOXICITY",), False),
    ],
)
async def test_other_sets_of_labels(labels, problem, attributes, softmax, make_model):
    folder = make_model(labels, problem)
    async with LocalToxicityScorer(folder, device="cpu") as scorer:
        assert scorer.attributes == attributes
        (found,) = await scorer.score(["a b c"])
    logits = logits_of(folder, "a b c")
    direct = logits.softmax(-1) if softmax else logits.sigmoid()
    known = {"toxic": "TOXICITY", "toxicity": "TOXICITY", "identity attack": "IDENTITY_ATTACK"}
    by_name = {known.get(label.lower(), label.upper()): float(each) for label, each in zip(labels, direct, strict=True)}
    assert found == {name: pytest.approx(by_name[name], abs=1e-5) for name in attributes}


async def test_a_long_text_is_cut_into_windows(toxic_bert):
    words = [WORDS[5 + index % 26] for index in range(45)]
    async with LocalToxicityScorer(toxic_bert, device="cpu", max_tokens=18) as scorer:
        long, short = await scorer.score([" ".join(words), "a b"])
    windows = [words[start : start + 16] for start in range(0, 45, 14)]  # 18 less two marks; they share 18 // 8
    direct = [logits_of(toxic_bert, " ".join(window)).sigmoid() for window in windows]
    assert long["TOXICITY"] == pytest.approx(max(float(each[0]) for each in direct), abs=1e-5)
    assert long["THREAT"] == pytest.approx(max(float(each[3]) for each in direct), abs=1e-5)
    assert short["TOXICITY"] == pytest.approx(float(logits_of(toxic_bert, "a b").sigmoid()[0]), abs=1e-5)


async def test_max_tokens_above_the_models_own(toxic_bert):
    async with LocalToxicityScorer(toxic_bert, device="cpu", max_tokens=5000) as scorer:
        assert len(await scorer.score(["a " * 1000])) == 1


async def test_local_calls_overlap_and_leave_the_loop_free(toxic_bert):
    texts = [" ".join(WORDS[5 : 6 + index]) for index in range(20)]
    scorer = LocalToxicityScorer(toxic_bert, device="cpu", batch_size=4)
    ticks, found = 0, []

    async def call():
        found.append(await scorer.score(texts))

    async def tick():
        nonlocal ticks
        while len(found) < 3:
            ticks += 1
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        for each in (call, call, call, tick):
            group.start_soon(each)
    for each in zip(*found, strict=True):
        assert near(each[0]) == each[1]
        assert near(each[0]) == each[2]
    assert ticks > 3
    await scorer.aclose()
    await scorer.aclose()
    assert await scorer.score(texts[:1]) == [near(found[0][0])]


async def test_an_empty_text_is_an_error_here_too(toxic_bert):
    scorer = LocalToxicityScorer(toxic_bert, device="cpu")
    with pytest.raises(DataError, match="item 1"):
        await scorer.score(["a", " "])


async def test_weights_that_give_no_number(make_model):
    import torch
    from transformers import BertForSequenceClassification

    folder = make_model(["toxic", "insult"])
    model = BertForSequenceClassification.from_pretrained(folder)
    torch.nn.init.constant_(model.classifier.bias, math.nan)
    model.save_pretrained(folder)
    with pytest.raises(ModelResponseError, match="nan"):
        await LocalToxicityScorer(folder, device="cpu").score(["a"])


async def test_a_model_without_a_trained_head(make_model):
    folder = make_model(TOXIC_BERT, head=False)
    with pytest.raises(ConfigError, match="not a trained classifier, it lacks classifier"):
        await LocalToxicityScorer(folder, device="cpu").score(["a"])


async def test_a_device_that_is_not_there(toxic_bert):
    with pytest.raises(ConfigError, match="'no-such-device'") as caught:
        await LocalToxicityScorer(toxic_bert, device="no-such-device").score(["a"])
    assert caught.value.field == "device"


def test_a_model_of_other_labels(make_model):
    with pytest.raises(ConfigError, match="it has: happy, sad"):
        LocalToxicityScorer(make_model(["happy", "sad"]))
    with pytest.raises(ConfigError, match="regression"):
        LocalToxicityScorer(make_model(["toxic"], "regression"))


def test_a_model_that_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        LocalToxicityScorer(str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFoundError, match="cannot be loaded"):
        LocalToxicityScorer(tmp_path)
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match="nobody/no-such-model cannot be loaded"):
        LocalToxicityScorer("nobody/no-such-model")


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_without_the_extra(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"mctsdialog\[train\]"):
        LocalToxicityScorer()


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_tokens": 15}])
def test_local_settings_are_checked(options):
    with pytest.raises(ConfigError) as caught:
        LocalToxicityScorer(**options)
    assert caught.value.field == next(iter(options))
