"""Statistics of preference data (paper section 4, Appendix C): tables, figures, near duplicates and toxicity.

The paper rated toxicity by the Perspective API, which shuts down at the end of 2026. A local classifier rates the same
attributes without a network. Scorers are on different scales: compare corpora with one scorer.
"""

from mctsdialog._public import publish as _publish
from mctsdialog.statistics._compute import DatasetStatistics, dataset_statistics, toxicity_table
from mctsdialog.statistics._data import Distribution, Diversity, GroupSize, NearDuplicates, ToxicityTable
from mctsdialog.statistics._local_toxicity import LocalToxicityScorer
from mctsdialog.statistics._plots import FigureFormat, write_plots
from mctsdialog.statistics._toxicity import ATTRIBUTES, ToxicityScorer, score_unique

__all__ = [
    "ATTRIBUTES",
    "DatasetStatistics",
    "Distribution",
    "Diversity",
    "FigureFormat",
    "GroupSize",
    "LocalToxicityScorer",
    "NearDuplicates",
    "ToxicityScorer",
    "ToxicityTable",
    "dataset_statistics",
    "score_unique",
    "toxicity_table",
    "write_plots",
]

_publish(globals())
