"""Many dialogues searched at once: one limit, one folder, resumable, in one process or on a Ray cluster."""

from mctsdialog._public import publish as _publish
from mctsdialog.corpus.output import Output
from mctsdialog.corpus.ray import RayExecutor, Share, WorkerModels
from mctsdialog.corpus.record import TreeRecord
from mctsdialog.corpus.report import CorpusProgress, CorpusReport, Counts
from mctsdialog.corpus.runner import Executor, search_corpus
from mctsdialog.corpus.shards import in_shard, parse_shard

__all__ = [
    "CorpusProgress",
    "CorpusReport",
    "Counts",
    "Executor",
    "Output",
    "RayExecutor",
    "Share",
    "TreeRecord",
    "WorkerModels",
    "in_shard",
    "parse_shard",
    "search_corpus",
]

_publish(globals())
