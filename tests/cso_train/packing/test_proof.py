"""A run shows that trees give what single rows do before it trains on them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train import resolve_config, train  # noqa: E402
from cso_train._run import training  # noqa: E402
from cso_train.errors import RunError  # noqa: E402
from cso_train.methods import Reply, ReplySet  # noqa: E402
from cso_train.packing import _attention as attention  # noqa: E402
from cso_train.packing import _flex  # noqa: E402
from cso_train.packing._attention import PACKABLE, TREE_FLEX, MaskMaker, attention_kernel  # noqa: E402
from cso_train.packing._forward import add_tree_head  # noqa: E402
from cso_train.packing._proof import difference  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the trainers' own warnings


def rows():
    draw = np.random.default_rng(0)
    trunk, found = draw.integers(2, 100, 80), []
    for cut in (20, 50, 80, 80, 60):
        replies = [np.concatenate([trunk[:cut], draw.integers(2, 100, 15)]) for _ in range(2)]
        parts = [Reply(ids, np.arange(cut, len(ids)), {"all": np.arange(1, len(ids))}) for ids in replies]
        found.append(ReplySet(tuple(parts)))
    return found


@pytest.fixture
def network(small_config):
    """Gives a small random model of an architecture, for packs."""
    import transformers

    def make(name, dtype=torch.float32):
        cls, values = small_config(name)
        torch.manual_seed(0)
        kernel = attention_kernel("auto", name, packed=True, on_gpu=False)
        config = cls(vocab_size=100, initializer_range=0.2, **values)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=kernel).eval().to(dtype)
        add_tree_head(model)
        return model, MaskMaker(model.config, dtype)

    return make


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PACKABLE)
def test_trees_differ_by_rounding(network, name, dtype):
    model, masks = network(name, dtype)
    found = difference(model, rows(), masks, torch.device("cpu"))
    assert found.is_rounding, found
    assert found.gradients > 0
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_a_wrong_mask_is_more_than_rounding(network, monkeypatch, name, dtype):
    def leaky(tree, window=None):
        seen = np.tril(np.ones((len(tree), len(tree)), np.bool_))
        return seen & (tree.depths[:, None] - tree.depths[None] >= 0)

    monkeypatch.setattr(attention, "tree_mask", leaky)
    model, masks = network(name, dtype)
    assert not difference(model, rows(), masks, torch.device("cpu")).is_rounding


@pytest.mark.parametrize("name", ["gradients", "sums"])
def test_gradients_are_looked_at_as_well(network, monkeypatch, name):
    """A kernel that is wrong in its backward pass alone, as a compiled one may be."""

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(context, states):
            return states.view_as(states)

        @staticmethod
        def backward(context, gradient):
            return gradient * 1.1

    model, masks = network("llama")
    real = attention._tree_sdpa

    def wrong(module, query, key, value, *given, **named):
        return real(module, query, Wrong.apply(key) if name == "gradients" else key * 1.05, value, *given, **named)

    from transformers import AttentionInterface

    AttentionInterface.register(attention.TREE_SDPA, wrong)
    try:
        found = difference(model, rows(), masks, torch.device("cpu"))
    finally:
        AttentionInterface.register(attention.TREE_SDPA, real)
    assert not found.is_rounding
    assert (found.sums <= found.tolerance) == (name == "gradients")


@pytest.fixture
def run(tiny_folder, tree_file, tmp_path, monkeypatch):
    """Gives what a short run says whose kernel is FlexAttention, proved as on a GPU."""

    def run(**more):
        monkeypatch.setattr(training, "make_trainer", _proved(training.make_trainer))
        values = {"model": str(tiny_folder), "data": str(tree_file), "output_dir": str(tmp_path / "out")}
        values |= {"method": "simpo", "packing": "tree", "max_length": 256, "max_completion_tokens": 64, "max_steps": 2}
        said = []
        result = train(resolve_config(None, None, values | more), say=said.append)
        assert result.finished
        return said

    return run


def _proved(make):
    def made(prepared, folder):
        trainer, stop = make(prepared, folder)
        trainer.model.get_base_model().config._attn_implementation = attention.register_tree_flex()
        trainer.unproven = True
        return trainer, stop

    return made


def test_a_run_whose_kernel_fails_goes_on_with_sdpa(run, monkeypatch):
    monkeypatch.setattr(_flex, "backend", "eager")
    said = "\n".join(run())  # FlexAttention has no backward pass on a CPU
    assert "warning: FlexAttention does not compute trees here (" in said
    assert "training goes on with SDPA" in said
    assert "was compiled" not in said


def test_a_run_whose_trees_are_wrong_in_any_case_ends(run, monkeypatch):
    monkeypatch.setattr(attention, "tree_mask", lambda tree, window=None: np.tril(np.ones((len(tree),) * 2, np.bool_)))
    with pytest.raises(RunError, match=r"trees do not give what single rows do: .*take --packing none"):
        run()
    assert TREE_FLEX == "tree_flex"
