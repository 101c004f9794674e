"""Hand-made trees: a line a node, so that a test shows its tree."""

import random

import pytest

from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.tree import Tree


class TreeMaker:
    """Builds trees of the test domain with any Q and N; such trees need not be ones that a search could grow.

    ``maker.tree(root=(Q, N))`` gives a tree; ``maker.family(tree, parent, {"Ask": (Q, N, end)})`` expands a node and
    speaks the named children. The text of a node is its strategy and id unless given.
    """

    def __init__(self, domain):
        self.domain = domain

    def tree(self, value=0.9, visits=100, id="tree-1", domain=None, opening="I am tired."):
        domain = domain or self.domain
        scenario = Scenario(scene="Work", description="Too much of it.", id=id)
        tree = Tree(scenario, domain, [Turn("seeker", opening)])
        tree.root.value, tree.root.visits = value, visits
        return tree

    def family(self, tree, parent, children):
        names = tree.domain.strategies.names
        span = tree.expand(parent, dict.fromkeys(names, 5), dict.fromkeys(names, 1 / len(names)))
        made = {}
        for name, spec in children.items():
            value, visits, *rest = spec
            end = "end" in rest
            text = next((each[1] for each in rest if isinstance(each, tuple)), None)
            node_id = span[names.index(name)]
            text = text if text is not None else f"{name} {node_id}"
            node = tree.speak(node_id, text, None if end else f"seeker {node_id}", gold="gold" in rest)
            node.value, node.visits = value, visits
            made[name] = node_id
        return made


@pytest.fixture(scope="session")
def maker(domain_maker):
    return TreeMaker(domain_maker())


def random_tree(maker, seed, most_nodes=400):
    """A tree of random shape, Q around theta and small N, as no search need have grown it."""
    generator = random.Random(seed)
    values = (0.5, 0.5, 0.4999, 0.7, 0.7, 0.9, 0.8, -0.3, 1.0)
    tree = maker.tree(generator.choice((0.5, 0.7, 0.9, 0.3)), generator.randrange(5), id=f"random-{seed}")
    names = tree.domain.strategies.names
    leaves = [0]  # nodes below theta are expanded too, but seldom: no valid path leads through them
    while leaves and len(tree) < most_nodes:
        good = [leaf for leaf in leaves if tree[leaf].value >= 0.5]
        parent = generator.choice(good if good and generator.random() < 0.8 else leaves)
        leaves.remove(parent)
        children = {}
        for name in names:
            if generator.random() < 0.75:
                spec = [generator.choice(values), generator.randrange(4)]
                if spec[1] == 0:
                    spec[0] = 0.0
                if generator.random() < 0.3:
                    spec.append("end")
                if generator.random() < 0.1:
                    spec.append(("text", "the same words"))
                children[name] = tuple(spec)
        made = maker.family(tree, parent, children)
        leaves += [made[name] for name, spec in children.items() if "end" not in spec]
    for node in tree:
        if not node.children and generator.random() < 0.04:
            tree.close(node.id, "judge: refusal")
    return tree


@pytest.fixture(scope="session")
def make_random_tree(maker):
    return lambda seed, most_nodes=400: random_tree(maker, seed, most_nodes)
