"""The roles that drive a search: protocols, LLM implementations, prompt templates, reading of replies."""

from mctsdialog.roles.bundle import ROLE_NAMES, Roles, role_sampling
from mctsdialog.roles.checks import checked_judgement, checked_scores, checked_text
from mctsdialog.roles.llm import LLMJudge, LLMRole, LLMSeeker, LLMStrategist, LLMSupporter
from mctsdialog.roles.prompts import END_TOKEN, Prompt, packaged_template
from mctsdialog.roles.protocols import Judge, JudgeScores, Seeker, Strategist, Supporter

__all__ = [
    "END_TOKEN",
    "ROLE_NAMES",
    "Judge",
    "JudgeScores",
    "LLMJudge",
    "LLMRole",
    "LLMSeeker",
    "LLMStrategist",
    "LLMSupporter",
    "Prompt",
    "Roles",
    "Seeker",
    "Strategist",
    "Supporter",
    "checked_judgement",
    "checked_scores",
    "checked_text",
    "packaged_template",
    "role_sampling",
]
