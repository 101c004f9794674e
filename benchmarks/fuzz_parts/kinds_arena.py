"""What the arena reads: role cards, its YAML file, and its journal."""

import json
from pathlib import Path

import anyio

from cso_train.arena import PolicyEntrant, WorldSeekers, arena_json, arena_markdown, arena_result, run_arena
from cso_train.arena._config import read_arena
from cso_train.evaluation.protocols import PROTOCOLS, WorldJudge
from fuzz_parts import mutate
from fuzz_parts.guard import BrokenPromiseError
from fuzz_parts.kinds import Kind
from fuzz_parts.kinds_run import _journal
from fuzz_parts.kinds_training import _setting
from mctsdialog.seekers import RoleCard, read_cards, world_card, write_cards
from mctsdialog.worlds import World

WORLD = World(rounds=2)

# -- cards ----------------------------------------------------------------------------------------------------------


def write_role_cards(draw, seeds):
    if draw.random() < 0.4:
        data = mutate.mutate_bytes(draw, seeds["cards.jsonl"], [seeds["settings.yaml"]])
    else:
        data = mutate.mutate_lines(draw, seeds.lines("cards.jsonl"), _card)
    Path("cards.jsonl").write_bytes(data)
    return {}


def _card(draw, line):
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return mutate.mutate_bytes(draw, line)
    return mutate.encoded(mutate.mutate_json(draw, value, tuple(RoleCard.model_fields)))


def read_role_cards(seeds, how):
    cards = read_cards("cards.jsonl")
    if list(read_cards(write_cards(cards, "again.jsonl"))) != list(cards):
        raise BrokenPromiseError("cards change when they are written")


# -- the file of an arena ---------------------------------------------------------------------------------------------


def write_arena_file(draw, seeds):
    if draw.random() < 0.25:
        data = mutate.mutate_bytes(draw, seeds["arena.yaml"], [seeds["settings.yaml"]])
    else:
        data = mutate.mutate_lines(draw, seeds.lines("arena.yaml"), _setting)
    Path("arena.yaml").write_bytes(data)
    return {}


def read_arena_file(seeds, how):
    read_arena("arena.yaml")


# -- the journal of an arena ------------------------------------------------------------------------------------------


async def arena(journal):
    systems = [PolicyEntrant("best", WORLD), PolicyEntrant("random", WORLD, "random")]
    made = [kind(WORLD.domain) for kind in PROTOCOLS.values()]
    cards = [world_card(WORLD, number) for number in range(2)]
    return await run_arena(systems, cards, WorldSeekers(WORLD), made, [WorldJudge(WORLD)], rounds=2, journal=journal)


def write_arena_journal(draw, seeds):
    Path("arena.journal").write_bytes(_journal(draw, seeds["arena.journal"], [seeds["cards.jsonl"]]))
    return {}


def read_arena_journal(seeds, how):
    run = anyio.run(arena, "arena.journal")
    result = arena_result(run, resamples=2)
    arena_markdown(result)
    json.loads(arena_json(result))


KINDS = (
    Kind("cards", write_role_cards, read_role_cards),
    Kind("arena", write_arena_file, read_arena_file),
    Kind("arena-journal", write_arena_journal, read_arena_journal),
)
