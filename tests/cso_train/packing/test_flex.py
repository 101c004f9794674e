"""FlexAttention on trees: its block masks, how often it is compiled, and what it computes."""

import collections
import functools
import random
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from torch.nn.attention.flex_attention import create_mask  # noqa: E402

from cso_train.methods import Reply, ReplySet  # noqa: E402
from cso_train.packing import _flex, token_tree, tree_mask  # noqa: E402
from cso_train.packing._attention import MaskMaker, register_tree_flex  # noqa: E402
from cso_train.packing._forward import add_tree_head, make_pack  # noqa: E402
from cso_train.packing._plan import Planner  # noqa: E402
from cso_train.packing._rows import Layout  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # PyTorch's own warnings


@pytest.fixture
def counted(monkeypatch):
    """The lengths that were compiled for, by a backend that compiles nothing."""
    monkeypatch.setattr(_flex, "backend", "eager")
    monkeypatch.setattr(_flex, "compiled", [])
    monkeypatch.setattr(_flex, "_compiled_attention", functools.cache(_flex._compiled_attention.__wrapped__))
    torch.compiler.reset()
    return _flex.compiled


def some_tree(seed, branches, longest=150):
    draw = np.random.default_rng(seed)
    trunk = draw.integers(0, 9, longest)
    cuts = draw.integers(1, longest, branches)
    return token_tree([np.concatenate([trunk[:cut], draw.integers(0, 9, 40)]) for cut in cuts])


@pytest.mark.parametrize("branches", [1, 4, 40])
def test_blocks_are_the_dense_mask(branches):
    tree = some_tree(0, branches)
    length = _flex.rung(len(tree))
    for window in (None, 30):
        blocks = _flex.block_mask(tree, window, torch.device("cpu"))
        whole = create_mask(blocks.mask_mod, None, None, length, length, device="cpu")[0, 0]
        dense = torch.from_numpy(tree_mask(tree, window))
        assert torch.equal(whole[: len(tree), : len(tree)], dense)
        assert torch.equal(whole[len(tree) :].sum(1), torch.ones(length - len(tree), dtype=torch.long))
        computed = blocks.to_dense()[0, 0].bool()
        needed = torch.nn.functional.max_pool2d(whole[None, None].float(), 128)[0, 0].bool()
        assert not (needed & ~computed).any()
        if window is None:
            assert torch.equal(computed, needed)
        full = torch.zeros_like(computed)
        for row, (count, columns) in enumerate(
            zip(blocks.full_kv_num_blocks[0, 0], blocks.full_kv_indices[0, 0], strict=True)
        ):
            full[row, columns[:count].long()] = True
        everywhere = ~torch.nn.functional.max_pool2d((~whole)[None, None].float(), 128)[0, 0].bool()
        assert not (full & ~everywhere).any()
        if window is None:
            assert torch.equal(full, everywhere)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("heads", [4, 6])
def test_it_computes_what_the_dense_mask_says(counted, softcap, heads):
    draw = torch.Generator().manual_seed(0)
    for seed, branches in ((0, 2), (1, 9), (2, 20), (3, 1)):
        tree = some_tree(seed, branches)
        shapes = ((1, heads, len(tree), 8), (1, 2, len(tree), 8), (1, 2, len(tree), 8))
        query, key, value = (torch.randn(shape, generator=draw) for shape in shapes)
        sinks = torch.randn(heads, generator=draw)
        for window in (None, 30):
            mask = _flex.block_mask(tree, window, torch.device("cpu"))
            wide = (each.repeat_interleave(heads // 2, 1) for each in (key, value))
            keys, values = wide
            scores = query @ keys.transpose(2, 3) * 0.3
            scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
            scores = scores.masked_fill(~torch.from_numpy(tree_mask(tree, window)), -torch.inf)
            with torch.no_grad():
                ours, _ = _flex.tree_flex_attention(None, query, key, value, mask, scaling=0.3, softcap=softcap)
            torch.testing.assert_close(ours, (scores.softmax(-1) @ values).transpose(1, 2))
            with_sinks = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(1, -1, len(tree), 1)], -1)
            with torch.no_grad():
                ours, _ = _flex.tree_flex_attention(
                    None, query, key, value, mask, scaling=0.3, softcap=softcap, s_aux=sinks
                )
            torch.testing.assert_close(ours, (with_sinks.softmax(-1)[..., :-1] @ values).transpose(1, 2))
    assert sorted(set(counted)) == [512, 1024]
    assert len(counted) == 4  # with sinks and without


def test_an_epoch_of_data_of_the_papers_shape_compiles_a_few_times(counted):
    rows, lengths, calls = paper_rows(), [], collections.Counter()
    for sampler in ("pairs", "dialogues"):
        planner = Planner(rows, 32, 4096, sampler, 0)
        for number in range(planner.steps):
            for indices in planner.step(planner.order(0), number).packs:
                tree = token_tree([reply.ids for index in indices for reply in rows[index].replies])
                lengths.append(len(tree))
                calls[_flex.rung(len(tree))] += 1
                if calls[_flex.rung(len(tree))] <= 3:
                    states = torch.ones(1, 1, len(tree), 1)
                    mask = _flex.block_mask(tree, None, torch.device("cpu"))
                    with torch.no_grad():  # on a CPU it has no backward pass
                        found, _ = _flex.tree_flex_attention(None, states, states, states, mask, scaling=1.0)
                    torch.testing.assert_close(found, torch.ones(1, len(tree), 1, 1))
    assert len(set(lengths)) > 6
    assert max(lengths) > 2048
    assert sorted(counted) == sorted(calls)
    assert len(counted) <= 6


def paper_rows():
    """Pairs of 16 dialogues of about 7 turns with 2 or 3 rejected replies each, 300 tokens before the first."""
    draw, generator = random.Random(0), np.random.default_rng(0)
    rows, system = [], generator.integers(0, 300, 300)

    def said():
        return generator.integers(0, 300, draw.randint(20, 40))

    for _ in range(16):
        history = np.concatenate([system, said()])
        for _ in range(draw.randint(5, 9)):
            chosen = said()
            for _ in range(draw.randint(2, 3)):
                replies = (np.concatenate([history, each]) for each in (chosen, said()))
                rows.append(ReplySet(tuple(Reply(ids, np.arange(len(history), len(ids))) for ids in replies)))
            history = np.concatenate([history, chosen, said()])
    return rows


@pytest.mark.skipif(shutil.which("g++") is None, reason="FlexAttention is compiled: there is no g++")
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_compiled_it_gives_what_the_dense_mask_does(small_config, architecture):
    import transformers

    cls, values = small_config(architecture)
    torch.manual_seed(0)
    values |= {"hidden_size": 64, "head_dim": 16}
    config = cls(vocab_size=300, initializer_range=0.2, **values)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    add_tree_head(model)
    draw = np.random.default_rng(0)
    trunk = draw.integers(2, 300, 150)
    ends = [(cut, np.concatenate([trunk[:cut], draw.integers(2, 300, 20)])) for cut in (30, 80, 150, 150)]
    replies = [Reply(ids, np.arange(cut, len(ids))) for cut, ids in ends]
    found = []
    for kernel in ("eager", register_tree_flex()):
        model.set_attn_implementation(kernel)
        with torch.no_grad():  # on a CPU it has no backward pass
            rows = [ReplySet((reply,)) for reply in replies]
            masks = MaskMaker(model.config, torch.float32)
            found.append(make_pack(rows, Layout(1), masks, torch.device("cpu")).sums(model))
    torch.testing.assert_close(*found)
