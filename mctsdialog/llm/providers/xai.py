"""xAI's Grok models."""

from mctsdialog.llm.providers._provider import Provider

PROVIDER = Provider("xai", "https://api.x.ai/v1", "XAI_API_KEY")
