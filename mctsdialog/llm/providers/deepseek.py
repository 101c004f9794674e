"""DeepSeek."""

from typing import Any

from mctsdialog.llm.providers._provider import Provider


class _DeepSeek(Provider):
    def effort_fields(self, effort: str) -> dict[str, Any]:
        if effort == "none":
            return {"thinking": {"type": "disabled"}}
        return {"thinking": {"type": "enabled"}, "reasoning_effort": effort}


PROVIDER = _DeepSeek("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY")
