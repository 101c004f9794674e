"""The picture of docs/packing.md: a dialogue of two turns as one sequence, and who attends to whom in it.

Run: python benchmarks/packing_mask.py docs/figures/tree-mask.png
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np

from cso_train.packing import token_tree, tree_mask

matplotlib.use("Agg")
from matplotlib import pyplot  # a backend without a window, first

KINDS = {"shared history": "#8d99ae", "preferred replies": "#2a9d8f", "rejected replies": "#e76f51"}
HISTORY = "Support the seeker. | I failed again."
FIRST = "(Affirmation) You kept trying."
WORSE = ("(Information) Exams have resits.", "(Suggestions) Make a plan.")
NEXT = "| I did, yes."
SECOND = "(Validation) That was hard."
WORSE_NEXT = ("(Information) Most people pass.",)


def sequences():
    """The five sequences that pair-wise training would see, as words, and what they are."""
    later = f"{HISTORY} {FIRST} {NEXT}"
    found = [(HISTORY, FIRST, "preferred replies"), *((HISTORY, each, "rejected replies") for each in WORSE)]
    found += [(later, SECOND, "preferred replies"), *((later, each, "rejected replies") for each in WORSE_NEXT)]
    return [(prompt.split(), reply.split(), kind) for prompt, reply, kind in found]


def main():
    given = sequences()
    words = sorted({word for prompt, reply, _ in given for word in prompt + reply})
    tree = token_tree([np.array([words.index(word) for word in prompt + reply]) for prompt, reply, _ in given])
    mask = tree_mask(tree)
    kinds = np.zeros(len(tree), int)
    for path, (prompt, _, kind) in zip(tree.paths, given, strict=True):
        kinds[path[len(prompt) :]] = list(KINDS).index(kind)
    pairwise = sum(len(prompt) + len(reply) for prompt, reply, _ in (*given[:2], *given[:1], *given[2:]))
    colours = [matplotlib.colors.to_rgb(colour) for colour in KINDS.values()]
    picture = np.full((*mask.shape, 3), 0.96)
    picture[mask] = np.array(colours)[np.broadcast_to(kinds[None, :], mask.shape)[mask]]
    figure, axes = pyplot.subplots(figsize=(8.2, 7.6), layout="constrained")
    axes.imshow(picture)
    axes.set_xticks(np.arange(len(tree) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(tree) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    labels = [f"{words[token]}  {depth:2d}" for token, depth in zip(tree.ids, tree.depths, strict=True)]
    axes.set_yticks(range(len(tree)), labels, family="monospace", fontsize=9)
    axes.set_xticks(range(len(tree)), [words[token] for token in tree.ids], rotation=90, family="monospace", fontsize=8)
    for label, kind in zip(axes.get_yticklabels(), kinds, strict=True):
        label.set_color(colours[kind])
    for label, kind in zip(axes.get_xticklabels(), kinds, strict=True):
        label.set_color(colours[kind])
    axes.spines[:].set_visible(False)
    axes.set_ylabel("token, with its position id")
    axes.set_xlabel("sees")
    axes.legend(
        handles=[matplotlib.patches.Patch(color=colour, label=kind) for kind, colour in KINDS.items()],
        loc="upper right",
        frameon=False,
    )
    axes.set_title(f"Three pairs of one dialogue: {len(tree)} tokens as a tree, {pairwise} pair by pair", fontsize=11)
    figure.savefig(Path(sys.argv[1]), dpi=110)


if __name__ == "__main__":
    main()
