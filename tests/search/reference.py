"""A slow reference of the search, written from the design's section 2 alone; it shares no code with the package.

Nodes are dicts, the tree is nested, every number is computed anew from its definition. Sums are rounded once, as in the
package: where the last digit decides between two children, both take the same.
"""

import contextlib
import math

CRITERIA = ("empathy", "information", "humanoid", "strategy")


class Reference:
    """One tree, grown one iteration at a time with pure roles."""

    def __init__(self, names, roles, dialogue=None, c=1.0, temperature=5.0, alpha=7.0, b=-3.0, horizon=4, refusal=()):
        self.names, self.roles, self.refusal = names, roles, refusal
        self.c, self.t, self.alpha, self.b, self.h = c, temperature, alpha, b, horizon
        self.count = 0
        self.root = self.new("root", None, None, None)
        turns = [(t.speaker, t.text, t.strategy) for t in dialogue.turns] if dialogue else []
        if not turns:
            turns = [("seeker", roles.seeker([]), None)]
        start = 1 if turns[0][0] == "seeker" else 2
        self.root["turns"] = turns[:start]
        self.gold(turns, start)

    def new(self, kind, strategy, score, prior):
        node = {"id": self.count, "kind": kind, "strategy": strategy, "score": score, "P": prior}
        node |= {"Q": 0.0, "N": 0, "turns": [], "children": [], "parent": None, "closed": None}
        self.count += 1
        return node

    def priors(self, scores, gold=None):
        present = [n for n in self.names if n in scores]
        most = max(scores[n] for n in present)
        total = math.fsum(math.exp((scores[n] - most) / self.t) for n in present)
        priors = {n: math.exp((scores[n] - most) / self.t) / total for n in present}
        if gold is not None and gold not in priors:
            priors = {n: p * 0.9 for n, p in priors.items()} | {gold: 0.1}
        return priors

    def grow(self, node, scores, gold=None):
        priors = self.priors(scores, gold)
        for name in self.names:
            child = self.new("unexpanded", name, scores.get(name), priors.get(name, 0.0))
            child["parent"] = node
            node["children"].append(child)

    def gold(self, turns, start):
        node = self.root
        supporters = [i for i in range(start, len(turns)) if turns[i][0] == "supporter"]
        for i in supporters:
            try:
                scores = self.roles.strategist(as_turns(turns[:i]))
            except self.refusal as error:
                node["closed"] = f"strategist: {error.reason}"
                break
            self.root["Q"], self.root["N"] = 4 + self.b, 100
            self.grow(node, scores, gold=turns[i][2])
            node = next(ch for ch in node["children"] if ch["strategy"] == turns[i][2])
            last = i == supporters[-1]
            node |= {"Q": 4 + self.b, "N": 100, "kind": "end" if last else "expanded"}
            node["turns"] = [turns[i]] if last else [turns[i], turns[i + 1]]

    def history(self, node):
        turns = []
        while node is not None:
            turns = list(node["turns"]) + turns
            node = node["parent"]
        return turns

    def pucb(self, node):
        return node["Q"] + self.c * node["P"] * math.sqrt(node["parent"]["N"]) / (1 + node["N"])

    def is_open(self, node):
        if node["closed"] is not None:
            return False
        return not node["children"] or any(self.is_open(child) for child in node["children"])

    def select(self):
        node = self.root
        while node["children"]:
            children = [child for child in node["children"] if self.is_open(child)]
            scores = [self.pucb(child) for child in children]
            node = children[scores.index(max(scores))]
        return node

    def ask(self, node, role, *what):
        """A role's answer; a refusal closes the node."""
        try:
            return getattr(self.roles, role)(*what)
        except self.refusal as error:
            node["closed"] = f"{role}: {error.reason}"
            raise

    def exchange(self, node, history, strategy):
        text = self.ask(node, "supporter", hidden(history), strategy)
        turns = [("supporter", text, strategy)]
        answer = self.ask(node, "seeker", hidden(history + turns))
        return turns if answer is None else [*turns, ("seeker", answer, None)]

    def put(self, node, turns):
        node["turns"] = turns
        node["kind"] = "end" if len(turns) == 1 else "expanded"

    def reward(self, node, history):
        s = self.ask(node, "judge", as_turns(history))
        return (s["empathy"] + s["information"] + s["humanoid"] + self.alpha * s["strategy"]) / (
            3 + self.alpha
        ) + self.b

    def iterate(self):
        """One trial. One that a role refuses closes a node and changes no Q or N."""
        with contextlib.suppress(self.refusal):
            self.trial(self.select())

    def trial(self, leaf):
        if leaf["kind"] == "end":
            return self.backpropagate(leaf, self.reward(leaf, self.history(leaf)))
        if leaf["kind"] == "unexpanded":
            history = self.history(leaf)
            turns = self.exchange(leaf, history, leaf["strategy"])
            if len(turns) == 1:
                total = self.reward(leaf, history + turns)
                self.put(leaf, turns)
                return self.backpropagate(leaf, total)
            self.put(leaf, turns)
        history = self.history(leaf)
        self.grow(leaf, self.ask(leaf, "strategist", as_turns(history)))
        priors = [child["P"] for child in leaf["children"]]
        child = leaf["children"][priors.index(max(priors))]
        turns = self.exchange(child, history, child["strategy"])
        total = self.rollout(child, history, turns)
        self.put(child, turns)
        return self.backpropagate(child, total)

    def rollout(self, child, history, turns):
        """The mean reward of the child's own turn and of the rounds after it, up to the first that is refused."""
        upto, ended = [history + turns[:1]], len(turns) == 1
        history = history + turns
        scrap = {}
        for _ in range(self.h):
            if ended:
                break
            try:
                scores = self.ask(scrap, "strategist", as_turns(history))
                best = max(self.names, key=lambda n: scores.get(n, -1))
                turns = self.exchange(scrap, history, best)
            except self.refusal:
                break
            upto.append(history + turns[:1])
            history = history + turns
            ended = len(turns) == 1
        rewards = [self.reward(child, upto[0])]
        for part in upto[1:]:
            try:
                rewards.append(self.reward(scrap, part))
            except self.refusal:
                break
        return math.fsum(rewards) / len(rewards)

    def backpropagate(self, node, total):
        while node is not None:
            node["Q"] = (node["N"] * node["Q"] + total) / (node["N"] + 1)
            node["N"] += 1
            node = node["parent"]

    def nodes(self):
        found, pending = [], [self.root]
        while pending:
            node = pending.pop()
            found.append(node)
            pending.extend(node["children"])
        return sorted(found, key=lambda node: node["id"])

    def ends(self):
        return sum(node["kind"] == "end" for node in self.nodes())

    def stopped(self, iterations, max_iterations, min_iterations, min_ends, max_ends):
        closed = sum(node["closed"] is not None for node in self.nodes())
        if iterations >= max_iterations or closed >= max_iterations or not self.is_open(self.root):
            return True
        if self.select()["kind"] == "end":
            return False
        return (iterations >= min_iterations and self.ends() >= min_ends) or self.ends() >= max_ends


class Said:
    """A turn as the roles expect it."""

    def __init__(self, speaker, text, strategy):
        self.speaker, self.text, self.strategy = speaker, text, strategy


def as_turns(turns):
    return [Said(*turn) for turn in turns]


def hidden(turns):
    return [Said(speaker, text, None) for speaker, text, _ in turns]
