"""Training on a GPU, where there is one: ``pytest -m gpu -s`` prints tokens a second and peak memory."""

import json
import os
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("deepspeed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the libraries' own warnings
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]


@pytest.fixture(scope="module")
def large_folder(tiny_folder, tmp_path_factory):
    """A Llama of about half a billion random parameters with the small model's tokenizer."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_folder)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=8,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=2048,
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("large")
    with torch.device("cuda"):
        transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("packing", ["none", "tree"])
@pytest.mark.parametrize("lora", ["true", "false"])
def test_dpo_in_bf16_under_zero_2(large_folder, preference_file, tmp_path, lora, packing):
    words = [sys.executable, "-m", "cso_train", "train", "--model", large_folder, "--data", preference_file]
    words += [
        "--lora",
        lora,
        "--packing",
        packing,
        "--batch-size",
        "8",
        "--max-steps",
        "10",
        "--logging-steps",
        "1",
        "--save-steps",
        "1000",  # one checkpoint, at the end: with all parameters it takes gigabytes
        "--lr-scheduler",
    ]
    words += ["constant", "--learning-rate", "1e-3" if lora == "true" else "1e-5", "--output-dir", tmp_path / "out"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert (manifest["precision"], manifest["zero_stage"]) == ("bf16", 2)
    entries = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text("utf-8").splitlines()]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < losses[0]
    tokens = max(entry.get("num_tokens", 0) for entry in entries)  # with trees, of the pairs that they stand for
    tokens = tokens or sum(entry.get("tokens/pairwise", 0) for entry in entries)
    seconds = entries[-1]["train_runtime"]
    peak = manifest["device_peak_bytes"] / 2**30
    print(f"lora {lora}, packing {packing}: {tokens / seconds:.0f} tokens/s, peak {peak:.1f} GiB")
    shutil.rmtree(tmp_path / "out")  # all runs together are more than a disk may hold
