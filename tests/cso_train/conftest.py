"""A model and a tokenizer small enough to be trained in a test, in a folder as hubs lay them out."""

import json

import pytest

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
STRATEGIES = ("Emotional Validation", "Affirmation", "Collaborative Planning", "Share Information")


@pytest.fixture(scope="session")
def perturb():
    """Moves what is trained: at the start a policy is its own reference, and several losses are constants."""
    torch = pytest.importorskip("torch")

    def moved(model):
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn_like(parameter))

    return moved


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def rows_of(count):
    """Preference rows of ``count`` dialogues in which one strategy is always better."""
    rows = []
    for index in range(count):
        prompt = [
            {"role": "system", "content": "Choose a strategy."},
            {"role": "user", "content": f"I am tired of number {index}."},
        ]
        if index % 2:
            prompt += [
                {"role": "assistant", "content": "(Affirmation) You do well."},
                {"role": "user", "content": "Do I?"},
            ]
        rows.append(
            {
                "prompt": prompt,
                "chosen": [{"role": "assistant", "content": f"({STRATEGIES[0]}) That is hard, {index}."}],
                "rejected": [{"role": "assistant", "content": f"({STRATEGIES[1 + index % 3]}) Do better, now."}],
            }
        )
    return rows


@pytest.fixture(scope="session")
def preference_file(tmp_path_factory):
    """Sixteen preference rows."""
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows_of(16))


@pytest.fixture(scope="session")
def sft_file(tmp_path_factory):
    """Eight dialogues."""
    rows = [{"messages": row["prompt"] + row["chosen"]} for row in rows_of(8)]
    return write_rows(tmp_path_factory.mktemp("rows") / "dialogues.jsonl", rows)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A Llama of two small layers, random, with a chat template."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    specials = ["<pad>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    texts = [message["content"] for row in rows_of(16) for value in row.values() for message in value]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator(texts, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
    )
    folder = tmp_path_factory.mktemp("tiny")
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
