"""What goes to one server as a secret: a key, or a user and password, and headers. It comes out again nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from pydantic import SecretStr

from mctsdialog.errors import ConfigError
from mctsdialog.llm._address import OPENAI_URL, origin, secret_name, shown_address, warn_of_plain_http
from mctsdialog.llm._http import basic_auth
from mctsdialog.llm._secret import Redactor, checked_key

_KEY_VARIABLE = "OPENAI_API_KEY"
_LEAST_HEADER = 8  # characters; a shorter value ("1", "beta") is a setting, and taking it out would tear messages apart


class Credentials:
    """The secrets of one client.

    :param url: of the server.
    :param login: user and password, where they stood in the address.
    :param api_key: the key; None takes it from ``variable``.
    :param variable: an environment variable; None takes OPENAI_API_KEY for OpenAI's own address, and no key for others.
    :param headers: by name.
    :param key_header: the header that carries the key; None for ``Authorization: Bearer``.
    :ivar variable: the environment variable that the key is taken from, if it is from one.
    :raises ConfigError: for a key or header that cannot be sent.
    """

    def __init__(
        self,
        url: httpx.URL,
        login: tuple[SecretStr, ...],
        api_key: str | SecretStr | None,
        variable: str | None,
        headers: Mapping[str, str] | None,
        key_header: str | None,
    ) -> None:
        if api_key is None and variable is None and origin(url) == origin(OPENAI_URL):
            variable = _KEY_VARIABLE
        self._address = shown_address(url)
        self._login = login
        self.variable = variable if api_key is None else None
        self._key = None if login else checked_key(api_key, variable)
        self._key_header = key_header
        self._headers = _checked(headers)
        if self.are_sent or any(map(secret_name, self._headers)):
            warn_of_plain_http(url, stacklevel=5)  # past the check of its arguments

    @property
    def are_sent(self) -> bool:
        """Whether a key, or a user and password, goes with each call."""
        return bool(self._key or self._login)

    def headers(self) -> dict[str, str]:
        """The headers that carry them."""
        headers = {name: value.get_secret_value() for name, value in self._headers.items()}
        if self._login:
            headers["Authorization"] = self._basic_auth()
        elif self._key is not None and self._key_header is not None:
            headers[self._key_header] = self._key.get_secret_value()
        elif self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        return headers

    def _basic_auth(self) -> str:
        return basic_auth(*(part.get_secret_value() for part in self._login))

    def redactor(self) -> Redactor:
        """Takes out of texts all that goes to the server and may come back."""
        secrets = [value for name, value in self._headers.items() if secret_name(name)]
        names = [
            value for name, value in self._headers.items() if not secret_name(name) and len(value) >= _LEAST_HEADER
        ]
        if self._key is not None:
            secrets.append(self._key)
        if self._login:
            user, password = self._login
            secrets += [password, SecretStr(self._basic_auth().removeprefix("Basic "))]
            names.append(user)
        return Redactor(secrets, names)

    def hint(self) -> str:
        """What to check where the server refuses the key, or wants one."""
        if self._login:
            return "check the user and password in base_url"
        if self._key is not None:
            place = "api_key=" if self.variable is None else f"the environment variable {self.variable}"
            return f"check the key: {place}"
        if self.variable is not None:
            return f"no key was sent: set the environment variable {self.variable}"
        return f"no key was sent: give api_key=, or for the commands --api-key-env {self._address}=VARIABLE"


def _checked(headers: Mapping[str, str] | None) -> dict[str, SecretStr]:
    checked = dict(headers or {})
    for name, value in checked.items():
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigError(f"header {name!r} holds a character that no header may have", field="headers")
    return {name: SecretStr(value) for name, value in checked.items()}
