"""The roles that drive a search: protocols, LLM implementations, prompt templates, reading of replies."""

from mctsdialog.roles.bundle import ROLE_NAMES, Roles
from mctsdialog.roles.checks import checked_judgement, checked_scores, checked_text
from mctsdialog.roles.llm import LLMJudge, LLMRole, LLMSeeker, LLMStrategist, LLMSupporter
from mctsdialog.roles.prompts import END_TOKEN, PROMPT_VERSION, Prompt, one_block, packaged_template
from mctsdialog.roles.protocols import Judge, JudgeScores, Seeker, Strategist, Supporter
from mctsdialog.roles.replies import last_object

__all__ = [
    "END_TOKEN",
    "PROMPT_VERSION",
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
    "last_object",
    "one_block",
    "packaged_template",
]
