"""The tree's attention mask in the form that a model's attention takes, and which models and kernels take one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cso_train.errors import TrainConfigError
from cso_train.packing.trie import TokenTree, tree_mask

if TYPE_CHECKING:
    import torch

PACKABLE = ("gemma2", "llama", "mistral", "qwen2", "qwen3")
"""Architectures (``model_type``) whose attention takes a mask of ours, each checked against pair-wise computation."""

_FLEX_BLOCK = 128  # tokens that FlexAttention skips or computes together


def check_packable(model_type: str) -> None:
    """See that a model's architecture takes a tree's mask.

    :raises TrainConfigError: where it does not.
    """
    if model_type not in PACKABLE:
        known = ", ".join(PACKABLE)
        message = f"packing: models of type {model_type!r} cannot be trained on trees, only {known}; set it to none"
        raise TrainConfigError(message, field="packing")


def attention_kernel(asked: str, model_type: str, *, packed: bool, on_gpu: bool) -> str | None:
    """The attention implementation to load a model with; None is the model's own default.

    :param asked: the setting ``attention``.
    :param packed: whether trees are trained on: on a GPU FlexAttention, whose memory grows with the pack and not with
        its square; elsewhere the dense mask.
    :raises TrainConfigError: for a kernel that takes no mask of ours.
    """
    if packed and asked == "flash_attention_2":
        message = "attention: flash_attention_2 takes no tree's mask; take auto, or packing none"
        raise TrainConfigError(message, field="attention")
    if asked != "auto":
        return asked
    if packed and on_gpu:
        return "flex_attention"
    return "eager" if model_type == "gemma2" else None  # its soft-capping is not in SDPA


@dataclass(frozen=True)
class MaskMaker:
    """Masks for a model.

    :param config: of the model, with the attention implementation it was loaded with.
    :param dtype: in which it computes.
    """

    config: Any
    dtype: torch.dtype

    def mask(self, tree: TokenTree, device: torch.device) -> Any:
        """The mask of a pack: a tensor (1, 1, T, T) or a block mask, or one for each kind of layer."""
        window = getattr(self.config, "sliding_window", None)
        kinds = set(getattr(self.config, "layer_types", None) or ())
        if "sliding_attention" in kinds:
            windows = {"full_attention": None, "sliding_attention": window}
            return {kind: self._one(tree, each, device) for kind, each in windows.items()}
        # Mistral knows one kind of layer, with or without a window
        return self._one(tree, window if not kinds else None, device)

    def padded(self, length: int) -> int:
        """The length that a pack is filled up to."""
        flex = self.config._attn_implementation == "flex_attention"
        return -(-length // _FLEX_BLOCK) * _FLEX_BLOCK if flex else length

    def _one(self, tree: TokenTree, window: int | None, device: torch.device) -> Any:
        if window is not None and int(tree.depths.max()) < window:
            window = None
        if self.config._attn_implementation == "flex_attention":
            return block_mask(tree, self.padded(len(tree)), window, device)
        return self._dense(tree, window, device)

    def _dense(self, tree: TokenTree, window: int | None, device: torch.device) -> torch.Tensor:
        import torch  # noqa: PLC0415  # heavy

        seen = torch.from_numpy(tree_mask(tree, window)).to(device)[None, None]
        if self.config._attn_implementation == "sdpa":
            return seen
        return torch.zeros(seen.shape, dtype=self.dtype, device=device).masked_fill_(~seen, torch.finfo(self.dtype).min)


def block_mask(tree: TokenTree, length: int, window: int | None, device: torch.device) -> Any:
    """The mask for FlexAttention: its memory grows with the pack, and blocks that nobody sees are skipped.

    :param length: what the pack is filled up to; what fills it sees itself alone.
    """
    import torch  # noqa: PLC0415  # heavy
    from torch.nn.attention.flex_attention import create_block_mask  # noqa: PLC0415

    extra = np.arange(len(tree), length)
    ends = torch.from_numpy(np.concatenate([tree.ends, extra + 1])).to(device)
    depths = torch.from_numpy(np.concatenate([tree.depths, np.zeros_like(extra)])).to(device)

    def seen(batch: Any, head: Any, query: Any, key: Any) -> Any:
        allowed = (key <= query) & (query < ends[key])
        return allowed if window is None else allowed & (depths[query] - depths[key] < window)

    return create_block_mask(seen, None, None, length, length, device=device.type, BLOCK_SIZE=_FLEX_BLOCK)
