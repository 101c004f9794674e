"""Toxicity of texts in six attributes (paper section 4.4, Appendix C.4, Table 7).

The paper asks the Perspective API, which its makers close at the end of 2026; a local classifier gives comparable
attributes without a network. Scores of different scorers are on different scales: compare corpora with one scorer.
"""

from mctsdialog.preferences.toxicity.base import ATTRIBUTES, ToxicityScorer, score_unique
from mctsdialog.preferences.toxicity.local import LocalToxicityScorer
from mctsdialog.preferences.toxicity.perspective import PerspectiveScorer

__all__ = ["ATTRIBUTES", "LocalToxicityScorer", "PerspectiveScorer", "ToxicityScorer", "score_unique"]
