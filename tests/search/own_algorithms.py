"""Two algorithms of one's own, as a user writes them in one file."""

from mctsdialog.algorithms import Algorithm, BatchSearch, Closure, Request, Scored, Spoken, Trial, register, uniform
from mctsdialog.errors import TrialError
from mctsdialog.tree import EndNode, ExpandedNode, Rollout, RootNode, SpokenNode, UnexpandedNode


@register
class RandomDives(BatchSearch):
    """Whole dialogues at random, one after the other."""

    name = "random_dives"

    def batches(self):
        yield self.gold_turns()
        for number in range(1000):
            node = self.tree.root
            while isinstance(node, RootNode | ExpandedNode) and node.closed is None:
                if not node.children:
                    yield [Request("open", node.id)]
                children = self.tree.children(node)
                draw = uniform(self.tree.id, number, self.tree.depth(node))
                node = children[int(draw * len(children))]
                if isinstance(node, UnexpandedNode):
                    yield [Request("turn", node.id)]
                    node = self.tree[node.id]


@register
class OneDialogue(Algorithm):
    """The strategist's favourite at every turn, until the dialogue ends: written on the plain interface."""

    name = "one_dialogue"

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.numbers, self.now, self.told, self.stopped = 0, None, set(), False

    @property
    def in_flight(self):
        return int(self.now is not None)

    def _next(self):
        node = self.tree.root
        while node.children:
            node = max(self.tree.children(node), key=lambda child: child.prior)
        return None if isinstance(node, EndNode) or node.closed is not None else node

    def ask(self, expected=None):
        node = self._next()
        if self.now is not None or node is None or self.stop_reason():
            return None
        kind = "turn" if isinstance(node, UnexpandedNode) else "score"
        self.now = Trial(self.numbers, node.id, kind, self.tree.history(node), node.strategy)
        self.numbers += 1
        return self.now

    def tell(self, trial, outcome):
        if trial.number in self.told:
            return False
        if trial is not self.now:
            raise TrialError(f"trial {trial.number} is not in progress")
        self.now = None
        self.told.add(trial.number)
        self.replay(trial.kind, trial.leaf, outcome)
        return True

    def release(self, trial):
        self.now = None

    def replay(self, kind, leaf, outcome):
        node = self._next()
        if node is None or node.id != leaf or not isinstance(outcome, Scored | Spoken | Closure):
            raise TrialError(f"nothing is asked of node {leaf}")
        if isinstance(outcome, Closure):
            self.close(leaf, outcome.reason)
        elif isinstance(outcome, Scored):
            self._expand(leaf, outcome.scores)
        else:
            spoken = self.tree.speak(leaf, outcome.exchange.supporter, outcome.exchange.seeker)
            spoken.rollout = Rollout((), (outcome.scores,), self.reward(outcome.scores))
            for each in self.tree.path(spoken):
                each.value = (each.visits * each.value + spoken.rollout.reward) / (each.visits + 1)
                each.visits += 1
            self.tree.iterations += 1

    def _expand(self, node_id, scores):
        total = sum(scores.values()) or 1.0
        priors = {name: score / total for name, score in scores.items()}
        if sum(scores.values()) == 0:
            priors = dict.fromkeys(scores, 1 / len(scores))
        return self.tree.expand(node_id, scores, priors)

    def stop_reason(self):
        if self.tree.iterations >= self.config.max_iterations:
            return "max_iterations"
        return "one dialogue" if self._next() is None else None

    def seed(self, node_id, scores, strategy, gold):
        children = self._expand(node_id, scores)
        place = self.tree.domain.strategies.names.index(strategy)
        return self.tree.speak(children[place], gold.supporter, gold.seeker, gold=True)

    def close(self, node_id, reason):
        self.tree.close(node_id, reason)

    @classmethod
    def most_calls(cls, config):
        return {"seeker": 1, "supporter": 1, "strategist": 0, "judge": 1}

    @classmethod
    def check(cls, tree):
        assert all(node.visits for node in tree if isinstance(node, SpokenNode) and not node.gold)
