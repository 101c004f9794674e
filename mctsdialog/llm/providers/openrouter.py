"""OpenRouter, a gateway to many providers."""

from typing import Any

from mctsdialog.llm.providers._provider import Provider


class _OpenRouter(Provider):
    def effort_fields(self, effort: str) -> dict[str, Any]:
        return {"reasoning": {"effort": effort}}


PROVIDER = _OpenRouter("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY")
