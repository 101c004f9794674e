"""The roles that drive a search: protocols, LLM implementations, prompt templates, reading of replies."""

from mctsdialog._public import publish as _publish
from mctsdialog.roles._asking import ask, whole
from mctsdialog.roles._bundle import ROLE_NAMES, Roles, role_sampling
from mctsdialog.roles._checks import checked_judgement, checked_scores, checked_text
from mctsdialog.roles._health import JudgeNoise, RoleHealth, check_roles
from mctsdialog.roles._judge import JudgeScoring, LLMJudge
from mctsdialog.roles._labeller import Labelling, LLMLabeller, TurnLabel, label_dialogues
from mctsdialog.roles._llm import LLMRole, LLMSeeker, LLMStrategist, LLMSupporter, supporter_labels
from mctsdialog.roles._prompts import END_TOKEN, PROMPT_VERSION, Prompt, one_block, packaged_template
from mctsdialog.roles._protocols import (
    AveragedScores,
    Judge,
    JudgeScores,
    RejudgingJudge,
    Seeker,
    Strategist,
    Supporter,
)
from mctsdialog.roles._replies import last_object, read_utterance
from mctsdialog.roles._signal import JudgeSignal, SignalCase, judge_signal, signal_cases

__all__ = [
    "END_TOKEN",
    "PROMPT_VERSION",
    "ROLE_NAMES",
    "AveragedScores",
    "Judge",
    "JudgeNoise",
    "JudgeScores",
    "JudgeScoring",
    "JudgeSignal",
    "LLMJudge",
    "LLMLabeller",
    "LLMRole",
    "LLMSeeker",
    "LLMStrategist",
    "LLMSupporter",
    "Labelling",
    "Prompt",
    "RejudgingJudge",
    "RoleHealth",
    "Roles",
    "Seeker",
    "SignalCase",
    "Strategist",
    "Supporter",
    "TurnLabel",
    "ask",
    "check_roles",
    "checked_judgement",
    "checked_scores",
    "checked_text",
    "judge_signal",
    "label_dialogues",
    "last_object",
    "one_block",
    "packaged_template",
    "read_utterance",
    "role_sampling",
    "signal_cases",
    "supporter_labels",
    "whole",
]

_publish(globals())
