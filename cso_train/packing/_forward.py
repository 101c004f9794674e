"""Log-probabilities of every reply of a pack from one forward pass over its tree."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.checkpoint import checkpoint

from cso_train.methods import ReplySet
from cso_train.packing._attention import MaskMaker, SeenParts
from cso_train.packing._path_attention import PathPass, path_attention
from cso_train.packing._rows import Layout
from cso_train.packing._trie import IntArray, TokenTree, token_tree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOGITS = 2**25
"""Most logits that stand in memory at once: 128 MB of them in fp32."""


@dataclass(frozen=True)
class TreeInputs:
    """What a model with a :class:`TreeHead` is given beside tokens, positions and mask.

    :param heads: positions whose states predict a scored token, shape (R,).
    :param head: for each target the number of the state that predicts it, rising, shape (S,).
    :param targets: ids of the tokens whose log-probabilities are asked for, shape (S,).
    :param seen: parts of the masks, for the attention that computes by them.
    :param path: what attention needs for a piece of a tree; None for a whole pack.
    """

    heads: torch.Tensor
    head: torch.Tensor
    targets: torch.Tensor
    seen: tuple[SeenParts, ...] = ()
    path: PathPass | None = None


@dataclass(frozen=True)
class Pack:
    """What a model is given for some rows, and how its answer becomes theirs.

    :param inputs: keyword arguments of the model's forward pass.
    :param picks: for every scored token of every reply, its place in the model's answer.
    :param owners: for every scored token, the place in ``counts`` that it counts for, row by row.
    :param counts: number of scored tokens, shape (rows, columns).
    :param tokens: nodes of the tree.
    """

    inputs: dict[str, Any]
    picks: torch.Tensor
    owners: torch.Tensor
    counts: torch.Tensor
    tokens: int

    def sums(self, model: Any) -> torch.Tensor:
        """Sums of the log-probabilities of the scored tokens, in fp32 or better, shape (rows, columns).

        :param model: with :func:`add_tree_head`, or a wrapper of it.
        """
        found: torch.Tensor = model(**self.inputs)
        return summed(found, self.picks, self.owners, self.counts)


def summed(found: torch.Tensor, picks: torch.Tensor, owners: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Sums of log-probabilities; the arguments are those of :class:`Pack`."""
    return found.new_zeros(counts.numel()).index_add(0, owners, found[picks]).view_as(counts)


@dataclass(frozen=True)
class LaidRows:
    """Rows as a tree, and what is asked for of its tokens.

    :param tree: of all replies; equal sequences share their tokens.
    :param targets: tokens whose log-probabilities are asked for, in the order of their parents, shape (S,).
    :param picks: for every scored token of every reply, its place among the targets.
    :param owners: for every scored token, the place in ``counts`` that it counts for, row by row.
    :param counts: number of scored tokens, shape (rows, columns).
    """

    tree: TokenTree
    targets: IntArray
    picks: IntArray
    owners: IntArray
    counts: IntArray


def lay_rows(rows: Sequence[ReplySet], layout: Layout) -> LaidRows:
    """Lay the replies of rows into one tree.

    :param rows: one or more.
    :param layout: the columns of what a pass gives.
    """
    tree = token_tree([reply.ids for row in rows for reply in row.replies])
    paths, scored, owners = iter(tree.paths), list[IntArray](), list[int]()
    for number, row in enumerate(rows):
        own = [next(paths) for _ in row.replies]
        for column, reply, tokens in layout.parts(row):
            scored.append(own[reply][tokens])
            owners.append(number * layout.columns + column)
    targets = np.unique(np.concatenate(scored))
    targets = targets[np.argsort(tree.parents[targets], kind="stable")]
    place = np.zeros(len(tree), np.int64)
    place[targets] = np.arange(len(targets))
    owned = np.repeat(owners, [len(each) for each in scored])
    counts = np.bincount(owned, minlength=len(rows) * layout.columns).reshape(len(rows), layout.columns)
    return LaidRows(tree, targets, place[np.concatenate(scored)], owned, counts)


def make_pack(rows: Sequence[ReplySet], layout: Layout, masks: MaskMaker, device: torch.device) -> Pack:
    """Lay the replies of rows into one pack.

    :param rows: one or more.
    :param layout: the columns of what the pass gives.
    """
    laid = lay_rows(rows, layout)
    tree = laid.tree
    heads, head = np.unique(tree.parents[laid.targets], return_inverse=True)
    mask = masks.mask(tree, device)
    on_device = partial(to_device, device=device)
    inputs = {
        "input_ids": on_device(tree.ids)[None],
        "position_ids": on_device(tree.depths)[None],
        "attention_mask": mask.given,
        "tree": TreeInputs(on_device(heads), on_device(head), on_device(tree.ids[laid.targets]), mask.seen),
    }
    picks, owners, counts = map(on_device, (laid.picks, laid.owners, laid.counts))
    return Pack(inputs, picks, owners, counts, len(tree))


def to_device(values: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """An array as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


class TreeHead:
    """Comes before a causal model in a class's bases, and answers a pack's inputs with log-probabilities.

    Only the positions that predict a scored token go through the output layer, some at a time, so that no logits of
    the whole vocabulary stand over the trunk.
    """

    def forward(self, *args: Any, tree: TreeInputs | None = None, **kwargs: Any) -> Any:
        """The log-probability of each of the tree's targets; without a tree, the model's own answer."""
        if tree is None:
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        model: Any = self
        names = ("input_ids", "inputs_embeds", "attention_mask", "position_ids")
        given = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
        if tree.seen:
            given["seen"] = tree.seen
        if tree.path is not None:
            given["path"] = tree.path
        with contextlib.nullcontext() if tree.path is None else path_attention(model):
            hidden = model.base_model(**given, use_cache=False).last_hidden_state[0, tree.heads]
        # a piece of a path is little: so should its logits be
        rows = max(1, _LOGITS // (1 if tree.path is None else 4) // int(model.config.vocab_size))
        hidden = hidden / getattr(model.config, "logits_scaling", 1.0)  # Granite has it
        softcap = getattr(model.config, "final_logit_softcapping", None)
        return _log_probs(model.get_output_embeddings(), hidden, tree.head, tree.targets, rows, softcap)


def add_tree_head(model: PreTrainedModel) -> None:
    """Make a causal model one with a :class:`TreeHead`. Do it before the model is wrapped."""
    own: Any = type(model)
    model.__class__ = _with_tree_head(own)
    vars(model).pop("forward", None)  # TRL's SFT trainer may have put a fused loss over the class's own


@functools.cache
def _with_tree_head(model_class: type[Any]) -> type[Any]:
    # the name of the class goes into the configuration that is saved
    return type(model_class.__name__, (TreeHead, model_class), {"__module__": model_class.__module__})


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
    if not pieces:  # a part of a path without a scored token behind it
        return hidden.new_zeros(0, dtype=torch.promote_types(hidden.dtype, torch.float32))
    return torch.cat(pieces)


def _picked(
    output: torch.nn.Module, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float | None
) -> torch.Tensor:
    logits: torch.Tensor = output(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits[head, targets] - torch.logsumexp(logits, -1)[head]
