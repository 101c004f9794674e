"""Ollama, on this machine."""

from mctsdialog.llm.providers._provider import Provider

PROVIDER = Provider("ollama", "http://localhost:11434/v1")
