"""Log-probabilities of every reply of a pack from one forward pass over its tree."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.checkpoint import checkpoint

from cso_train.packing.attention import MaskMaker
from cso_train.packing.rows import Reply
from cso_train.packing.trie import IntArray, token_tree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOGITS = 2**25
"""Most logits that stand in memory at once: 128 MB of them in fp32."""


@dataclass(frozen=True)
class Pack:
    """What a model is given for some replies, and how its answer becomes theirs.

    :param inputs: keyword arguments of the model's forward pass.
    :param picks: for every scored token of every reply, its place in what the model answers.
    :param owners: for every scored token, the number of its reply.
    :param counts: scored tokens of each reply, shape (replies,).
    :param tokens: nodes of the tree.
    """

    inputs: dict[str, Any]
    picks: torch.Tensor
    owners: torch.Tensor
    counts: torch.Tensor
    tokens: int

    def sums(self, model: Any) -> torch.Tensor:
        """Sum of the log-probabilities of each reply's scored tokens, in fp32 or better, shape (replies,).

        :param model: with :func:`add_tree_head`, or a wrapper of it.
        """
        found: torch.Tensor = model(**self.inputs)
        return found.new_zeros(len(self.counts)).index_add(0, self.owners, found[self.picks])


def make_pack(replies: Sequence[Reply], masks: MaskMaker, device: torch.device) -> Pack:
    """Lay replies into one pack.

    :param replies: one or more; equal sequences share their tokens.
    """
    tree = token_tree([reply.ids for reply in replies])
    scored = [path[reply.scored] for path, reply in zip(tree.paths, replies, strict=True)]
    targets = np.unique(np.concatenate(scored))
    targets = targets[np.argsort(tree.parents[targets], kind="stable")]
    heads, head = np.unique(tree.parents[targets], return_inverse=True)
    place = np.zeros(len(tree), np.int64)
    place[targets] = np.arange(len(targets))
    owners = np.repeat(np.arange(len(replies)), [len(each) for each in scored])
    fill = masks.padded(len(tree)) - len(tree)

    def on_device(values: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    inputs = {
        "input_ids": on_device(_filled(tree.ids, fill))[None],
        "position_ids": on_device(_filled(tree.depths, fill))[None],
        "attention_mask": masks.mask(tree, device),
        "tree_heads": on_device(heads),
        "tree_head": on_device(head),
        "tree_targets": on_device(tree.ids[targets]),
    }
    picks = on_device(place[np.concatenate(scored)])
    counts = on_device(np.array([len(each) for each in scored]))
    return Pack(inputs, picks, on_device(owners), counts, len(tree))


def _filled(values: IntArray, fill: int) -> IntArray:
    return np.concatenate([values, np.zeros(fill, np.int64)])


def add_tree_head(model: PreTrainedModel) -> None:
    """Teach a causal model to answer a pack's inputs with log-probabilities; other inputs it takes as before.

    Only the positions that predict a scored token go through the output layer, some at a time, so that no logits of
    the whole vocabulary stand over the trunk. Do it before the model is wrapped.
    """
    as_before = model.forward
    softcap = getattr(model.config, "final_logit_softcapping", None)
    rows = max(1, _LOGITS // int(model.config.vocab_size))

    def forward(self: Any, *args: Any, tree_heads: Any = None, **inputs: Any) -> Any:
        if tree_heads is None:
            return as_before(*args, **inputs)
        head, targets = inputs["tree_head"], inputs["tree_targets"]
        given = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids")}
        hidden = self.base_model(**given, use_cache=False).last_hidden_state[0, tree_heads]
        return _log_probs(self.get_output_embeddings(), hidden, head, targets, rows, softcap)

    model.forward = types.MethodType(forward, model)


def _log_probs(
    output: torch.nn.Module,
    hidden: torch.Tensor,
    head: torch.Tensor,
    targets: torch.Tensor,
    rows: int,
    softcap: float | None,
) -> torch.Tensor:
    """Log-probability of each target, in fp32 or better, shape (S,).

    :param hidden: states that predict, shape (R, width).
    :param head: for each target the state that predicts it, rising, shape (S,).
    :param targets: token ids, shape (S,).
    :param rows: most states that go through the output layer at once.
    """
    pieces = []
    for first in range(0, len(hidden), rows):
        low, high = torch.searchsorted(head, torch.tensor([first, first + rows], device=head.device)).tolist()
        given = (output, hidden[first : first + rows], head[low:high] - first, targets[low:high], softcap)
        if len(hidden) > rows and torch.is_grad_enabled():
            pieces.append(checkpoint(_picked, *given, use_reentrant=False))
        else:
            pieces.append(_picked(*given))
    return torch.cat(pieces)


def _picked(
    output: torch.nn.Module, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float | None
) -> torch.Tensor:
    logits: torch.Tensor = output(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits[head, targets] - torch.logsumexp(logits, -1)[head]
