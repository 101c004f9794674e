"""Anthropic's models, through its OpenAI-compatible address."""

from typing import Any

from mctsdialog.llm.providers._provider import Provider

_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384}  # tokens; 1,024 is the least that it takes


class _Anthropic(Provider):
    def effort_fields(self, effort: str) -> dict[str, Any]:
        if effort == "none":
            return {"thinking": {"type": "disabled"}}
        return {"thinking": {"type": "enabled", "budget_tokens": _BUDGETS[effort]}}


PROVIDER = _Anthropic("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY")
