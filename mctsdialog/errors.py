r"""Every error that mctsdialog raises on purpose.

The tree::

    MctsDialogError
    ├── ConfigError                 a setting is out of range, unknown, or two settings contradict each other
    ├── DataError                   a file or value given to us is wrong (carries file, item, field)
    │   ├── DialogueError           a dialogue or a dialogue file
    │   ├── DomainError             a domain: strategies, rubric, weights, templates
    │   ├── TreeFormatError         a tree file
    │   ├── CacheError              a response cache that is damaged, or a file that is no cache
    │   └── JournalError            a journal file
    │       └── JournalMismatchError    a sound journal of another config, domain, dialogue or set of roles
    ├── TreeError                   an invariant of the conversation tree does not hold (carries node_id)
    ├── TrialError                  a trial was committed in a way that does not fit the search
    ├── ModelError                  a model call failed (carries model, status)
    │   ├── ModelRequestError       the server refused the request for good (400, 404, 422, ...)
    │   │   └── ModelAccountError       ... and every other request too: wrong key, no credit, unknown model
    │   ├── ModelRefusedError       the provider or the model refuses this content (carries reason)
    │   ├── ModelUnavailableError   transient: 429, 5xx, connection faults, time-outs (carries retry_after)
    │   ├── ModelResponseError      transient: the server answered, but not with a completion
    │   ├── ModelNotFoundError      no local model file, or its runtime, was found
    │   └── CacheMissError          replay mode met a request that the cache does not hold
    ├── BudgetExceededError         a budget of calls, tokens, money or time is spent (carries kind, limit, used)
    ├── ScriptExhaustedError        a ScriptedModel was asked more often than it has replies (carries calls)
    ├── TooManyFailuresError        a corpus was given up: too many dialogues failed (carries failed, limit, last)
    └── ReplyError                  a role's replies stayed unusable (carries role, attempts, last_reply)

Errors carry data as attributes, so that programs need not parse messages. No error carries a secret. Messages may hold
text of files and servers: ``str(error)`` shows characters that a terminal acts on as escapes (``\x1b``), while
``error.args`` and the attributes have the text as it is.
"""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any, Literal

from mctsdialog.text import visible

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80
_MOST = 1000  # characters of a message; a file of megabytes may be one wrong name


def shortened(text: str, most: int = _MOST) -> str:
    """``text``, cut where it is longer than a message may be."""
    return text if len(text) <= most else text[: most - 1] + "…"


def shown(value: object) -> str:
    """``value`` as a message shows it: its repr, cut, however long or deep the value is."""
    return _REPR.repr(value)


class InsecureKeyWarning(UserWarning):
    """A key, password or secret header goes over plain HTTP to another machine."""


class MctsDialogError(Exception):
    """Root of every error raised on purpose by this package."""

    def __str__(self) -> str:
        return visible(super().__str__())

    def __reduce__(self) -> tuple[object, ...]:
        # errors cross the border of a process; their own constructors want more than the message
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[MctsDialogError], args: tuple[object, ...], values: dict[str, object]) -> MctsDialogError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(values)
    return error


class ConfigError(MctsDialogError, ValueError):
    """A setting is out of range, unknown, or contradicts another one.

    :param field: name of the setting, where one is to blame.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(shortened(message))
        self.field = field


class DataError(MctsDialogError, ValueError):
    """A file or value given to the package is wrong.

    The message begins with the place: ``file: item: field: what is wrong``.

    :param file: the file, if there is one.
    :param item: index of the item in the file, from 0, or a name for it ("line 3").
    :param field: path of the field inside the item ("content[2].AI Strategy").
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        item: int | str | None = None,
        field: str | None = None,
    ) -> None:
        where = [str(file)] if file is not None else []
        if item is not None:
            where.append(f"item {item}" if isinstance(item, int) else shortened(item, 200))
        if field is not None:
            where.append(shortened(field, 200))
        self.reason = shortened(message)
        super().__init__(": ".join([*where, self.reason]))
        self.file = None if file is None else str(file)
        self.item = item
        self.field = field


class DialogueError(DataError):
    """A dialogue, or a file of dialogues, is malformed."""


class DomainError(DataError):
    """A domain is malformed: its strategies, rubric, weights or templates."""


class TreeFormatError(DataError):
    """A tree file is malformed, hostile, or of an unknown schema version."""


class CacheError(DataError):
    """A response cache is damaged, or its folder holds something else. The message says what to remove."""


class JournalError(DataError):
    """A journal cannot be read or written."""


class JournalMismatchError(JournalError):
    """A sound journal belongs to another config, domain, dialogue or set of roles.

    :param differences: ``{field: (in the journal, asked for)}``.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        differences: dict[str, tuple[object, object]] | None = None,
    ) -> None:
        super().__init__(message, file=file)
        self.differences = dict(differences or {})


class TreeError(MctsDialogError):
    """An invariant of the conversation tree does not hold.

    :param node_id: the node where it fails.
    """

    def __init__(self, message: str, *, node_id: int | None = None) -> None:
        super().__init__(message if node_id is None else f"node {node_id}: {message}")
        self.node_id = node_id


class TrialError(MctsDialogError):
    """A trial was committed in a way that does not fit the search it came from."""


class ModelError(MctsDialogError):
    """A model call failed.

    :param model: name of the model.
    :param status: HTTP status, where there was one.
    :param usage: tokens that were billed all the same (:class:`~mctsdialog.llm.Usage`), if the server reported them.
    """

    def __init__(self, message: str, *, model: str | None = None, status: int | None = None, usage: Any = None) -> None:
        super().__init__(message)
        self.model = model
        self.status = status
        self.usage = usage


class ModelRequestError(ModelError):
    """The server refused the request for good (400, 404, 422); trying again will not help."""


class ModelAccountError(ModelRequestError):
    """The server would refuse every request: a wrong key, no credit, an unknown model, an address of another kind.

    It ends a whole run at once, with everything kept.
    """


class ModelRefusedError(ModelError):
    """The provider's filter, or the model itself, refuses this content; asking the same again will not help.

    A search closes the branch and continues with the others.

    :param reason: "content_filter" (the provider's) or "refusal" (the model's own).
    :ivar role: the role that was asked, where a search or another player of roles asked it.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["content_filter", "refusal"],
        model: str | None = None,
        status: int | None = None,
        usage: Any = None,
    ) -> None:
        super().__init__(message, model=model, status=status, usage=usage)
        self.reason = reason
        self.role: str | None = None

    @property
    def closure(self) -> str:
        """Why a branch is closed: role and reason, such as "supporter: refusal"."""
        return self.reason if self.role is None else f"{self.role}: {self.reason}"


class ModelUnavailableError(ModelError):
    """The server could not answer now: 429, 5xx, a connection fault or a time-out. Worth trying again.

    :param retry_after: seconds that the server asked to wait, where it did.
    :param lasting: whether the fault probably lasts, such as an address where nobody listens: it ends a whole run.
    """

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        lasting: bool = False,
        usage: Any = None,
    ) -> None:
        super().__init__(message, model=model, status=status, usage=usage)
        self.retry_after = retry_after
        self.lasting = lasting


class ModelResponseError(ModelError):
    """The server answered, but not with a completion (half a body, HTML, no choices). Worth trying again.

    :param lasting: whether the fault probably lasts, such as a web page in place of a model: it ends a whole run.
    """

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        status: int | None = None,
        lasting: bool = False,
        usage: Any = None,
    ) -> None:
        super().__init__(message, model=model, status=status, usage=usage)
        self.lasting = lasting


class ModelNotFoundError(ModelError):
    """No local model file, or no runtime for it, was found."""


class CacheMissError(ModelError):
    """Replay mode met a request that the cache does not hold.

    :param key: the cache key that was looked up (hexadecimal SHA-256).
    """

    def __init__(self, message: str, *, model: str | None = None, key: str | None = None) -> None:
        super().__init__(message, model=model)
        self.key = key


class BudgetExceededError(MctsDialogError):
    """A budget is spent. A search takes this as a clean stop, with everything kept.

    :param kind: "calls", "tokens", "money" or "seconds".
    :param limit: what was allowed.
    :param used: what was used when the call was refused.
    """

    def __init__(self, kind: str, *, limit: float, used: float) -> None:
        super().__init__(f"the budget of {limit:g} {kind} is spent ({used:g} used)")
        self.kind = kind
        self.limit = limit
        self.used = used


class TooManyFailuresError(MctsDialogError):
    """More dialogues of a corpus failed than its run allows. What was done is kept.

    :param failed: how many.
    :param limit: how many were allowed.
    :param last: what the last one failed with.
    """

    def __init__(self, failed: int, *, limit: int, last: str) -> None:
        super().__init__(f"{failed} dialogues failed, more than the {limit} allowed; the last: {last}")
        self.failed = failed
        self.limit = limit
        self.last = last


class ScriptExhaustedError(MctsDialogError, AssertionError):
    """A :class:`ScriptedModel` was called more often than it has replies.

    :param calls: how many calls were made, this one included.
    """

    def __init__(self, name: str, *, calls: int, replies: int) -> None:
        super().__init__(f"{name}: call {calls} of a script with {replies} replies")
        self.calls = calls


class ReplyError(MctsDialogError):
    """A role's replies stayed unusable after every attempt. It never becomes a score.

    :param role: "seeker", "supporter", "strategist" or "judge".
    :param attempts: how many replies were asked for.
    :param last_reply: the last one, as it came (None where a role returned no text).
    """

    def __init__(self, message: str, *, role: str, attempts: int = 1, last_reply: str | None = None) -> None:
        shown = "" if last_reply is None else f"; last reply: {last_reply[:200]!r}"
        super().__init__(f"{role}: {shortened(message)} (after {attempts} attempt{'s' * (attempts != 1)}){shown}")
        self.role = role
        self.attempts = attempts
        self.last_reply = last_reply


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in the group; the others' messages go with it as notes."""
    errors: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending[:0] = error.exceptions
        else:
            errors.append(error)
    for other in errors[1:]:
        errors[0].add_note(f"meanwhile: {type(other).__name__}: {other}")
    return errors[0]
