"""Names of version 0.1 that moved. Until 0.3 the old ones work, with a warning that says the new one.

A package with names in :data:`MOVED` ends in::

    if not TYPE_CHECKING:
        __getattr__ = moved_names(__name__)
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, TypeVar, cast

MOVED: Final[Mapping[str, str]] = {
    "cso_train.data.load_data": "cso_train.load_data",
    "cso_train.evaluation.evaluate_model": "cso_train.evaluate",
    "cso_train.evaluation.plots.save_plots": "cso_train.evaluation.write_plots",
    "cso_train.evaluation.run.evaluate_model": "cso_train.evaluate",
    "cso_train.evaluation.save_plots": "cso_train.evaluation.write_plots",
    "cso_train.models.load_for_answers": "cso_train.load_for_answers",
    "cso_train.run.RunResult": "cso_train.RunResult",
    "cso_train.run.train": "cso_train.train",
    "cso_train.serving.TrainedSupporter": "cso_train.TrainedSupporter",
    "mctsdialog.AdaptiveLimits": "mctsdialog.llm.AdaptiveLimits",
    "mctsdialog.BudgetExceededError": "mctsdialog.errors.BudgetExceededError",
    "mctsdialog.CacheError": "mctsdialog.errors.CacheError",
    "mctsdialog.CacheMissError": "mctsdialog.errors.CacheMissError",
    "mctsdialog.ChatRequest": "mctsdialog.llm.ChatRequest",
    "mctsdialog.Completion": "mctsdialog.llm.Completion",
    "mctsdialog.ConfigError": "mctsdialog.errors.ConfigError",
    "mctsdialog.CorpusProgress": "mctsdialog.corpus.CorpusProgress",
    "mctsdialog.CorpusReport": "mctsdialog.corpus.CorpusReport",
    "mctsdialog.DatasetBuilder": "mctsdialog.preferences.DatasetBuilder",
    "mctsdialog.DatasetStatistics": "mctsdialog.statistics.DatasetStatistics",
    "mctsdialog.DialogueError": "mctsdialog.errors.DialogueError",
    "mctsdialog.DialogueSet": "mctsdialog.dialogue.DialogueSet",
    "mctsdialog.DialogueStream": "mctsdialog.dialogue.DialogueStream",
    "mctsdialog.DomainError": "mctsdialog.errors.DomainError",
    "mctsdialog.Engine": "mctsdialog.algorithms.CSO",
    "mctsdialog.JournalError": "mctsdialog.errors.JournalError",
    "mctsdialog.JournalMismatchError": "mctsdialog.errors.JournalMismatchError",
    "mctsdialog.Limits": "mctsdialog.llm.Limits",
    "mctsdialog.LocalToxicityScorer": "mctsdialog.statistics.LocalToxicityScorer",
    "mctsdialog.Message": "mctsdialog.llm.Message",
    "mctsdialog.Meter": "mctsdialog.llm.Meter",
    "mctsdialog.ModelAccountError": "mctsdialog.errors.ModelAccountError",
    "mctsdialog.ModelNotFoundError": "mctsdialog.errors.ModelNotFoundError",
    "mctsdialog.ModelRefusedError": "mctsdialog.errors.ModelRefusedError",
    "mctsdialog.ModelRequestError": "mctsdialog.errors.ModelRequestError",
    "mctsdialog.ModelResponseError": "mctsdialog.errors.ModelResponseError",
    "mctsdialog.ModelUnavailableError": "mctsdialog.errors.ModelUnavailableError",
    "mctsdialog.NotebookProgress": "mctsdialog.export.NotebookProgress",
    "mctsdialog.PreferenceConfig": "mctsdialog.preferences.PreferenceConfig",
    "mctsdialog.PreferencePair": "mctsdialog.preferences.PreferencePair",
    "mctsdialog.Price": "mctsdialog.llm.Price",
    "mctsdialog.Retry": "mctsdialog.llm.Retry",
    "mctsdialog.RoleHealth": "mctsdialog.roles.RoleHealth",
    "mctsdialog.Sampling": "mctsdialog.llm.Sampling",
    "mctsdialog.ScriptExhaustedError": "mctsdialog.errors.ScriptExhaustedError",
    "mctsdialog.TooManyFailuresError": "mctsdialog.errors.TooManyFailuresError",
    "mctsdialog.ToxicityScorer": "mctsdialog.statistics.ToxicityScorer",
    "mctsdialog.TreeError": "mctsdialog.errors.TreeError",
    "mctsdialog.TreeFormatError": "mctsdialog.errors.TreeFormatError",
    "mctsdialog.TreeRecord": "mctsdialog.preferences.TreeRecord",
    "mctsdialog.TrialError": "mctsdialog.errors.TrialError",
    "mctsdialog.Usage": "mctsdialog.llm.Usage",
    "mctsdialog.chat_model": "mctsdialog.llm.chat_model",
    "mctsdialog.check_roles": "mctsdialog.roles.check_roles",
    "mctsdialog.dataset_statistics": "mctsdialog.statistics.dataset_statistics",
    "mctsdialog.domains": "mctsdialog.dialogue.domains",
    "mctsdialog.export.viewer.Rule": "mctsdialog.preferences.PathRule",
    "mctsdialog.llm.layers.build_stack": "mctsdialog.llm.build_stack",
    "mctsdialog.load_preferences": "mctsdialog.preferences.load_preferences",
    "mctsdialog.preferences.DatasetStatistics": "mctsdialog.statistics.DatasetStatistics",
    "mctsdialog.preferences.LocalToxicityScorer": "mctsdialog.statistics.LocalToxicityScorer",
    "mctsdialog.preferences.ToxicityScorer": "mctsdialog.statistics.ToxicityScorer",
    "mctsdialog.preferences.ToxicityTable": "mctsdialog.statistics.ToxicityTable",
    "mctsdialog.preferences.dataset_statistics": "mctsdialog.statistics.dataset_statistics",
    "mctsdialog.preferences.paths.Family": "mctsdialog.tree.Family",
    "mctsdialog.preferences.paths.ValidPaths": "mctsdialog.tree.ValidPaths",
    "mctsdialog.preferences.plots.save_plots": "mctsdialog.statistics.write_plots",
    "mctsdialog.preferences.save_plots": "mctsdialog.statistics.write_plots",
    "mctsdialog.preferences.toxicity_table": "mctsdialog.statistics.toxicity_table",
    "mctsdialog.probe_siblings": "mctsdialog.preferences.probe_siblings",
    "mctsdialog.random_record": "mctsdialog.preferences.random_record",
    "mctsdialog.read_trees": "mctsdialog.preferences.read_trees",
    "mctsdialog.roles.llm.LLMJudge": "mctsdialog.roles.LLMJudge",
    "mctsdialog.save_graphml": "mctsdialog.export.save_graphml",
    "mctsdialog.save_html": "mctsdialog.export.save_html",
    "mctsdialog.save_plots": "mctsdialog.statistics.write_plots",
    "mctsdialog.search.Closure": "mctsdialog.algorithms.Closure",
    "mctsdialog.search.Engine": "mctsdialog.algorithms.CSO",
    "mctsdialog.search.Exchange": "mctsdialog.algorithms.Exchange",
    "mctsdialog.search.Growth": "mctsdialog.algorithms.Growth",
    "mctsdialog.search.Journal": "mctsdialog._search.open_journal",
    "mctsdialog.search.Outcome": "mctsdialog.algorithms.Simulation",
    "mctsdialog.search.Plan": "mctsdialog.Plan",
    "mctsdialog.search.Players": "mctsdialog._search.CheckedRoles",
    "mctsdialog.search.SearchConfig": "mctsdialog.SearchConfig",
    "mctsdialog.search.Trial": "mctsdialog.algorithms.Trial",
    "mctsdialog.search.most_calls": "mctsdialog.algorithms.most_calls",
    "mctsdialog.search.most_calls_by_role": "mctsdialog.algorithms.most_calls_by_role",
    "mctsdialog.search.plan": "mctsdialog.plan",
    "mctsdialog.search.play": "mctsdialog._search.run_trial",
    "mctsdialog.search.play_probe": "mctsdialog._search.run_probe",
    "mctsdialog.search.pucb": "mctsdialog.algorithms.pucb",
    "mctsdialog.search.running_mean": "mctsdialog.algorithms.running_mean",
    "mctsdialog.search.search": "mctsdialog.search",
    "mctsdialog.stream_dialogues": "mctsdialog.dialogue.stream_dialogues",
    "mctsdialog.to_dataset": "mctsdialog.preferences.to_dataset",
    "mctsdialog.to_dot": "mctsdialog.export.to_dot",
    "mctsdialog.to_graphml": "mctsdialog.export.to_graphml",
    "mctsdialog.to_html": "mctsdialog.export.to_html",
    "mctsdialog.to_networkx": "mctsdialog.export.to_networkx",
    "mctsdialog.to_svg": "mctsdialog.export.to_svg",
    "mctsdialog.toxicity_table": "mctsdialog.statistics.toxicity_table",
    "mctsdialog.tree.own_visits": "mctsdialog.algorithms.own_visits",
    "mctsdialog.tree_record": "mctsdialog.preferences.tree_record",
    "mctsdialog.valid_paths": "mctsdialog.preferences.valid_paths",
    "mctsdialog.write_dialogues": "mctsdialog.dialogue.write_dialogues",
}
"""Old dotted name to new dotted name, of functions and classes."""

MODULES: Final[Mapping[str, str]] = {
    "cso_train.chat": "cso_train._chat",
    "cso_train.config": "cso_train._config",
    "cso_train.config.batching": "cso_train._config.batching",
    "cso_train.config.layers": "cso_train._config.layers",
    "cso_train.config.presets": "cso_train._config.presets",
    "cso_train.config.settings": "cso_train._config.settings",
    "cso_train.data": "cso_train._data",
    "cso_train.evaluation.agreement": "cso_train.evaluation._agreement",
    "cso_train.evaluation.bias": "cso_train.evaluation._bias",
    "cso_train.evaluation.contexts": "cso_train.evaluation._contexts",
    "cso_train.evaluation.metrics": "cso_train.evaluation._metrics",
    "cso_train.evaluation.pairwise": "cso_train.evaluation._pairwise",
    "cso_train.evaluation.plots": "cso_train.evaluation._plots",
    "cso_train.evaluation.ratings": "cso_train.evaluation._ratings",
    "cso_train.evaluation.replies": "cso_train.evaluation._replies",
    "cso_train.evaluation.rouge": "cso_train.evaluation._rouge",
    "cso_train.evaluation.run": "cso_train.evaluation._evaluate",
    "cso_train.evaluation.sheets": "cso_train.evaluation._sheets",
    "cso_train.evaluation.table": "cso_train.evaluation._table",
    "cso_train.models": "cso_train._models",
    "cso_train.packing.trie": "cso_train.packing._trie",
    "cso_train.run": "cso_train._run.training",
    "cso_train.serving": "cso_train._serving",
    "cso_train.zero": "cso_train._deepspeed",
    "cso_train.zero.configure": "cso_train._deepspeed.config",
    "cso_train.zero.memory": "cso_train._deepspeed.memory",
    "cso_train.zero.plan": "cso_train._deepspeed.plan",
    "mctsdialog.corpus.output": "mctsdialog.corpus._output",
    "mctsdialog.corpus.ray": "mctsdialog.corpus._ray",
    "mctsdialog.corpus.report": "mctsdialog.corpus._report",
    "mctsdialog.corpus.runner": "mctsdialog.corpus._runner",
    "mctsdialog.corpus.shards": "mctsdialog.corpus._shards",
    "mctsdialog.dialogue.domains": "mctsdialog.dialogue._domains",
    "mctsdialog.dialogue.model": "mctsdialog.dialogue._model",
    "mctsdialog.dialogue.readers.common": "mctsdialog.dialogue.readers._common",
    "mctsdialog.dialogue.readers.files": "mctsdialog.dialogue.readers._files",
    "mctsdialog.dialogue.readers.report": "mctsdialog.dialogue.readers._report",
    "mctsdialog.dialogue.samples": "mctsdialog.dialogue._samples",
    "mctsdialog.export.graph": "mctsdialog.export._graph",
    "mctsdialog.export.notebook": "mctsdialog.export._notebook",
    "mctsdialog.export.plot": "mctsdialog.export._plot",
    "mctsdialog.export.viewer": "mctsdialog.export._viewer",
    "mctsdialog.llm.adaptive": "mctsdialog.llm.layers._adaptive",
    "mctsdialog.llm.budget": "mctsdialog.llm.layers._budget",
    "mctsdialog.llm.cache": "mctsdialog.llm.layers._cache",
    "mctsdialog.llm.limits": "mctsdialog.llm.layers._limits",
    "mctsdialog.llm.local": "mctsdialog.llm._local",
    "mctsdialog.llm.meter": "mctsdialog.llm.layers._meter",
    "mctsdialog.llm.openai": "mctsdialog.llm._openai.client",
    "mctsdialog.llm.retry": "mctsdialog.llm.layers._retry",
    "mctsdialog.llm.scripted": "mctsdialog.llm._scripted",
    "mctsdialog.llm.singleflight": "mctsdialog.llm.layers._singleflight",
    "mctsdialog.llm.wire": "mctsdialog.llm._wire",
    "mctsdialog.preferences.card": "mctsdialog.preferences._card",
    "mctsdialog.preferences.config": "mctsdialog.preferences._config",
    "mctsdialog.preferences.dataset": "mctsdialog.preferences._dataset",
    "mctsdialog.preferences.extract": "mctsdialog.preferences._extract",
    "mctsdialog.preferences.generate": "mctsdialog.preferences._generate",
    "mctsdialog.preferences.paths": "mctsdialog.preferences",
    "mctsdialog.preferences.plots": "mctsdialog.statistics._plots",
    "mctsdialog.preferences.prompts": "mctsdialog.preferences._prompts",
    "mctsdialog.preferences.read": "mctsdialog.preferences._read",
    "mctsdialog.preferences.record": "mctsdialog.preferences._record",
    "mctsdialog.preferences.report": "mctsdialog.statistics._report",
    "mctsdialog.preferences.rows": "mctsdialog.preferences._rows",
    "mctsdialog.preferences.similarity": "mctsdialog.statistics._similarity",
    "mctsdialog.preferences.statistics": "mctsdialog.statistics",
    "mctsdialog.preferences.toxicity": "mctsdialog.statistics",
    "mctsdialog.preferences.toxicity.base": "mctsdialog.statistics",
    "mctsdialog.preferences.toxicity.local": "mctsdialog.statistics",
    "mctsdialog.preferences.write": "mctsdialog.preferences._write",
    "mctsdialog.roles.bundle": "mctsdialog.roles._bundle",
    "mctsdialog.roles.checks": "mctsdialog.roles._checks",
    "mctsdialog.roles.llm": "mctsdialog.roles._llm",
    "mctsdialog.roles.prompts": "mctsdialog.roles._prompts",
    "mctsdialog.roles.protocols": "mctsdialog.roles._protocols",
    "mctsdialog.roles.replies": "mctsdialog.roles._replies",
    "mctsdialog.search": "mctsdialog._search",
    "mctsdialog.search.config": "mctsdialog.algorithms._config",
    "mctsdialog.search.engine": "mctsdialog.algorithms._cso",
    "mctsdialog.search.journal": "mctsdialog.journal",
    "mctsdialog.search.plan": "mctsdialog._search.policy",
    "mctsdialog.search.play": "mctsdialog._search.simulate",
    "mctsdialog.search.rules": "mctsdialog.algorithms._rules",
    "mctsdialog.search.runner": "mctsdialog._search.run",
    "mctsdialog.search.trial": "mctsdialog.algorithms._trial",
    "mctsdialog.tree.document": "mctsdialog.tree._document",
    "mctsdialog.tree.json_file": "mctsdialog.tree._json_file",
    "mctsdialog.tree.nodes": "mctsdialog.tree._nodes",
    "mctsdialog.tree.tree": "mctsdialog.tree._tree",
    "mctsdialog.worlds.language": "mctsdialog.worlds._language",
    "mctsdialog.worlds.state": "mctsdialog.worlds._state",
    "mctsdialog.worlds.world": "mctsdialog.worlds._world",
}
"""Old module to new module. Names in :data:`MOVED` go there, others to the new module."""

_PERSPECTIVE = (
    "the client of the Perspective API, which shuts down at the end of 2026, was removed in 0.2; use"
    " mctsdialog.statistics.LocalToxicityScorer or a scorer of your own (docs/preferences.md, Toxicity)"
)
_RULES = (
    "search(score=, backup=) was removed in 0.2, for a journal or tree did not know its rules; subclass"
    " mctsdialog.algorithms.Algorithm (docs/algorithms.md, An algorithm of your own)"
)
GONE: Final[Mapping[str, str]] = {
    "mctsdialog.search.BackupRule": _RULES,
    "mctsdialog.search.ScoreRule": _RULES,
    "mctsdialog.PerspectiveScorer": _PERSPECTIVE,
    "mctsdialog.preferences.PerspectiveScorer": _PERSPECTIVE,
}
"""Old dotted name to what to do, of what was removed."""

F = TypeVar("F", bound=Callable[..., Any])


def moved_names(module: str) -> Callable[[str], Any]:
    """A module's ``__getattr__`` for its names that moved.

    :param module: its ``__name__``.
    """

    def find(name: str) -> Any:
        old = f"{module}.{name}"
        if old in GONE:
            raise ImportError(GONE[old])  # an AttributeError would become "cannot import name", without the advice
        if old in MOVED:
            warn(f"{old} moved to {MOVED[old]}")
            home, _, own = MOVED[old].rpartition(".")
            return getattr(import_module(home), own)
        if old in MODULES:
            return sys.modules[old]  # it warns of the names in it
        if module in MODULES and not name.startswith("__"):
            found = getattr(import_module(MODULES[module]), name)
            home = getattr(found, "__module__", "")  # of what a package exports, the package
            public = "._" not in home and getattr(sys.modules.get(home), name, None) is found
            warn(f"{old} moved to {home}.{name}" if public else f"{module} moved to {MODULES[module]}")
            return found
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find


def warn(what: str) -> None:
    """Warn the caller of the function that calls this: what is old, and until when it works."""
    warnings.warn(f"{what}; the old way works until 0.3", DeprecationWarning, stacklevel=3)


def keep_old_modules() -> None:
    """Make ``import`` find the modules of :data:`MODULES`.

    They are put into ``sys.modules`` before anything imports them. The import system binds only what it loads, so
    ``mctsdialog.search`` stays the function while ``from mctsdialog.search import ...`` still works.
    """
    for old in MODULES:
        module = ModuleType(old, f"Moved to {MODULES[old]}.")
        module.__dict__["__getattr__"] = moved_names(old)
        module.__spec__ = ModuleSpec(old, None)
        sys.modules.setdefault(old, module)
        package = old.rpartition(".")[0]
        if package in sys.modules and "__getattr__" not in vars(sys.modules[package]):
            sys.modules[package].__dict__["__getattr__"] = moved_names(package)  # ``package.old`` without an import


def renamed_arguments(**names: str) -> Callable[[F], F]:
    """A function, or a class whose constructor has keyword arguments with new names; the old ones work, with a warning.

    :param names: old name to new name.
    """

    def decorate(function: F) -> F:
        if isinstance(function, type):
            function.__init__ = decorate(function.__init__)  # type: ignore[misc]  # the class's own
            return function
        known = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old in names.keys() & kwargs.keys():
                if names[old] in kwargs:
                    raise TypeError(f"{known}() got both {names[old]}= and its old name {old}=")
                warn(f"{known}({old}=...) is now {known}({names[old]}=...)")
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return cast("F", call)

    return decorate


def renamed_attribute(old: str, new: str) -> Any:
    """A property for the old name of an attribute, with a warning.

    :param new: its name now.
    """

    def get(self: object) -> Any:
        warn(f"{type(self).__name__}.{old} is now {type(self).__name__}.{new}")
        return getattr(self, new)

    return property(get)
