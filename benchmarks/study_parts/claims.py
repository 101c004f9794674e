"""Measures of the trained models, and whether what the paper claims holds of them."""

import random
import statistics
from dataclasses import dataclass
from functools import cache

from cso_train.evaluation import bootstrap_interval, preference_bias
from cso_train.evaluation._metrics import confusion_matrix, macro_f1, strategy_scores
from mctsdialog.preferences import parse_reply
from study_parts.training import scores

RESAMPLES = 400


def mean_of(values):
    return statistics.fmean(values)


def interval(values):
    """The mean and its bootstrap interval."""
    return bootstrap_interval(len(values), lambda places: mean_of([values[at] for at in places]))


def measures_of(cases, said, domain):
    """The paper's four measures of one model."""
    found = scores(cases, said, domain)
    return {
        "Q": found.macro_f1.value,
        "B": found.bias.value,
        "saturated": found.bias_saturated,
        "QW": found.weighted_f1.value,
        "RL": found.rouge_l.value,
        "failed": found.failed,
        "predicted": {each.strategy: each.predicted for each in found.strategies},
    }


@dataclass(frozen=True)
class Difference:
    """A measure of one arm less that of another, with its interval.

    :param better: what a claim says of its sign: 1 or -1.
    """

    name: str
    better: int
    value: float
    low: float
    high: float

    @property
    def verdict(self):
        low, high = sorted((self.better * self.low, self.better * self.high))
        return "holds" if low > 0 else "does not hold" if high < 0 else "not decided"


class Comparer:
    """Compares arms on the same contexts: dialogues and seeds are resampled together, arms stay paired.

    :param cases: the test set.
    :param replies: by arm, the replies of each seed.
    """

    def __init__(self, cases, replies, domain):
        self._names = domain.strategies.names
        self._gold = [case.strategy for case in cases]
        self._named = {
            arm: [[parse_reply(text, domain.strategies)[0] for text in said] for said in seeds]
            for arm, seeds in replies.items()
        }
        groups = {}
        for place, case in enumerate(cases):
            groups.setdefault(case.id.rpartition("/")[0], []).append(place)
        self._dialogues = list(groups.values())
        self._samples = cache(self._draw)

    def difference(self, name, measure, arm, other, better):
        """Of the means over the seeds."""
        every = tuple(range(len(self._gold)))
        count = len(self._named[arm])

        def gap(places, seeds):
            return mean_of([
                self._measure(measure, arm, seed, places) - self._measure(measure, other, seed, places)
                for seed in seeds
            ])  # fmt: skip

        drawn = sorted(gap(places, seeds) for places, seeds in self._samples(count))
        low, high = drawn[int(0.025 * len(drawn))], drawn[int(0.975 * len(drawn))]
        return Difference(name, better, gap(every, range(count)), low, high)

    def _draw(self, seeds):
        draw, samples = random.Random(0), []
        for _ in range(RESAMPLES):
            groups = draw.choices(self._dialogues, k=len(self._dialogues))
            samples.append(([place for group in groups for place in group], draw.choices(range(seeds), k=seeds)))
        return samples

    def _measure(self, measure, arm, seed, places):
        seeds = self._named[arm]
        named = seeds[seed % len(seeds)]
        gold, said = [self._gold[at] for at in places], [named[at] for at in places]
        if measure == "Q":
            return 100 * macro_f1(strategy_scores(gold, said, self._names))
        return preference_bias(confusion_matrix(gold, said, self._names)).value


def claims(comparer, smallest):
    """The paper's claims as differences.

    :param smallest: the arm of CSO on the least data.
    """
    return [
        comparer.difference("CSO is above SFT in Q", "Q", "CSO", "SFT", 1),
        comparer.difference("CSO is below SFT in B", "B", "CSO", "SFT", -1),
        comparer.difference("CSO-Random is above SFT in Q", "Q", "CSO-Random", "SFT", 1),
        comparer.difference("CSO-Random is below CSO in Q", "Q", "CSO-Random", "CSO", -1),
        comparer.difference("CSO on all data is above CSO on the least, in Q", "Q", "CSO", smallest, 1),
        comparer.difference("SFT is above the base in Q", "Q", "SFT", "base", 1),
        comparer.difference("CSO is above the base in Q", "Q", "CSO", "base", 1),
        *(
            comparer.difference(f"{arm} is above SFT in Q", "Q", arm, "SFT", 1)
            for arm in ("CSO-IPO", "CSO-SimPO", "CSO-KTO", "CSO-ORPO")
        ),
        comparer.difference("CSO-ORPO is above chosen alone in Q", "Q", "CSO-ORPO", "chosen alone", 1),
        comparer.difference("CSO-ORPO is above longer SFT in Q", "Q", "CSO-ORPO", "longer SFT", 1),
    ]


def claims_of_larger(comparer):
    """The paper's first claims, by DPO and by the loss that keeps the likelihood of the chosen reply."""
    return [
        comparer.difference("CSO is above SFT in Q", "Q", "CSO", "SFT", 1),
        comparer.difference("CSO is below SFT in B", "B", "CSO", "SFT", -1),
        comparer.difference("CSO-ORPO is above SFT in Q", "Q", "CSO-ORPO", "SFT", 1),
        comparer.difference("CSO-ORPO is below SFT in B", "B", "CSO-ORPO", "SFT", -1),
        comparer.difference("CSO-ORPO is above the base in Q", "Q", "CSO-ORPO", "base", 1),
        comparer.difference("chosen alone is above SFT in Q", "Q", "chosen alone", "SFT", 1),
        comparer.difference("CSO-ORPO is above chosen alone in Q", "Q", "CSO-ORPO", "chosen alone", 1),
        comparer.difference("CSO-ORPO is below chosen alone in B", "B", "CSO-ORPO", "chosen alone", -1),
        comparer.difference("CSO-ORPO is above longer SFT in Q", "Q", "CSO-ORPO", "longer SFT", 1),
        comparer.difference("CSO-ORPO is below longer SFT in B", "B", "CSO-ORPO", "longer SFT", -1),
    ]
