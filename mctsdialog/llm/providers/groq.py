"""Groq."""

from mctsdialog.llm.providers._provider import Provider

PROVIDER = Provider("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY")
