"""OpenAI, whose format the others follow."""

from mctsdialog.llm._address import OPENAI_URL
from mctsdialog.llm.providers._provider import Provider

PROVIDER = Provider("openai", OPENAI_URL, "OPENAI_API_KEY", tokens="max_completion_tokens")
