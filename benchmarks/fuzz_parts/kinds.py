"""What is fuzzed: for every kind of file how a case is written, read and used, in process and by a command."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    :ivar name: of the kind.
    :ivar write: ``(draw, seeds)`` writes a case's files into the working folder and returns how they are to be read.
    :ivar read: ``(seeds, how)`` reads and uses them by the packages' functions.
    :ivar words: ``(draw, seeds, how)`` gives a command's words that read them.
    :ivar needs: a module that only this kind needs and that is heavy; imported before the kind's turn.
    """

    name: str
    write: Callable
    read: Callable
    words: Callable | None = None
    needs: str | None = None


def command(line, *more):
    """A command's name and words: those of a line, and more."""
    tool, *words = line.split()
    return tool, [*words, *more]


def all_kinds():
    """Every kind by name."""
    from fuzz_parts import kinds_arena, kinds_conversation, kinds_data, kinds_run, kinds_training

    modules = (kinds_conversation, kinds_run, kinds_data, kinds_training, kinds_arena)
    return {kind.name: kind for module in modules for kind in module.KINDS}
