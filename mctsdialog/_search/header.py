"""What the journal of a search says of it: its header, and which headers belong to one search."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mctsdialog._settings import lasting
from mctsdialog.algorithms._config import STOPPING_FIELDS, SearchConfig
from mctsdialog.dialogue import Domain
from mctsdialog.errors import JournalError
from mctsdialog.journal import Differences, Journal, read_header
from mctsdialog.roles import Roles
from mctsdialog.roles._prompts import PROMPT_VERSION


def open_journal(path: str | Path, header: Mapping[str, Any]) -> Journal:
    """The journal of a search or of probes, open for appending.

    :param header: ``{"dialogue": ..., "domain": ..., "config": ..., "roles": ..., "prompts": ...}``, JSON values.
    :raises JournalMismatchError: if the file belongs to another dialogue, domain, config or set of roles. Fields
        that only say when to stop may differ; empty roles are not compared. Fields of config and domain that the file
        lacks count as their defaults.
    :raises JournalError: as :class:`~mctsdialog.journal.Journal`.
    """
    return Journal(path, header, compare=_compare)


def roles_for(journal: str | Path | None, roles: Roles) -> tuple[Roles, dict[str, int]]:
    """The roles with the prompts that a journal was made with, and what its header says of these.

    A header that says nothing was written by version 0.1: its roles go on with the prompts of that version, so that
    nothing is asked twice. Without a journal, the present prompts are used.

    :raises JournalError: for prompts of a later version.
    """
    header = read_header(Path(journal)) if journal is not None else None
    version = PROMPT_VERSION if header is None else header.get("prompts", 1)
    if type(version) is not int or not 1 <= version <= PROMPT_VERSION:
        raise JournalError(
            f"was made with prompts of version {version!r}; update mctsdialog to resume it", file=journal
        )
    return roles.with_prompts(version), {} if version == 1 else {"prompts": version}


def _compare(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Differences:
    differences = dict(_differences(found, wanted))
    return dict(_differences(_filled(found, wanted), wanted)) if differences else {}


def _filled(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A header with the settings that it lacks, for a later version has added them, at their defaults.

    Version 0.1, whose headers say nothing of prompts, did not know roles by their classes.
    """
    header = dict(found)
    if "prompts" not in found and isinstance(roles := found.get("roles"), dict):
        header["roles"] = {name: known for name, known in wanted["roles"].items() if _is_class(known)} | roles
    if isinstance(config := found.get("config"), dict):
        fields = SearchConfig.model_fields
        defaults = {name: fields[name].default for name in wanted.get("config", {}) if name in fields}
        header["config"] = {**defaults, **config}
    with suppress(ValueError):  # else it is compared as it stands
        header["domain"] = lasting(Domain.model_validate_json(json.dumps(found.get("domain"))))
    return header


def _is_class(known: object) -> bool:
    return isinstance(known, dict) and known.keys() == {"class"}


def _differences(found: Any, wanted: Any, path: str = "") -> Iterator[tuple[str, tuple[object, object]]]:
    """Where two headers differ, by dotted path."""
    if path == "prompts" or (path == "roles" and not (found and wanted)):  # the prompts are the journal's: roles_for
        return
    if path.startswith("config.") and path.removeprefix("config.") in STOPPING_FIELDS:
        return
    if path.startswith("roles.") and path.endswith(".identity"):  # a server may move; its model keeps its name
        return
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from _differences(found.get(key), wanted.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for index, pair in enumerate(zip(found, wanted, strict=True)):
            yield from _differences(*pair, f"{path}[{index}]")
    elif found != wanted:
        yield path, (found, wanted)
