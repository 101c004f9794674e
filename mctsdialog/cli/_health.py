"""What the health check of the roles found, at the end of a command."""

from __future__ import annotations

from mctsdialog.cli.terminal import echo
from mctsdialog.roles import RoleHealth


def warn(health: RoleHealth) -> None:
    """Print the warnings, a line each, and the judge's noise where it is known."""
    for warning in health.warnings:
        echo(f"Warning: {warning}")
    noise = health.judge_noise
    if noise is not None:
        echo(f"judge's noise: {noise.deviation:.3f} of reward (standard deviation, {noise.freedom} degrees of freedom)")
