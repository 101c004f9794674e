"""LM Studio, on this machine."""

from mctsdialog.llm.providers._provider import Provider

PROVIDER = Provider("lmstudio", "http://localhost:1234/v1")
