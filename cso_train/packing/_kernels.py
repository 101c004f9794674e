"""The names of our attention kernels."""

TREE_FLEX = "tree_flex"
"""FlexAttention, compiled for few lengths: its memory grows with the pack and not with its square."""
TREE_SDPA = "tree_sdpa"
"""SDPA over the keys that are seen: under a tree's mask a token sees its ancestors, a small part of a large pack."""
