"""How large a study is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Sizes of the study's parts.

    :param seed: of the world.
    :param rounds: supporter turns of a dialogue.
    :param scenarios: searched in each comparison.
    :param calls: to roles, the numbers of them that every way of choosing gets.
    :param effect_calls: calls where one setting is varied.
    :param first_effect: number of the first scenario there: other scenarios than in the comparison.
    :param every_value: 1 for every value of a setting, 2 for every other.
    """

    seed: int = 7
    rounds: int = 8
    scenarios: int = 50
    calls: tuple[int, ...] = (250, 500, 1000, 2000)
    effect_calls: int = 1000
    first_effect: int = 10_000
    every_value: int = 1


PRESETS = {
    "full": Preset(),
    "small": Preset(scenarios=20, calls=(250, 1000), effect_calls=500, every_value=2),
    "tiny": Preset(scenarios=2, calls=(260,), effect_calls=260, every_value=5),
}
