"""A small Llama and its tokenizer, made for a world's language: random until it is trained.

What every row repeats, the system prompt, is one token, and so is each strategy's name in brackets; everything else is
spelt in byte pairs that were learnt from the world's text.
"""

import json

import mctsdialog
from mctsdialog.preferences import spoken, system_prompt

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<pad>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]


def make_tokenizer(texts, vocabulary, whole=(), *, phrases=False, sentences=False):
    """A byte-pair tokenizer of the texts with a chat template.

    :param whole: texts that are one token each.
    :param phrases: whether a token may go beyond a word.
    :param sentences: whether a token ends where a sentence does.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not phrases)
    if sentences:
        ends = pre_tokenizers.Split(Regex("(?<=[.?!]) "), "isolated")
        inner.pre_tokenizer = pre_tokenizers.Sequence([ends, inner.pre_tokenizer])
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    inner.add_tokens([AddedToken(text, normalized=False) for text in whole])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=SPECIAL[0], eos_token=SPECIAL[1])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(folder, domain, texts, sizes, seed):
    """Write a random model and its tokenizer, as hubs lay them out."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    whole = [system_prompt(domain), *(spoken(name, "").strip() for name in domain.strategies.names)]
    tokenizer = make_tokenizer(texts, sizes.vocabulary, whole, phrases=True, sentences=sizes.sentences)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.hidden,
        intermediate_size=8 * sizes.hidden // 3,
        num_hidden_layers=sizes.layers,
        num_attention_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=sizes.tied,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_dialogues(path, domain, dialogues):
    """Dialogues as rows for supervised training."""
    system = {"role": "system", "content": system_prompt(domain)}
    rows = ({"messages": [system, *mctsdialog.preferences.chat_messages(each.turns)]} for each in dialogues)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
