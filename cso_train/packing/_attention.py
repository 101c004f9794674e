"""The tree's attention mask in the form that a model's attention takes, and which models and kernels take one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cso_train.errors import TrainConfigError
from cso_train.packing._trie import TokenTree, tree_mask

if TYPE_CHECKING:
    import torch

PACKABLE = (
    "gemma2",
    "gemma3_text",
    "gpt_oss",
    "granite",
    "llama",
    "mistral",
    "mixtral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "smollm3",
)
"""Architectures (``model_type``) whose attention takes a mask of ours, each checked against pair-wise computation."""
OWN_SCORES = ("gemma2", "gpt_oss")
"""Those of them whose scores SDPA cannot compute, for soft-capping or attention sinks."""

_CHUNK = 256  # tokens whose attention is computed together on the CPU, over the keys that one of them sees
TREE_FLEX = "tree_flex"
"""FlexAttention, compiled for few lengths: its memory grows with the pack and not with its square."""
TREE_SDPA = "tree_sdpa"
"""SDPA over the keys that are seen: under a tree's mask a token sees its ancestors, a small part of a large pack."""


def check_packable(model_type: str) -> None:
    """See that a model's architecture takes a tree's mask.

    :raises TrainConfigError: where it does not.
    """
    if model_type not in PACKABLE:
        known = ", ".join(PACKABLE)
        message = f"packing: models of type {model_type!r} cannot be trained on trees, only {known}; set it to none"
        raise TrainConfigError(message, field="packing")


def check_exact(config: Any, max_length: int) -> None:
    """See that a token's log-probability depends on its own path alone: other tokens of a pack must not change it.

    :param config: of a model of a packable type.
    :param max_length: most tokens of a row.
    :raises TrainConfigError: where it depends on others.
    """
    for name in ("output_router_logits", "router_jitter_noise", "use_bidirectional_attention"):
        if getattr(config, name, None):
            message = f"the model's {name} makes tokens depend on others of their pack; set it to none"
            raise TrainConfigError(f"packing: {message}", field="packing")
    positions = getattr(config, "rope_parameters", None) or {}
    for each in (positions, *positions.values()):
        if isinstance(each, dict) and each.get("rope_type") in ("dynamic", "longrope"):
            limit = each.get("original_max_position_embeddings") or config.max_position_embeddings
            if max_length > limit:
                message = f"beyond {limit} tokens the model's positions depend on the longest row of a pass"
                raise TrainConfigError(
                    f"packing: {message}; take max_length {limit} or less, or packing none", field="packing"
                )


def attention_kernel(asked: str, model_type: str, *, packed: bool, on_gpu: bool) -> str | None:
    """The attention implementation to load a model with; None is the model's own default.

    :param asked: the setting ``attention``.
    :param packed: whether trees are trained on: on a GPU FlexAttention, whose memory grows with the pack and not with
        its square; on the CPU SDPA on the parts of the mask that are seen.
    :raises TrainConfigError: for a kernel that takes no mask of ours.
    """
    if packed and asked == "flash_attention_2":
        message = "attention: flash_attention_2 takes no tree's mask; take auto, or packing none"
        raise TrainConfigError(message, field="attention")
    if asked != "auto":
        return asked
    if packed and on_gpu:
        return register_tree_flex()
    if model_type in OWN_SCORES:
        return "eager"
    if not packed:
        return None
    _register_tree_sdpa()
    return TREE_SDPA


@dataclass(frozen=True)
class PackMask:
    """A pack's mask.

    :param given: as the model takes it: a tensor (1, 1, T, T) or a block mask, or one for each kind of layer.
    :param seen: the parts of each tensor, for :data:`TREE_SDPA`.
    """

    given: Any
    seen: tuple[SeenParts, ...] = ()


@dataclass(frozen=True)
class MaskMaker:
    """Masks for a model.

    :param config: of the model, with the attention implementation it was loaded with.
    :param dtype: in which it computes.
    """

    config: Any
    dtype: torch.dtype

    def mask(self, tree: TokenTree, device: torch.device) -> PackMask:
        """The mask of a pack."""
        masks = {kind: self._one(tree, window, device) for kind, window in self.windows.items()}
        if None in masks:
            return masks[None]
        return PackMask({kind: mask.given for kind, mask in masks.items()}, sum((m.seen for m in masks.values()), ()))

    @property
    def windows(self) -> dict[str | None, int | None]:
        """The sliding window of each kind of layer; the kind is None where a model knows one alone."""
        window = getattr(self.config, "sliding_window", None)
        kinds = set(getattr(self.config, "layer_types", None) or ())
        if "sliding_attention" in kinds:
            return {"full_attention": None, "sliding_attention": window}
        return {None: window if not kinds else None}  # Mistral names no kinds, and may have a window

    @property
    def own_scores(self) -> bool:
        """Whether the model's own code has to compute the scores: SDPA has no soft-capping and no sinks."""
        return self.config.model_type in OWN_SCORES or self.config._attn_implementation == "eager"

    def _one(self, tree: TokenTree, window: int | None, device: torch.device) -> PackMask:
        import torch  # noqa: PLC0415  # heavy

        if window is not None and int(tree.depths.max()) < window:
            window = None
        kernel = self.config._attn_implementation
        if kernel == TREE_FLEX:
            from cso_train.packing._flex import block_mask  # noqa: PLC0415  # heavy

            return PackMask(block_mask(tree, window, device))
        whole = tree_mask(tree, window)
        mask = torch.from_numpy(whole).to(device)[None, None]
        if kernel == TREE_SDPA:
            return PackMask(mask, (seen_parts(whole, mask),))
        if kernel == "sdpa":
            return PackMask(mask)
        return PackMask(
            torch.zeros(mask.shape, dtype=self.dtype, device=device).masked_fill_(~mask, torch.finfo(self.dtype).min)
        )


@dataclass(frozen=True)
class SeenParts:
    """A mask in chunks of queries, each with the keys that one of them sees.

    :param whole: the mask, shape (1, 1, T, T).
    :param keys: indices of the chunks' keys, one chunk after the other.
    :param counts: how many of them each chunk has.
    :param masks: for each chunk who sees whom, shape (1, 1, queries, keys).
    """

    whole: torch.Tensor
    keys: torch.Tensor
    counts: list[int]
    masks: list[torch.Tensor]


def seen_parts(mask: npt.NDArray[np.bool_], whole: torch.Tensor) -> SeenParts:
    """Cut a mask of shape (T, T) into chunks of queries.

    :param whole: the same as a tensor.
    """
    import torch  # noqa: PLC0415  # heavy

    device = whole.device
    chunks = [mask[first : first + _CHUNK] for first in range(0, len(mask), _CHUNK)]
    keys = [np.flatnonzero(chunk.any(0)) for chunk in chunks]
    masks = [torch.from_numpy(chunk[:, own]).to(device)[None, None] for chunk, own in zip(chunks, keys, strict=True)]
    return SeenParts(whole, torch.from_numpy(np.concatenate(keys)).to(device), list(map(len, keys)), masks)


def _tree_sdpa(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    seen: tuple[SeenParts, ...] = (),
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA as transformers asks for it: by the parts of a tree's mask, or as ever for any other mask."""
    import torch  # noqa: PLC0415  # heavy
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward  # noqa: PLC0415

    parts = next((each for each in seen if each.whole is attention_mask), None)
    if parts is None or len(parts.counts) == 1:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return plain
    keys, values = (_rows(each, parts.keys).split(parts.counts, 2) for each in (key, value))
    groups, dropout = module.num_key_value_groups, options.get("dropout", 0.0)
    found = [
        torch.nn.functional.scaled_dot_product_attention(
            chunk, repeat_kv(own, groups), repeat_kv(theirs, groups), mask, dropout, scale=scaling
        )
        for chunk, own, theirs, mask in zip(query.split(_CHUNK, 2), keys, values, parts.masks, strict=True)
    ]
    return torch.cat(found, 2).transpose(1, 2).contiguous(), None


def _rows(states: Any, rows: torch.Tensor) -> Any:
    """Some tokens of states of shape (1, heads, T, width): whole rows are gathered quickest."""
    _, heads, length, width = states.shape
    whole = states[0].transpose(0, 1).reshape(length, heads * width)
    return whole.index_select(0, rows).view(1, len(rows), heads, width).transpose(1, 2)


def register_tree_flex() -> str:
    """Make :data:`TREE_FLEX` known to transformers, and give its name."""
    from cso_train.packing._flex import tree_flex_attention  # noqa: PLC0415  # heavy

    _register(TREE_FLEX, tree_flex_attention)
    return TREE_FLEX


def _register_tree_sdpa() -> None:
    """Make :data:`TREE_SDPA` known to transformers; other passes than a pack's are SDPA as ever."""
    _register(TREE_SDPA, _tree_sdpa)


def _register(name: str, attention: Callable[..., Any]) -> None:
    """Make an attention known to transformers, with the masks of SDPA for passes that have none of ours."""
    from transformers import AttentionInterface, AttentionMaskInterface  # noqa: PLC0415  # heavy
    from transformers.masking_utils import sdpa_mask  # noqa: PLC0415

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)
