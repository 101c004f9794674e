"""A slow reference of the search, written from the design's section 2 alone; it shares no code with the package.

Nodes are dicts, the tree is nested, every number is computed anew from its definition. Sums are rounded once, as in the
package: where the last digit decides between two children, both take the same.
"""

import math

CRITERIA = ("empathy", "information", "humanoid", "strategy")


class Reference:
    """One tree, grown one iteration at a time with pure roles."""

    def __init__(self, names, roles, dialogue=None, c=1.0, temperature=5.0, alpha=7.0, b=-3.0, horizon=4):
        self.names, self.roles = names, roles
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
        node |= {"Q": 0.0, "N": 0, "turns": [], "children": [], "parent": None}
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
        if supporters:
            self.root["Q"], self.root["N"] = 4 + self.b, 100
        for i in supporters:
            self.grow(node, self.roles.strategist(as_turns(turns[:i])), gold=turns[i][2])
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

    def select(self):
        node = self.root
        while node["children"]:
            scores = [self.pucb(child) for child in node["children"]]
            node = node["children"][scores.index(max(scores))]
        return node

    def generate(self, node):
        history = self.history(node)
        text = self.roles.supporter(hidden(history), node["strategy"])
        turns = [("supporter", text, node["strategy"])]
        answer = self.roles.seeker(hidden(history + turns))
        if answer is not None:
            turns.append(("seeker", answer, None))
        node["turns"] = turns
        node["kind"] = "end" if answer is None else "expanded"

    def reward(self, history):
        s = self.roles.judge(as_turns(history))
        return (s["empathy"] + s["information"] + s["humanoid"] + self.alpha * s["strategy"]) / (
            3 + self.alpha
        ) + self.b

    def iterate(self):
        leaf = self.select()
        if leaf["kind"] == "unexpanded":
            self.generate(leaf)
        if leaf["kind"] == "end":
            return self.backpropagate(leaf, self.reward(self.history(leaf)))
        self.grow(leaf, self.roles.strategist(as_turns(self.history(leaf))))
        priors = [child["P"] for child in leaf["children"]]
        child = leaf["children"][priors.index(max(priors))]
        self.generate(child)
        history = self.history(child)
        upto = [history[: -1 if child["kind"] == "expanded" else None]]
        ended = child["kind"] == "end"
        for _ in range(self.h):
            if ended:
                break
            scores = self.roles.strategist(as_turns(history))
            best = max(self.names, key=lambda n: scores.get(n, -1))
            history = [*history, ("supporter", self.roles.supporter(hidden(history), best), best)]
            upto.append(history)
            answer = self.roles.seeker(hidden(history))
            ended = answer is None
            if not ended:
                history = [*history, ("seeker", answer, None)]
        rewards = [self.reward(part) for part in upto]
        return self.backpropagate(child, math.fsum(rewards) / len(rewards))

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
        if iterations >= max_iterations:
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
