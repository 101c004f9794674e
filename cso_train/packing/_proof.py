"""Whether trees give, on the machine of a run, what the same rows give one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cso_train.methods import ReplySet
from cso_train.packing._attention import MaskMaker
from cso_train.packing._forward import lay_rows, make_pack, summed, to_device
from cso_train.packing._rows import Layout

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # fp32 may be TF32 on a GPU
_COARSE = 0.02  # of half precision


@dataclass(frozen=True)
class Difference:
    """How far trees and single rows are apart.

    :param sums: most that a reply's log-probability differs, relatively.
    :param gradients: norm of the difference of the gradients by the tokens' embeddings, relative to that of the single
        rows; None where none were computed.
    :param tolerance: most that rounding explains of the first; of gradients, five times as much.
    """

    sums: float
    gradients: float | None
    tolerance: float

    @property
    def is_rounding(self) -> bool:
        """Whether rounding explains it."""
        near = self.sums <= self.tolerance
        return near and (self.gradients is None or self.gradients <= 5 * self.tolerance)

    def __str__(self) -> str:
        more = "" if self.gradients is None else f", gradients by {self.gradients:.1e}"
        return f"log-probabilities differ by {self.sums:.1e}{more}; rounding explains {self.tolerance:.0e}"


def difference(
    model: Any, rows: Sequence[ReplySet], masks: MaskMaker, device: torch.device, *, gradients: bool = True
) -> Difference:
    """Compare a pack of rows with the same rows one by one, by the attention that the model has without trees.

    No gradient reaches a parameter: those by the embeddings have passed all layers.

    :param model: not wrapped, with a :class:`~cso_train.packing._forward.TreeHead`.
    :param gradients: whether gradients are compared too.
    """
    layout = Layout.of(rows)
    laid = lay_rows(rows, layout)
    pack = make_pack(rows, layout, masks, device)
    embed = model.get_input_embeddings()
    weights = to_device(np.sign(np.cos(np.arange(laid.counts.size))).reshape(laid.counts.shape), device)

    def embedded(ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = embed(ids).detach()
        return found.requires_grad_(gradients)

    with torch.set_grad_enabled(gradients):
        states = embedded(pack.inputs["input_ids"])
        found = model(**{**pack.inputs, "input_ids": None}, inputs_embeds=states)
        trees = summed(found, pack.picks, pack.owners, pack.counts)
        by_tree = _gradient((trees * weights).sum(), states) if gradients else None
        alone, by_row = torch.zeros_like(trees), None if by_tree is None else torch.zeros_like(by_tree)
        paths = iter(laid.tree.paths)
        with _own_attention(model, masks):
            for number, row in enumerate(rows):
                for reply, path in zip(range(len(row.replies)), paths, strict=False):
                    states = embedded(to_device(row.replies[reply].ids, device)[None])
                    log_probs = _single(model, states, row.replies[reply].ids)
                    parts = [(column, tokens) for column, own, tokens in layout.parts(row) if own == reply]
                    sums = torch.stack([log_probs[to_device(tokens - 1, device)].sum() for _, tokens in parts])
                    columns = [column for column, _ in parts]
                    alone[number, columns] = sums.detach()
                    if by_row is not None:
                        part = (sums * weights[number, columns]).sum()
                        by_row[0].index_add_(0, to_device(path, device), _gradient(part, states)[0])
    apart = None if by_tree is None or by_row is None else float((by_tree - by_row).norm() / by_row.norm())
    scored = pack.counts > 0
    sums_apart = float(((trees.detach() - alone).abs() / alone.abs().clamp(min=1.0))[scored].max())
    return Difference(sums_apart, apart, _TOLERANCE.get(masks.dtype, _COARSE))


def _gradient(value: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(value, states)
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _single(model: Any, states: torch.Tensor, ids: np.ndarray[Any, Any]) -> torch.Tensor:
    """Log-probabilities of all tokens of a row but the first."""
    logits = model(inputs_embeds=states, use_cache=False).logits[0, :-1]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    picked: torch.Tensor = torch.log_softmax(logits, -1).gather(1, to_device(ids[1:, None], logits.device))
    return picked[:, 0]


@contextmanager
def _own_attention(model: Any, masks: MaskMaker) -> Iterator[None]:
    """Have a model compute attention as it would without trees."""
    own = model.config._attn_implementation
    model.config._attn_implementation = "eager" if masks.own_scores else "sdpa"
    try:
        yield
    finally:
        model.config._attn_implementation = own
