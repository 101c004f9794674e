"""Google's Gemini models."""

from mctsdialog.llm.providers._provider import Provider

PROVIDER = Provider("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY")
