"""Written data goes through the trainers that it is written for: TRL reads it, and takes a step."""

import math

import pytest

from mctsdialog.preferences import PreferenceDataset, write_dataset

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the trainers' own warnings

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def trl():
    pytest.importorskip("torch")
    return pytest.importorskip("trl")


@pytest.fixture(scope="module")
def folder(maker, tmp_path_factory):
    """A dataset on disk."""
    trees = []
    for index in range(4):
        tree = maker.tree(id=f"tree {index}", opening=f"I am {index}.")
        first = maker.family(tree, 0, {"Ask": (0.8, 5), "Comfort": (0.2, 1), "Plan": (-0.5, 1)})
        maker.family(tree, first["Ask"], {"Comfort": (0.9, 2, "end"), "Plan": (-2.0, 1)})
        trees.append(tree)
    out = tmp_path_factory.mktemp("dataset")
    write_dataset({"train": PreferenceDataset.from_trees(trees)}, out)
    return out


@pytest.fixture(scope="module")
def tokenizer(trl, folder):
    """A tokenizer of its own making, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    specials = ["<pad>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train([str(folder / "sft" / "train.jsonl")], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>")
    made.chat_template = TEMPLATE
    return made


@pytest.fixture
def model(tokenizer):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **sizes))


@pytest.mark.parametrize(
    ("form", "trainer", "config", "columns"),
    [
        ("preference", "DPOTrainer", "DPOConfig", {"prompt_ids", "chosen_ids", "rejected_ids"}),
        ("unpaired", "KTOTrainer", "KTOConfig", {"prompt_ids", "completion_ids", "label"}),
        ("sft", "SFTTrainer", "SFTConfig", {"input_ids"}),
    ],
)
def test_a_trainer_reads_the_file_and_takes_a_step(
    trl, folder, tokenizer, model, tmp_path, form, trainer, config, columns
):
    import copy

    import datasets

    rows = datasets.load_dataset(str(folder), form, split="train", cache_dir=str(tmp_path / "cache"))
    settings = getattr(trl, config)(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=4,
        max_length=1024,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
    )
    reference = {} if form == "sft" else {"ref_model": copy.deepcopy(model)}
    made = getattr(trl, trainer)(
        model=model, args=settings, train_dataset=rows, processing_class=tokenizer, **reference
    )
    assert len(made.train_dataset) == len(rows)
    assert columns <= set(made.train_dataset.column_names), made.train_dataset.column_names
    first = made.train_dataset[0]
    shown = tokenizer.decode(first.get("prompt_ids") or first["input_ids"])
    assert "The strategies:" in shown  # the system prompt
    assert "I am 0." in shown
    assert math.isfinite(made.train().training_loss)
