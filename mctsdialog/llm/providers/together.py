"""Together AI."""

from typing import Any

from mctsdialog.llm.providers._provider import Provider


class _Together(Provider):
    def effort_fields(self, effort: str) -> dict[str, Any]:
        return {"reasoning": {"enabled": False}} if effort == "none" else super().effort_fields(effort)


PROVIDER = _Together("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY")
