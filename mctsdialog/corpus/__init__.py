"""Many dialogues searched at once: one limit, one folder, resumable, in one process or on a Ray cluster."""

from mctsdialog._public import publish as _publish
from mctsdialog.corpus._output import Output
from mctsdialog.corpus._ray import RayExecutor, Share, WorkerModels
from mctsdialog.corpus._record import TreeRecord
from mctsdialog.corpus._report import CorpusProgress, CorpusReport, Counts
from mctsdialog.corpus._runner import Executor, search_corpus
from mctsdialog.corpus._shards import in_shard, parse_shard

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
