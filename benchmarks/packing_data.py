"""Preference rows of the paper's shape, made by chance: what counts for speed is how long they are and what they share.

ESC-Pro has 423 dialogues of 7.36 supporter turns with 2.62 rejected replies each; utterances here have 17 to 29 words.
"""

import random

import mctsdialog
from mctsdialog.preferences import spoken, system_prompt

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


def around(mean, most, generator):
    """A whole number of that mean, at most so far from it and never below 1."""
    spread = min(most, int(mean) - 1)
    return int(mean) + (generator.random() < mean % 1) + generator.randint(-spread, spread)


def sample(values, count, size):
    """So many of the values, evenly over their sizes, in their order: a small sample of the same shape."""
    ranked = sorted(range(len(values)), key=lambda index: size(values[index]))
    taken = {ranked[int((number + 0.5) * len(values) / count)] for number in range(count)}
    return [value for index, value in enumerate(values) if index in taken]
