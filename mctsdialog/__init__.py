"""Search conversations for better replies, and turn the trees into training data.

The shortest program::

    tree = await mctsdialog.search(dialogue, mctsdialog.Roles.from_model(mctsdialog.LocalChat()))

Other names are in ``mctsdialog.dialogue``, ``.llm``, ``.roles``, ``.tree``, ``.algorithms``, ``.preferences``,
``.statistics``, ``.export``, ``.corpus``, ``.worlds`` and ``.errors``.
"""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from mctsdialog import _moved
from mctsdialog import algorithms as algorithms
from mctsdialog import corpus as corpus
from mctsdialog import dialogue as dialogue
from mctsdialog import errors as errors
from mctsdialog import export as export
from mctsdialog import llm as llm
from mctsdialog import preferences as preferences
from mctsdialog import roles as roles
from mctsdialog import seekers as seekers
from mctsdialog import statistics as statistics
from mctsdialog import tree as tree
from mctsdialog import worlds as worlds
from mctsdialog._public import publish as _publish
from mctsdialog._search import Plan, SearchConfig, plan, search
from mctsdialog._sync import run
from mctsdialog.corpus import search_corpus
from mctsdialog.dialogue import (
    Dialogue,
    Domain,
    Scenario,
    Strategy,
    StrategySet,
    Turn,
    get_domain,
    load_domain,
    read_dialogues,
    sample_dialogues,
)
from mctsdialog.errors import DataError, MctsDialogError, ModelError, ReplyError
from mctsdialog.llm import Budget, ChatModel, LocalChat, OpenAIChat, ResponseCache, ScriptedModel, build_stack
from mctsdialog.preferences import PreferenceDataset, load_trees, preference_pairs, write_dataset
from mctsdialog.roles import Judge, JudgeScores, Roles, Seeker, Strategist, Supporter
from mctsdialog.tree import EndNode, ExpandedNode, RootNode, Tree, UnexpandedNode, load_tree, save_tree

__version__ = _version("mctsdialog")

__all__ = [
    "Budget",
    "ChatModel",
    "DataError",
    "Dialogue",
    "Domain",
    "EndNode",
    "ExpandedNode",
    "Judge",
    "JudgeScores",
    "LocalChat",
    "MctsDialogError",
    "ModelError",
    "OpenAIChat",
    "Plan",
    "PreferenceDataset",
    "ReplyError",
    "ResponseCache",
    "Roles",
    "RootNode",
    "Scenario",
    "ScriptedModel",
    "SearchConfig",
    "Seeker",
    "Strategist",
    "Strategy",
    "StrategySet",
    "Supporter",
    "Tree",
    "Turn",
    "UnexpandedNode",
    "__version__",
    "build_stack",
    "get_domain",
    "load_domain",
    "load_tree",
    "load_trees",
    "plan",
    "preference_pairs",
    "read_dialogues",
    "run",
    "sample_dialogues",
    "save_tree",
    "search",
    "search_corpus",
    "write_dataset",
]

_publish(globals())
_moved.keep_old_modules()

if not TYPE_CHECKING:  # type checkers know the names above alone
    __getattr__ = _moved.moved_names(__name__)
