"""Training on conversation trees: what the rows of a dialogue have in common is computed once.

Every pair of a dialogue carries the history up to its turn, twice. Here the rows' tokens are laid into prefix trees, a
model sees each tree in one forward pass under a mask by ancestry, and the losses are those of the pairs one by one.
:mod:`trie` lays sequences into one, :mod:`split` cuts trees into packs, :mod:`plan` makes steps of them,
:mod:`forward` gets log-probabilities, :mod:`losses` makes losses, :mod:`trainer` trains.
"""
