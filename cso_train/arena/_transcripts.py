"""What was said in an arena, as dialogues that can be read again, and as pages to look at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cso_train.arena._run import ArenaRun
from cso_train.evaluation.protocols import Episode
from mctsdialog import Tree
from mctsdialog._arguments import checked
from mctsdialog.dialogue import Dialogue, Domain, Scenario, Strategy, StrategySet, Turn, write_dialogues
from mctsdialog.export import save_html
from mctsdialog.files import file_stem, inside, write_atomically
from mctsdialog.preferences import spoken

_MOST_NAME = 400  # characters of a strategy's name; a system's may be longer


@checked()
def write_transcripts(run: ArenaRun, domain: Domain, folder: str | Path) -> list[Path]:
    """Write what was said: dialogues by system, the seekers' inner states, and a page a card.

    ``read_dialogues(file, unlabelled=True)`` reads the dialogues. A page shows the conversations of all
    systems with one seeker as branches of a tree, in the viewer of trees.

    :param domain: of the conversations.
    :raises OSError: if a file cannot be written.
    """
    written = []
    for system in run.systems:
        said = [_numbered(each) for each in run.episodes if each.system == system and each.dialogue.turns]
        if said:
            path = inside(folder, f"{file_stem(system)}.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_dialogues(path, said, domain=domain, unlabelled=True)
            written.append(path)
    written.append(write_atomically(inside(folder, "states.jsonl"), "".join(map(_state_line, run.episodes))))
    groups: dict[tuple[str, int, str], list[Episode]] = {}
    for each in run.episodes:
        if len(each.dialogue.turns) > 1:
            groups.setdefault((each.card, each.repeat, each.dialogue.turns[0].text), []).append(each)
    pages: dict[tuple[str, int], int] = {}
    for (card, repeat, _), group in groups.items():
        again = pages[card, repeat] = pages.get((card, repeat), 0) + 1
        name = f"{file_stem(f'{card}-{repeat + 1}' + (f'-{again}' if again > 1 else ''))}.html"
        tree = conversation_tree(group, domain)
        written.append(save_html(tree, inside(folder, name), title=f"{card}, conversation {repeat + 1}"))
    return written


def _numbered(episode: Episode) -> Dialogue:
    """A conversation whose id tells it from others with the same card."""
    dialogue = episode.dialogue
    return Dialogue(**{**dict(dialogue), "id": f"{episode.card}/{episode.repeat + 1}", "source": episode.system})


def _state_line(episode: Episode) -> str:
    states = [{"emotion": each.emotion, "need_met": each.need_met, "thought": each.thought} for each in episode.states]
    about = {"system": episode.system, "card": episode.card, "repeat": episode.repeat}
    row = {**about, "ended": episode.ended, "failure": episode.failure, "states": states}
    return json.dumps(row, ensure_ascii=False) + "\n"


@checked("episodes")
def conversation_tree(episodes: Sequence[Episode], domain: Domain) -> Tree:
    """Conversations that begin with the same words, as branches of a tree whose strategies are the systems.

    A supporter turn begins with the strategy that the system named, in brackets.

    :param episodes: of different systems, all with the same first turn.
    :param domain: of the conversations.
    """
    names = {each.system: each.system[:_MOST_NAME].strip() for each in episodes}
    systems = StrategySet(strategies=tuple(Strategy(name=name) for name in names.values()))
    shown = Domain(**{**dict(domain), "strategies": systems, "templates": {}})
    first = episodes[0].dialogue
    scenario = Scenario(**{**first.scenario.model_dump(), "id": episodes[0].card})
    tree = Tree(scenario, shown, first.turns[:1])
    even = dict.fromkeys(systems.names, 1 / len(systems))
    tree.expand(tree.root, {}, even)
    for episode in episodes:
        node, name = tree.root.id, names[episode.system]
        turns = episode.dialogue.turns[1:]
        for reply, answer in zip(turns[::2], [*turns[1::2], None], strict=False):
            if node != tree.root.id:
                tree.expand(node, {}, even)
            node = next(child.id for child in tree.children(node) if child.strategy == name)
            tree.speak(node, spoken(reply.strategy, reply.text), _words(answer))
    return tree


def _words(turn: Turn | None) -> str | None:
    return None if turn is None else turn.text
