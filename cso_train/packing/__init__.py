"""Training on conversation trees: what the rows of a dialogue have in common is computed once.

Every pair of a dialogue carries the history up to its turn, twice. Here the rows' tokens are laid into prefix trees, a
model sees each tree in one forward pass under a mask by ancestry, and the losses are those of the pairs one by one.
:func:`token_tree` lays sequences into one and :func:`tree_mask` says who attends to whom. Of the modules, ``_split``
cuts trees into packs, ``_plan`` makes steps of them, ``_forward`` gets log-probabilities, ``_objective`` makes the loss
of a step, and ``_trainer`` trains.
"""

from cso_train.packing._trie import TokenTree, token_tree, tree_mask
from mctsdialog._public import publish

__all__ = ["TokenTree", "token_tree", "tree_mask"]

publish(globals())
