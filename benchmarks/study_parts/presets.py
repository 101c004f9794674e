"""How large a study is."""

from dataclasses import dataclass, field, replace
from typing import Any

METHODS = ("sft", "dpo", "ipo", "simpo", "kto", "orpo")


@dataclass(frozen=True)
class TrainingSizes:
    """Sizes of the training study.

    :param base_dialogues: that the base model is trained on.
    :param base_settings: others of the base's training.
    :param base_temperature: of the softmax over the strategist's scores that the base's dialogues are drawn from.
    :param seed_dialogues: that trees are grown from, other ones for every seed.
    :param iterations: of each tree's search.
    :param theta: least Q of a valid path: the world's rewards are mostly below 0, the paper's 0.5 is out of reach.
    :param rates: learning rates by method; of several, the best on validation scenarios is taken.
    :param settings: other settings by method.
    :param volumes: shares of the dialogues in the smaller data sets.
    :param tied: whether tokens have one embedding for reading and saying.
    :param sentences: whether a token ends where a sentence does, so that a sentence is the same tokens everywhere.
    """

    vocabulary: int = 3000
    hidden: int = 64
    layers: int = 2
    tied: bool = True
    sentences: bool = False
    base_dialogues: int = 2000
    base_epochs: int = 6
    base_rate: float = 8e-3
    base_settings: dict[str, float] = field(default_factory=dict)
    base_temperature: float = 1.5
    seed_dialogues: int = 40
    iterations: int = 150
    theta: float = -0.4
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 3
    batch_size: int = 32
    rates: dict[str, tuple[float, ...]] = field(default_factory=lambda: dict.fromkeys(METHODS, (3e-4, 1e-3)))
    settings: dict[str, dict[str, float]] = field(default_factory=dict)
    volumes: tuple[float, ...] = (0.125, 0.25, 0.5)
    test_dialogues: int = 100
    longest_reply: int = 24


@dataclass(frozen=True)
class RealSizes:
    """Sizes of the run on real text.

    :param dialogues: of ESConv that are grown; 0 leaves the part out.
    :param most: utterances of a dialogue that is grown.
    :param steps: optimiser steps of two pairs each.
    """

    dialogues: int = 3
    most: int = 16
    iterations: int = 4
    horizon: int = 1
    steps: int = 8
    contexts: int = 24
    longest_reply: int = 48


_READER = {
    "hidden": 128,
    "layers": 3,
    "tied": False,
    "sentences": True,
    "base_epochs": 3,
    "base_rate": 1.5e-3,
    "base_settings": {"warmup_ratio": 0.1, "pack_tokens": 1024},
}
"""A base that reads the seeker: its strategies are within 0.05 nats of the distribution that it was drawn from."""


@dataclass(frozen=True)
class LossSizes:
    """Sizes of the comparison of losses, of the larger model.

    :param sizes: what is otherwise than in the training study.
    :param seeds: that every loss is tried at.
    :param more_seeds: that the best losses and the controls are tried at as well.
    :param steps: optimiser steps of every arm.
    :param calls: to roles, of each tree of the calibrated search.
    :param held: dialogues that each model holds with the world's seeker.
    :param golds: whose gold: True for a supporter who wavers, False for the best policy.
    :param arms: ways of training; none of them named, all.
    :param round_seeds: that two rounds and one are compared at; none leaves the comparison out.
    :param checked: dialogues that a round checks its model in.
    """

    sizes: dict[str, Any] = field(default_factory=lambda: dict(_READER))
    seeds: tuple[int, ...] = (0, 1)
    more_seeds: tuple[int, ...] = (2, 3, 4)
    steps: int = 300
    calls: int = 2000
    held: int = 200
    golds: tuple[bool, ...] = (True, False)
    arms: tuple[str, ...] = ()
    round_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    checked: int = 20


_LARGER = {
    "hidden": 128,
    "layers": 3,
    "tied": False,
    "base_rate": 4e-3,
    "test_dialogues": 400,
    "rates": {"sft": (1e-3,), "dpo": (3e-4,), "orpo": (1e-3,)},
    "seeds": (0, 1, 2, 3, 4),
}


@dataclass(frozen=True)
class Preset:
    """Sizes of the study's parts.

    :param seed: of the world.
    :param rounds: supporter turns of a dialogue.
    :param scenarios: searched in each comparison.
    :param calls: to roles, the numbers of them that every way of choosing gets.
    :param effect_calls: calls where one setting is varied; about 19 make an iteration of the default search.
    :param effect_scenarios: searched there at each value.
    :param first_effect: number of the first scenario there: other scenarios than in the comparison.
    :param every_value: 1 for every value of a setting, 2 for every other.
    :param larger: what is otherwise with the larger model; nothing leaves it out.
    """

    seed: int = 7
    rounds: int = 8
    scenarios: int = 50
    calls: tuple[int, ...] = (250, 1000, 4000)
    effect_calls: int = 2000
    effect_scenarios: int = 20
    first_effect: int = 10_000
    every_value: int = 2
    training: TrainingSizes = field(default_factory=TrainingSizes)
    larger: dict[str, Any] = field(default_factory=lambda: dict(_LARGER))
    losses: LossSizes = field(default_factory=LossSizes)
    real: RealSizes = field(default_factory=RealSizes)


_ONE_RATE = dict.fromkeys(METHODS, (1e-3,))

_TINY = TrainingSizes(
    vocabulary=600,
    hidden=16,
    layers=1,
    base_dialogues=8,
    base_epochs=1,
    seed_dialogues=2,
    iterations=25,
    seeds=(0,),
    epochs=1,
    rates=_ONE_RATE,
    volumes=(0.5,),
    test_dialogues=3,
    longest_reply=8,
)

_SMALL = TrainingSizes(
    base_dialogues=800,
    base_epochs=4,
    seed_dialogues=10,
    rates=_ONE_RATE,
    volumes=(0.25, 0.5),
    test_dialogues=40,
)

_LOSSES = LossSizes(
    {**_READER, "base_dialogues": 2000, "seed_dialogues": 30, "test_dialogues": 100},
    steps=60,
    calls=1000,
    golds=(True,),
)

_FEW_ARMS = ("SFT", "SFT on gold", "longer SFT on gold", "distill", "dpo, likelihood", "nca")

PRESETS = {
    "full": Preset(),
    "losses": Preset(training=_SMALL, larger={}, losses=_LOSSES),
    "small": Preset(
        calls=(250, 1000),
        effect_calls=1000,
        training=_SMALL,
        larger={},
        losses=replace(_LOSSES, more_seeds=(), arms=_FEW_ARMS, round_seeds=()),
        real=RealSizes(dialogues=1, iterations=2, steps=2, contexts=4),
    ),
    "tiny": Preset(
        scenarios=2,
        calls=(260,),
        effect_calls=260,
        effect_scenarios=2,
        every_value=5,
        training=_TINY,
        larger={"hidden": 24, "tied": False},
        losses=LossSizes(
            {},
            seeds=(0,),
            more_seeds=(),
            steps=2,
            calls=120,
            held=2,
            golds=(True,),
            arms=("SFT", "distill", "SFT on gold"),
            round_seeds=(),  # a base this small never ends its replies
        ),
        real=RealSizes(dialogues=0),
    ),
}
"""``full``: what the documentation shows, an hour on two new cores, three on older ones; ``losses``: its comparison of
losses; ``small``: every night; ``tiny``: tests."""
