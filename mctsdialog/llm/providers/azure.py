"""Models deployed in Azure: each resource has an address of its own, which the environment names."""

import os
import re

import httpx

from mctsdialog.errors import ConfigError
from mctsdialog.llm.providers._provider import Provider

_HOST = re.compile(r"\.(?:openai|services\.ai|cognitiveservices)\.azure\.(?:com|us|cn)$")
_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
_VERSIONS = ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION")


class _Azure(Provider):
    def address_of(self, model: str) -> str:
        endpoint = os.environ.get(_ENDPOINT, "").strip().rstrip("/")
        if not endpoint:
            example = "https://NAME.openai.azure.com"
            raise ConfigError(f"{self.name}/{model}: set {_ENDPOINT} to your resource's address, {example}")
        version = next((os.environ[name] for name in _VERSIONS if os.environ.get(name)), None)
        if version is None or re.search(r"/openai/v1$", endpoint):
            return endpoint if endpoint.endswith("/v1") else f"{endpoint}/openai/v1"
        return f"{endpoint}/openai/deployments/{model}?api-version={version}"

    def is_at(self, url: httpx.URL) -> bool:
        return _HOST.search(url.host) is not None


PROVIDER = _Azure("azure", "", "AZURE_OPENAI_API_KEY", tokens="max_completion_tokens", key_header="api-key")
