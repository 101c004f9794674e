"""vLLM, on this machine. It reasons as the model's chat template says."""

from typing import Any

from mctsdialog.llm.providers._provider import TEMPLATE_OFF, Provider


class _VLLM(Provider):
    def effort_fields(self, effort: str) -> dict[str, Any]:
        return dict(TEMPLATE_OFF) if effort == "none" else super().effort_fields(effort)


PROVIDER = _VLLM("vllm", "http://localhost:8000/v1")
