"""Whether the rewards that a rubric and a bias give are of use for preference pairs, and which bias fits."""

from __future__ import annotations

from mctsdialog.dialogue import Domain
from mctsdialog.preferences import PreferenceConfig

_SHARE = 0.75  # of the best score that the paper's bias takes off


def reward_fault(domain: Domain, bias: float) -> str | None:
    """Why rewards are of no use at the default theta, and a bias that fits; None where they are."""
    best, theta = domain.max_score, PreferenceConfig().theta
    middle = best / 2 + bias
    if middle < theta <= best + bias:
        return None
    if middle >= theta:
        fault = f"even a middling reply, with {middle:g}, reaches the default --theta {theta:g} of pairs"
    else:
        fault = f"no reply can reach the default --theta {theta:g} of pairs"
    fitting = max(1 - best, -_SHARE * best) if best > 1 else -_SHARE / 3
    return f"{fault}; search with --bias {fitting:g}, which gives {fitting:g} to {best + fitting:g}"
