"""What a run does on its machines: the plan, DeepSpeed's configuration, the memory it needs."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from cso_train import (
    Machine,
    MemoryEstimate,
    MemoryNeedError,
    ParameterCount,
    TrainConfig,
    TrainConfigError,
    check_fits,
    count_parameters,
    deepspeed_config,
    memory_estimate,
    plan_run,
)
from cso_train._deepspeed import check_deepspeed_config, single_process_environment, world_from_environment
from cso_train.errors import TrainModelError

GIB = 2**30
CPU = Machine(host_bytes=64 * GIB)
A100S = Machine(gpus=8, device_bytes=80 * GIB, host_bytes=1024 * GIB, bf16=True)
LLAMA = ParameterCount(total=8_030_261_248, trainable=8_030_261_248, largest=525_336_576)


@pytest.fixture
def deepspeed(monkeypatch):
    """DeepSpeed, where it is installed; its choice of accelerator is undone."""
    pytest.importorskip("torch")
    monkeypatch.setenv("DS_ACCELERATOR", os.environ.get("DS_ACCELERATOR", "cpu"))
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")


# --- the plan


@pytest.mark.parametrize(
    ("values", "machine", "world", "stage", "precision"),
    [
        ({}, CPU, 1, None, "fp32"),
        ({}, CPU, 2, 2, "fp32"),
        ({}, A100S, 1, 2, "bf16"),
        ({}, A100S, 8, 2, "bf16"),
        ({"precision": "fp32"}, A100S, 8, 2, "fp32"),
        ({"precision": "bf16"}, A100S, 8, 2, "bf16"),
        ({"zero_stage": "none"}, A100S, 8, None, "bf16"),
        ({"zero_stage": 0}, CPU, 1, 0, "fp32"),
        ({"zero_stage": 3}, CPU, 1, 3, "fp32"),
        ({"offload": "optimizer"}, CPU, 1, 2, "fp32"),
        ({"offload": "parameters"}, A100S, 8, 3, "bf16"),
        ({}, Machine(gpus=1), 1, 2, "fp32"),
    ],
)
def test_stage_and_precision_follow_from_the_machine(values, machine, world, stage, precision):
    plan = plan_run(TrainConfig(**values), machine, world_size=world)
    assert (plan.stage, plan.precision) == (stage, precision)


def test_the_batch_is_divided():
    plan = plan_run(TrainConfig(batch_size=32), A100S, world_size=8)
    assert (plan.per_device_batch_size, plan.accumulation) == (4, 1)
    plan = plan_run(TrainConfig(batch_size=32, per_device_batch_size=1), A100S, world_size=8)
    assert (plan.per_device_batch_size, plan.accumulation) == (1, 4)
    with pytest.raises(TrainConfigError, match="cannot be made of 3 devices"):
        plan_run(TrainConfig(batch_size=32), A100S, world_size=3)
    with pytest.raises(TrainConfigError, match="with 2 rows each"):
        plan_run(TrainConfig(method="kto", batch_size=8), A100S, world_size=8)
    with pytest.raises(TrainConfigError, match="9 processes on a machine with 8 GPUs"):
        plan_run(TrainConfig(batch_size=9), A100S, world_size=9)
    assert plan_run(TrainConfig(), A100S, world_size=16, local_world_size=8).nodes == 2


@pytest.mark.parametrize("machine", [CPU, Machine(gpus=2)])
def test_bf16_is_refused_where_it_is_not_supported(machine):
    with pytest.raises(TrainConfigError, match="no bf16 here") as caught:
        plan_run(TrainConfig(precision="bf16"), machine)
    assert caught.value.field == "precision"


def test_without_deepspeed_trained_weights_are_in_fp32():
    plain = {"zero_stage": "none"}
    assert plan_run(TrainConfig(lora=False, **plain), A100S).weights == "fp32"
    assert plan_run(TrainConfig(lora=True, **plain), A100S).weights == "bf16"
    assert plan_run(TrainConfig(lora=False), A100S).weights == "bf16"


def test_the_launchers_announce_the_processes():
    assert world_from_environment({}) == (1, 1)
    assert world_from_environment({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}) == (16, 8)
    assert world_from_environment({"WORLD_SIZE": "4"}) == (4, 4)
    for wrong in ({"WORLD_SIZE": "many"}, {"WORLD_SIZE": "0"}, {"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2"}):
        with pytest.raises(TrainConfigError, match="LOCAL_WORLD_SIZE"):
            world_from_environment(wrong)
    assert single_process_environment({"WORLD_SIZE": "2"}) == {}
    assert world_from_environment(single_process_environment({})) == (1, 1)


def test_this_machine_is_known():
    pytest.importorskip("torch")
    machine = Machine.here()
    assert machine.host_bytes is None or machine.host_bytes > GIB / 4
    assert (machine.gpus == 0) == (machine.device_bytes is None)


# --- DeepSpeed's configuration


def test_one_process_on_the_cpu_needs_no_deepspeed():
    assert deepspeed_config(TrainConfig(), plan_run(TrainConfig(), CPU)) is None


STAGES = [(stage, offload) for stage in (0, 1, 2, 3) for offload in ("none", "optimizer", "parameters")]
ALLOWED = [
    (stage, offload) for stage, offload in STAGES if offload == "none" or stage == 3 or (stage and offload[0] == "o")
]


@pytest.mark.parametrize(("stage", "offload"), ALLOWED)
@pytest.mark.parametrize(("machine", "world"), [(CPU, 1), (CPU, 2), (A100S, 8)], ids=["cpu", "cpus", "gpus"])
def test_every_stage_is_configured(deepspeed, stage, offload, machine, world):
    config = TrainConfig(zero_stage=stage, offload=offload, max_grad_norm=0.5)
    plan = plan_run(config, machine, world_size=world)
    made = deepspeed_config(config, plan)
    assert json.loads(json.dumps(made)) == made
    assert "auto" not in json.dumps(made)
    triple = made["train_micro_batch_size_per_gpu"] * made["gradient_accumulation_steps"] * world
    assert made["train_batch_size"] == 32 == triple
    assert made["gradient_clipping"] == 0.5
    assert made["bf16"]["enabled"] == (machine is A100S)
    zero = made["zero_optimization"]
    assert zero["stage"] == stage
    assert ("offload_optimizer" in zero) == (offload != "none")
    assert ("offload_param" in zero) == (offload == "parameters")


def test_a_configuration_that_does_not_hold_together_is_refused(deepspeed):
    config = TrainConfig(zero_stage=2)
    good = deepspeed_config(config, plan_run(config, A100S, world_size=8))
    check_deepspeed_config(good, world_size=8)
    with pytest.raises(TrainConfigError, match=r"32 is not 4 rows \* 1 steps \* 4 devices"):
        check_deepspeed_config(good, world_size=4)

    def changed(**zero):
        return {**good, "zero_optimization": {**good["zero_optimization"], **zero}}

    with pytest.raises(TrainConfigError, match="offload_param does not go with ZeRO stage 2"):
        check_deepspeed_config(changed(offload_param={"device": "cpu"}), world_size=8)
    with pytest.raises(TrainConfigError, match="DeepSpeed refuses it"):
        check_deepspeed_config(changed(reduce_buckets=3), world_size=8)
    with pytest.raises(TrainConfigError, match="DeepSpeed refuses it"):
        check_deepspeed_config(changed(stage=7), world_size=8)


def test_importing_cso_train_is_light_and_importing_deepspeed_is_silent(deepspeed):
    heavy = ["torch", "transformers", "deepspeed", "trl", "yaml", "datasets"]
    code = f"""
import logging, os, sys
import cso_train
print([name for name in {heavy} if name in sys.modules])
from cso_train._deepspeed import import_deepspeed
import_deepspeed()
print(os.environ["DS_ACCELERATOR"], logging.root.manager.disable)
"""
    environment = {name: value for name, value in os.environ.items() if name != "DS_ACCELERATOR"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "cpu 0"]
    assert done.stderr == ""


TRAIN = """
import os, sys, tempfile
from cso_train import Machine, TrainConfig, deepspeed_config, plan_run
from cso_train._deepspeed import single_process_environment
config = TrainConfig(zero_stage=int(sys.argv[1]), offload=sys.argv[2], batch_size=2, per_device_batch_size=1)
plan = plan_run(config, Machine())
os.environ.update(single_process_environment())
made = deepspeed_config(config, plan)
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
arguments = TrainingArguments(
    tempfile.mkdtemp(), deepspeed=made, per_device_train_batch_size=1, gradient_accumulation_steps=plan.accumulation,
    max_steps=2, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, max_grad_norm=config.max_grad_norm)
small = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4)
row = {"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor([1, 2, 3])}
trainer = Trainer(LlamaForCausalLM(LlamaConfig(**small)), arguments, train_dataset=[row] * 4)
print("steps", trainer.train().global_step)
"""


@pytest.mark.timeout(300)  # the first run on a machine builds a kernel of DeepSpeed's
@pytest.mark.parametrize(("stage", "offload"), [(2, "optimizer"), (3, "parameters")])
def test_a_model_trains_with_what_was_made(deepspeed, stage, offload):
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    command = [sys.executable, "-c", TRAIN, str(stage), offload]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=280)
    assert "steps 2" in done.stdout, done.stderr[-2000:]


# --- parameters


def small_model(folder, tied=True):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=100,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=tied,
    )
    config.save_pretrained(folder)
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_without_weights(tmp_path, tied):
    model = small_model(tmp_path, tied)
    count = count_parameters(TrainConfig(lora=False), str(tmp_path))
    assert count == ParameterCount(model.num_parameters(), model.num_parameters(), 1600)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT reads it
@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "v_proj")])
def test_adapters_are_counted_as_peft_makes_them(tmp_path, targets):
    peft = pytest.importorskip("peft")
    model = small_model(tmp_path, tied=False)
    count = count_parameters(TrainConfig(lora_rank=4, lora_targets=targets), str(tmp_path))
    wanted = targets[0] if targets == ("all-linear",) else list(targets)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=wanted, task_type="CAUSAL_LM"))
    assert count.trainable == adapted.get_nb_trainable_parameters()[0]
    assert count.total == adapted.get_nb_trainable_parameters()[1] - count.trainable


def test_targets_that_are_not_there_and_models_that_cannot_be_read_are_refused(tmp_path):
    small_model(tmp_path)
    with pytest.raises(TrainConfigError, match=r"none of qproj is a linear module.* there are .*q_proj"):
        count_parameters(TrainConfig(lora_targets=("qproj",)), str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "no-such"}', "utf-8")
    with pytest.raises(TrainModelError, match="mine: its configuration cannot be read") as caught:
        count_parameters(TrainConfig(model="mine"), str(tmp_path))
    assert caught.value.model == "mine"


def test_the_embedded_model_is_counted_from_its_header(embedded_model):
    pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    count = count_parameters(TrainConfig(), str(embedded_model.parent), gguf_file=embedded_model.name)
    assert count.total == 134_515_008
    assert count.largest == 49152 * 576
    assert 2_000_000 < count.trainable < 3_000_000


# --- memory


def estimate(count=LLAMA, machine=A100S, world=8, local=None, **values):
    config = TrainConfig(**{"lora": False, "packing": "none", **values}).resolve()
    return memory_estimate(count, config, plan_run(config, machine, world_size=world, local_world_size=local))


def test_zero_2_and_3_are_deepspeeds_own_numbers(deepspeed):
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as zero3
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as zero2

    size = LLAMA.total
    made = estimate(method="simpo", zero_stage=2)
    assert (made.host_bytes, made.device_bytes) == zero2(size, 8, 1, cpu_offload=False)
    made = estimate(method="simpo", zero_stage=2, offload="optimizer")
    assert (made.host_bytes, made.device_bytes) == zero2(size, 8, 1, cpu_offload=True)
    assert made.host_least == zero2(size, 8, 1, cpu_offload=True, additional_buffer_factor=1)[0]
    made = estimate(method="simpo", zero_stage=3)
    assert (made.host_bytes, made.device_bytes) == zero3(size, LLAMA.largest, 8, 1, False, False)[:2]
    made = estimate(method="simpo", zero_stage=3, world=16, local=8, offload="parameters", batch_size=64)
    assert (made.host_bytes, made.device_bytes) == zero3(size, LLAMA.largest, 8, 2, True, True)[:2]


def test_each_stage_takes_less_than_the_one_before(deepspeed):
    sizes = [estimate(zero_stage=stage).device_bytes for stage in (0, 1, 2, 3)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 20 * LLAMA.total
    assert estimate(zero_stage=0, world=1).parts["trained"] == 20 * LLAMA.total
    for stage in (1, 2):
        assert estimate(zero_stage=stage, world=1).parts == estimate(zero_stage=0, world=1).parts


def test_a_reference_model_is_counted_where_there_is_one(deepspeed):
    assert estimate(method="dpo").parts["reference"] == 2 * LLAMA.total
    assert estimate(method="dpo", zero_stage=3).parts["reference"] == 2 * LLAMA.total // 8
    assert estimate(method="dpo", precompute_reference=True).parts["reference"] == 0
    assert estimate(method="orpo").parts["reference"] == 0
    assert estimate(method="dpo", lora=True).parts["reference"] == 0
    assert estimate(method="dpo", packing="tree").parts["reference"] == 0


def test_adapters_need_little_beside_the_frozen_weights(deepspeed):
    adapters = ParameterCount(LLAMA.total, 20_000_000, LLAMA.largest)
    made = estimate(adapters, lora=True)
    assert made.parts["frozen"] == 2 * LLAMA.total
    assert made.parts["trained"] < GIB / 8
    assert estimate(adapters, lora=True, zero_stage=3).parts["frozen"] == 2 * LLAMA.total // 8
    offloaded = estimate(adapters, lora=True, offload="parameters")
    assert offloaded.parts["frozen"] == 0
    assert offloaded.host_least > 2 * LLAMA.total


def test_on_the_cpu_the_host_holds_it_all(deepspeed):
    small = ParameterCount(134_515_008, 134_515_008, 28_311_552)
    plain = estimate(small, CPU, 1, method="sft")
    assert (plain.device_bytes, plain.host_least) == (0, 16 * small.total)
    two = estimate(small, CPU, 2, method="sft")
    assert two.device_bytes == 0
    assert two.host_least == 2 * two.parts["trained"] > plain.host_least
    wide = estimate(small, A100S, 2, method="sft", precision="fp32").parts["trained"]
    assert wide == estimate(small, A100S, 2, method="sft").parts["trained"] + 2 * small.total + small.total
    assert str(plain).startswith("estimated memory of model states: no GPU, host up to 2.")


def test_a_run_that_cannot_fit_is_refused_and_a_tight_one_is_told(deepspeed):
    full = estimate(method="dpo")
    assert check_fits(full, 80 * GIB, 1024 * GIB) == ()
    assert "each GPU" in str(full)
    with pytest.raises(
        MemoryNeedError, match=r"needs .* GiB of device memory .* 24.00 GiB; what helps: lora"
    ) as caught:
        check_fits(full, 24 * GIB, 1024 * GIB)
    assert (caught.value.place, caught.value.needed, caught.value.available) == ("device", full.device_bytes, 24 * GIB)
    (warning,) = check_fits(full, int(full.device_bytes * 1.05), None)
    assert "too little left for activations" in warning
    (warning,) = check_fits(full, None, 64 * GIB)
    assert "loading the model may need up to" in warning
    with pytest.raises(MemoryNeedError, match="host memory"):
        check_fits(estimate(offload="optimizer"), None, 64 * GIB)


def test_what_is_unknown_is_not_judged():
    assert check_fits(MemoryEstimate(10**15, 10**15, 10**15, {}), None, None) == ()
