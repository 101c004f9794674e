"""Preference rows of the paper's shape, made by chance: what counts for speed is how long they are and what they share.

Losses that use more than which reply is better get values and policies: any will do, for they cost the same.
ESC-Pro has 423 dialogues of 7.36 supporter turns with 2.62 rejected replies each; utterances here have 17 to 29 words.
"""

import json
import random

import mctsdialog
from mctsdialog.preferences import parse_reply, spoken, system_prompt

DIALOGUES, TURNS, REJECTED, WORDS = 423, 7.36, 2.62, (17, 29)


def dialogues(count=DIALOGUES, turns=TURNS, rejected=REJECTED, seed=0):
    """For each dialogue its rows, in the form that TRL's trainers read."""
    generator = random.Random(seed)
    domain = mctsdialog.get_domain("esc")
    vocabulary = [word for each in mctsdialog.sample_dialogues() for turn in each.turns for word in turn.text.split()]
    system = {"role": "system", "content": system_prompt(domain)}

    def say(role, strategy=None):
        text = " ".join(generator.choices(vocabulary, k=generator.randint(*WORDS)))
        return {"role": role, "content": spoken(strategy, text)}

    def one():
        prompt, rows = [system, say("user")], []
        for _ in range(around(turns, 2, generator)):
            names = generator.sample(domain.strategies.names, 8)
            chosen = say("assistant", names[0])
            for number in range(around(rejected, 1, generator)):
                worse = say("assistant", names[1 + number % 7])
                rows.append({"prompt": list(prompt), "chosen": [chosen], "rejected": [worse]})
            prompt += [chosen, say("user")]
        return rows

    return [one() for _ in range(count)]


def valued(rows):
    """The pairs, with the worth of both replies."""
    return [{**row, "provenance": {"chosen_worth": 0.5, "rejected_worth": -0.1}} for row in rows]


def turns_of(rows):
    """The pairs' turns: the chosen reply and all rejected ones, their values, and a value for every strategy."""
    strategies, found = mctsdialog.get_domain("esc").strategies, {}
    for row in rows:
        turn = found.setdefault(json.dumps(row["prompt"]), {"prompt": row["prompt"], "replies": [row["chosen"]]})
        turn["replies"].append(row["rejected"])
    for turn in found.values():
        said = [parse_reply(reply[0]["content"], strategies)[0] for reply in turn["replies"]]
        ranked = [*dict.fromkeys(said), *(name for name in strategies.names if name not in said)]
        worth = {name: 0.5 - 0.2 * place for place, name in enumerate(ranked)}
        turn["values"] = [worth[name] for name in said]
        turn["policy"] = [{"strategy": name, "value": value} for name, value in worth.items()]
    return list(found.values())


def around(mean, most, generator):
    """A whole number of that mean, at most so far from it and never below 1."""
    spread = min(most, int(mean) - 1)
    return int(mean) + (generator.random() < mean % 1) + generator.randint(-spread, spread)


def sample(values, count, size):
    """So many of the values, evenly over their sizes, in their order: a small sample of the same shape."""
    ranked = sorted(range(len(values)), key=lambda index: size(values[index]))
    taken = {ranked[int((number + 0.5) * len(values) / count)] for number in range(count)}
    return [value for index, value in enumerate(values) if index in taken]
