"""Toxicity of texts in six attributes (paper section 4.4, Appendix C.4, Table 7).

The paper used the Perspective API, which shuts down at the end of 2026. A local classifier rates the same attributes
without a network. Scorers are on different scales: compare corpora with one scorer.
"""

from mctsdialog.preferences.toxicity.base import ATTRIBUTES, ToxicityScorer, score_unique
from mctsdialog.preferences.toxicity.local import LocalToxicityScorer

__all__ = ["ATTRIBUTES", "LocalToxicityScorer", "ToxicityScorer", "score_unique"]
