"""The calibrated search without one of its parts each, to see what the part is worth."""

from functools import partial
from itertools import count

from mctsdialog.algorithms import Calibrated, Calibration, register
from study_parts.searching import by_name


class Blunt(Calibration):
    """Predicts the same for every turn: what the strategist says is ignored."""

    def predict(self, strategy, score):
        turns = self.judged
        return sum(sums[2] for sums in self.sums.values()) / turns if turns else 1.0


class Gullible(Calibration):
    """Believes the judge."""

    def posterior(self, strategy, score, judgements):
        mean, variance = super().posterior(strategy, score, judgements)
        return (sum(judgements) / len(judgements) if judgements else mean), variance


class _Other(Calibrated):
    calibrated_by = Calibration

    def __init__(self, tree, config, **means):
        super().__init__(tree, config, **means)
        self.calibration = self.calibrated_by(tree.domain.strategies.names)


@register
class WithoutCalibration(_Other):
    name = "without_calibration"
    calibrated_by = Blunt


@register
class WithoutShrinking(_Other):
    name = "without_shrinking"
    calibrated_by = Gullible


@register
class WithoutRepeats(Calibrated):
    name = "without_repeats"

    def __init__(self, tree, config, *, max_calls=None, can_rejudge=False):
        del can_rejudge
        super().__init__(tree, config, max_calls=max_calls)


@register
class WithoutSweeps(Calibrated):
    """Dives, one dialogue after the other, in place of sweeps that widen."""

    name = "without_sweeps"

    def batches(self):
        yield self.gold_turns()
        for _ in count():
            before = self.calls
            yield from self._sweep(0.0, first=True)
            if self.calls == before:
                return


ABLATIONS = {
    kind.name.replace("_", " "): partial(by_name, algorithm=kind.name)
    for kind in (WithoutCalibration, WithoutShrinking, WithoutRepeats, WithoutSweeps)
}
