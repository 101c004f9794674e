"""What the health check of the roles found, at the end of a command."""

from __future__ import annotations

from mctsdialog.cli.terminal import echo
from mctsdialog.llm import ChatModel
from mctsdialog.roles import RoleHealth

_CANNOT_JUDGE = "smollm2-135m"  # the embedded model; measured by benchmarks/judge_signal.py


def warn(health: RoleHealth, judge: ChatModel | None = None) -> None:
    """Print the warnings, a line each, and the judge's noise where it is known.

    :param judge: the judge's model. The embedded one is known to be too small, however few turns there are to see it.
    """
    for warning in health.warnings:
        echo(f"Warning: {warning}")
    if judge is not None and _CANNOT_JUDGE in judge.name.lower():
        echo(
            "Warning: The embedded model (SmolLM2, 135 million parameters) cannot judge: this run shows that all of it "
            "works, and its values and pairs mean nothing. Name a larger model: --model."
        )
    noise = health.judge_noise
    if noise is not None:
        echo(f"judge's noise: {noise.deviation:.3f} of reward (standard deviation, {noise.freedom} degrees of freedom)")
