"""Parts of a corpus for several machines: disjoint, complete, and the same on every machine."""

from __future__ import annotations

import hashlib

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError


@checked()
def in_shard(dialogue_id: str, shard: tuple[int, int] | None) -> bool:
    """Whether a dialogue belongs to a shard.

    :param shard: (i, n), i from 1 to n; None takes all.
    """
    if shard is None:
        return True
    digest = hashlib.sha256(dialogue_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % shard[1] == shard[0] - 1


@checked()
def parse_shard(text: str) -> tuple[int, int]:
    """``i/n`` as (i, n).

    :raises ConfigError: for another form, or i outside 1 to n.
    """
    first, _, second = text.partition("/")
    try:
        number, count = int(first), int(second)
    except ValueError:
        number, count = 0, 0
    return checked_shard((number, count), text)


def checked_shard(shard: tuple[int, int], shown: str = "") -> tuple[int, int]:
    """The shard itself.

    :raises ConfigError: for i outside 1 to n.
    """
    number, count = shard
    if not 1 <= number <= count:
        raise ConfigError(f"a shard is i/n with i from 1 to n, such as 1/4, not {shown or shard!r}", field="shard")
    return shard
