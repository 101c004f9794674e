"""Mistral AI."""

from mctsdialog.llm.providers._provider import Provider

PROVIDER = Provider("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY")
