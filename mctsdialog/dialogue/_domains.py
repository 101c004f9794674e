"""The built-in domains, and reading one's own.

A domain is a JSON file with the fields of :class:`~mctsdialog.dialogue.Domain`; the built-in ones, in this package's
``data`` folder, are files of the same kind and can be copied and changed.
"""

from __future__ import annotations

import difflib
import os
from importlib import resources
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mctsdialog._arguments import checked
from mctsdialog.dialogue._model import Domain
from mctsdialog.errors import DomainError, shortened
from mctsdialog.files import dotted, faults, parse_json, read_input
from mctsdialog.text import shell_word

_SHOWN_ERRORS = 3


def _built_in(name: str) -> Domain:
    file = resources.files("mctsdialog.dialogue") / "data" / f"domain_{name}.json"
    return Domain.model_validate_json(file.read_text(encoding="utf-8"))


ESC: Final = _built_in("esc")
"""Emotional support with the paper's eight strategies (appendix D) and rubric (Table 12; weights of eq. 2).

Its aliases map the labels of ExTES to the eight (Table 8); "Others" is not among them and has no place here.
"""

ESCONV: Final = _built_in("esconv")
"""Emotional support with the eight strategies of ESConv (Liu et al., ACL 2021) and the rubric of :data:`ESC`."""

PERSUASION: Final = _built_in("persuasion")
"""Asking for a donation, with the ten persuasion strategies of PersuasionForGood (Wang et al., ACL 2019).

The acts of that data set that are not strategies (greeting, thanking, proposing the donation, ...) have no place here.
"""

MI: Final = _built_in("mi")
"""Motivational interviewing, with the four kinds of therapist behaviour of AnnoMI (Wu et al., ICASSP 2022)."""

BARGAINING: Final = _built_in("bargaining")
"""A buyer's bargaining over a price, with the eleven acts that PPDPP (Deng et al., ICLR 2024) takes on
CraigslistBargain (He et al., EMNLP 2018). The labels of the data set itself are aliases."""

ESCONV_ZH: Final = _built_in("esconv-zh")
"""Emotional support in Chinese: the eight strategies of ESConv by their Chinese names, with rubric and prompts in
Chinese. Other translations of the names, and the English ones, are aliases."""

_DOMAINS: Final = {domain.name: domain for domain in (ESC, ESCONV, PERSUASION, MI, BARGAINING, ESCONV_ZH)}


def domains() -> tuple[str, ...]:
    """Names of the built-in domains."""
    return tuple(_DOMAINS)


def get_domain(name: str) -> Domain:
    """The built-in domain called ``name``; letter case does not count.

    :raises DomainError: when there is none; the message names the nearest.
    """
    key = name.strip().casefold() if isinstance(name, str) else ""
    if key in _DOMAINS:
        return _DOMAINS[key]
    if key.endswith(".json"):
        raise DomainError(f"there is no built-in domain {name!r}; read your own file with load_domain({name!r})")
    near = difflib.get_close_matches(key, _DOMAINS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? There" if near else "there"
    raise DomainError(f"there is no built-in domain {name!r}; {hint} are {', '.join(_DOMAINS)}")


@checked()
def load_domain(path: str | os.PathLike[str]) -> Domain:
    """The domain in a JSON file of one's own.

    :param path: a UTF-8 file that holds one object with the fields of :class:`~mctsdialog.dialogue.Domain`.
    :raises DomainError: when the file cannot be read or is wrong; ``field`` is the path of the first wrong field
        ("rubric[1].levels"), and the message tells of the first few.
    """
    file = Path(path)
    try:
        domain = Domain.model_validate(parse_json(read_input(file)))
    except OSError as error:
        raise DomainError(f"cannot be read: {error.strerror or error}", file=file) from error
    except ValidationError as error:
        raise _as_domain_error(error, file) from error
    except ValueError as error:
        raise DomainError(f"not JSON: {error}", file=file) from error
    if fault := domain._fault_when_made():
        raise DomainError(fault, file=file, field="supporter.name")
    return domain


@checked()
def named_domain(name: str) -> Domain:
    """The domain that a command line names: a JSON file (it ends in ``.json`` or has a slash), or a built-in one.

    :raises DomainError: if there is none.
    """
    return load_domain(name) if name.endswith(".json") or "/" in name else get_domain(name)


def domain_option(domain: Domain, given: str | None = None) -> str:
    """The option that names a domain in a command that is shown.

    :param given: the name or file that the caller named it by. Without, a domain that is not built in has a
        placeholder for its file.
    """
    if given is None:
        given = domain.name if _DOMAINS.get(domain.name) == domain else "DOMAIN.json"
    return f"--domain {shell_word(given)}"


def _as_domain_error(error: ValidationError, file: Path) -> DomainError:
    problems = [(dotted(place), message) for place, message in faults(error)]
    field, message = problems[0]
    more = [
        f"{shortened(where, 200) or 'the whole'}: {shortened(what, 200)}" for where, what in problems[1:_SHOWN_ERRORS]
    ]
    if len(problems) > _SHOWN_ERRORS:
        more.append(f"and {len(problems) - _SHOWN_ERRORS} more")
    return DomainError("; ".join([shortened(message, 400), *more]), file=file, field=field or None)
