"""How the seeker feels as the conversation goes on, and whether it is helped.

Source: the idea of SAGE, Zhang et al., "Sentient Agent as a Judge" (arXiv:2505.02847): a simulated person's own
emotion, followed over a conversation, scores the supporter. Scales, thresholds and prompts are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cso_train.evaluation.protocols._base import Episode, EpisodeProtocol, Metric


class Interactive(EpisodeProtocol):
    """The seeker's emotion at the end, its gain, success and failure at thresholds, and turns to relief."""

    name = "interactive"
    title = "Interactive"
    source = 'after SAGE: Zhang et al., "Sentient Agent as a Judge", arXiv:2505.02847'

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """By name."""
        return {
            "final": Metric("the seeker's emotion at the end, 0 to 100"),
            "gain": Metric("the same, less the emotion at its first turn"),
            "success": Metric(f"share of conversations that end at {self.success:g} or above, 0 to 1"),
            "failure": Metric(
                f"share that end below {self.failure:g}, or in which the system fails, 0 to 1", higher=False
            ),
            "turns_to_relief": Metric(
                f"supporter turns until the emotion first reaches {self.success:g}; one more than there may be "
                "where it never does",
                higher=False,
            ),
            "need_met": Metric("how far the hidden need is met at the end, 0 to 100"),
        }

    def values(self, episode: Episode, answers: Sequence[Any]) -> dict[str, float]:
        """Of one conversation."""
        emotions = [state.emotion for state in episode.states]
        failed = episode.failure is not None
        relief = next((at for at, emotion in enumerate(emotions) if emotion >= self.success), episode.rounds + 1)
        return {
            "final": emotions[-1],
            "gain": emotions[-1] - emotions[0],
            "success": float(emotions[-1] >= self.success and not failed),
            "failure": float(emotions[-1] < self.failure or failed),
            "turns_to_relief": float(relief),
            "need_met": episode.states[-1].need_met,
        }
