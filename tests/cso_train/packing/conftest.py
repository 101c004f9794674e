"""Rows of branching dialogues, and small random models of every architecture that trees are trained on."""

import json

import pytest

SYSTEM = {"role": "system", "content": "Choose a strategy."}
STRATEGIES = ("Emotional Validation", "Affirmation", "Collaborative Planning", "Share Information")


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def tree_rows(dialogues=3, turns=3, rejected=2):
    """Preference rows as trees give them: each turn's prompt goes on where the chosen reply before it ended."""
    rows = []
    for number in range(dialogues):
        prompt = [SYSTEM, user(f"I am tired of number {number}.")]
        for turn in range(turns):
            chosen = assistant(f"({STRATEGIES[turn % 4]}) That is hard, {number}.")
            for other in range(rejected):
                worse = assistant(f"({STRATEGIES[(turn + other + 1) % 4]}) Do better{'!' * other} {turn}.")
                rows.append({"prompt": list(prompt), "chosen": [chosen], "rejected": [worse]})
            prompt += [chosen, user(f"Do I? {turn}")]
    return rows


def sft_rows(dialogues=3):
    """Dialogues, two of each seed, that part after the first turn."""
    rows = []
    for number in range(dialogues):
        start = [
            SYSTEM,
            user(f"I am tired of number {number}."),
            assistant("(Affirmation) You do well."),
            user("Do I?"),
        ]
        ends = ("That is hard.", "Do better, now.")
        rows += [{"messages": [*start, assistant(f"(Emotional Validation) {end}")]} for end in ends]
    return rows


@pytest.fixture(scope="session")
def tree_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tree_rows()), "utf-8")
    return path


@pytest.fixture(scope="session")
def branching_sft_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "dialogues.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in sft_rows()), "utf-8")
    return path


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
WINDOW = 24
"""Tokens that a sliding window sees: less than the rows have, so that it matters."""


def architecture(name):
    """(config class, its values) of a small model of that type."""
    import transformers

    windowed = ("gemma2", "gemma3_text", "gpt_oss", "mistral", "mixtral", "phi3")
    more = {"sliding_window": WINDOW} if name in windowed else {}
    configs = {
        "gemma3_text": transformers.Gemma3TextConfig,
        "gpt_oss": transformers.GptOssConfig,
        "granite": transformers.GraniteConfig,
        "mixtral": transformers.MixtralConfig,
        "olmo2": transformers.Olmo2Config,
        "phi3": transformers.Phi3Config,
        "qwen3_moe": transformers.Qwen3MoeConfig,
        "smollm3": transformers.SmolLM3Config,
        "llama": transformers.LlamaConfig,
        "mistral": transformers.MistralConfig,
        "qwen2": transformers.Qwen2Config,
        "qwen3": transformers.Qwen3Config,
        "gemma2": transformers.Gemma2Config,
    }
    if name == "gemma2":
        more |= {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8}
    if name == "gemma3_text":
        more |= {"layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 8}
    if name == "smollm3":
        more |= {"layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True}
        more |= {"sliding_window": WINDOW, "no_rope_layers": [1, 0]}
    if name == "granite":
        more |= {"logits_scaling": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2}
        more |= {"embedding_multiplier": 2.0}
    if name in ("mixtral", "gpt_oss"):
        more |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    if name == "qwen3_moe":
        more |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    return configs[name], {**SIZES, **more}


@pytest.fixture(scope="session")
def small_config():
    """Gives (config class, its values) of a small model of an architecture."""
    return architecture


@pytest.fixture(scope="session")
def model_folder(tiny_folder, tmp_path_factory):
    """Gives the folder of a small random model of an architecture, with the small tokenizer."""
    import torch
    import transformers

    made = {}

    def make(name):
        if name not in made:
            tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_folder)
            cls, values = architecture(name)
            torch.manual_seed(0)
            config = cls(vocab_size=len(tokenizer), initializer_range=0.2, **values)
            folder = tmp_path_factory.mktemp(name)
            transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[name] = folder
        return made[name]

    return make
