"""Journals whose lines are whole and whose records are not: one clear error, or a sound tree."""

import json
import zlib

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog._search import SearchConfig
from mctsdialog.errors import JournalError

CONFIG = SearchConfig(max_iterations=6, min_iterations=6)


def line(text):
    body = text.encode("utf-8", "surrogatepass")
    return b'{"crc":"%08x","record":%s}\n' % (zlib.crc32(body), body)


def records(path):
    return [json.loads(each)["record"] for each in path.read_bytes().splitlines()]


def run(start, roles, domain, path, config):
    async def main():
        return await mctsdialog.search(start, roles, config, domain=domain, journal=path)

    return anyio.run(main)


@pytest.fixture(scope="module")
def written(tmp_path_factory, domain_maker, gold, hash_roles):
    """Header and records of a search from gold turns, and of one in free parallel that gave leaves children early."""
    folder, domain = tmp_path_factory.mktemp("journals"), domain_maker()
    roles = hash_roles(domain.strategies.names, 1).roles(domain)
    kinds = {
        "gold": (gold, CONFIG),
        "scenario": (gold.scenario, CONFIG),
        "many": (gold, CONFIG.replace(parallelism=4)),
        "ordered": (gold, CONFIG.replace(parallelism=4, deterministic=True)),
        "beam": (gold, CONFIG.replace(algorithm="beam", parallelism=4)),
        "calibrated": (gold.scenario, CONFIG.replace(algorithm="calibrated", parallelism=4, deterministic=True)),
        "halving": (gold, CONFIG.replace(algorithm="halving")),
    }
    for name, (start, config) in kinds.items():
        run(start, roles, domain, folder / f"{name}.jsonl", config)
    return {name: (*kinds[name], records(folder / f"{name}.jsonl")) for name in kinds}, domain, roles


@settings(max_examples=150)
@given(data=st.data())
def test_a_spoilt_record_with_a_right_checksum_is_one_error_or_a_sound_tree(written, spoilt, tmp_path_factory, data):
    journals, domain, roles = written
    start, config, lines = journals[data.draw(st.sampled_from(sorted(journals)))]
    place = data.draw(st.integers(0, len(lines) - 1))
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    path.write_bytes(
        b"".join(line(spoilt(data, each) if at == place else json.dumps(each)) for at, each in enumerate(lines))
    )
    tree = error = None
    try:
        tree = run(start, roles, domain, path, config)
    except JournalError as raised:
        error = str(raised)
    assert tree is not None or (error.startswith(str(path)) and len(error) < 2500)
    if tree is not None:
        tree.check()
        mctsdialog.load_tree(mctsdialog.save_tree(tree, path.with_suffix(".json")))


@pytest.mark.parametrize("value", [True, " ", 3, [1], ["seeker"]])
def test_a_header_with_roles_of_another_type_is_one_error(written, tmp_path, value):
    journals, domain, roles = written
    start, config, lines = journals["scenario"]
    path = tmp_path / "j.jsonl"
    path.write_bytes(
        b"".join(line(json.dumps({**each, "roles": value} if "roles" in each else each)) for each in lines)
    )
    with pytest.raises(JournalError, match=r"line 1: roles: its header says its roles in another form"):
        run(start, roles, domain, path, config)


@pytest.mark.parametrize(
    "change",
    [
        {"judgements": [["4", 4, 4, 4]]},
        {"judgements": [[4, 4, 4]]},
        {"judgements": [[9, 4, 4, 4]]},
        {"judgements": None},
        {"scores": {"Ask": "5"}},
        {"scores": {"Dance": 5}},
        {"scores": {}},
        {"child": ["a"]},
        {"child": "ab"},
        {"child": [None, None]},
        {"child": [" ", None]},
        {"steps": ["abc"]},
        {"steps": [["Dance", "a", "b"]]},
        {"leaf": "1"},
        {"leaf": 1.0},
        {"leaf": True},
        {"leaf": -1},
    ],
)
def test_a_wrong_value_is_named(written, tmp_path, change):
    journals, domain, roles = written
    start, config, lines = journals["gold"]
    place = next(at for at, each in enumerate(lines) if each.get("scores") and each["type"] == "trial")
    path = tmp_path / "j.jsonl"
    spoilt = [{**each, **change} if at == place else each for at, each in enumerate(lines)]
    path.write_bytes(b"".join(line(json.dumps(each)) for each in spoilt))
    with pytest.raises(JournalError, match=r"j\.jsonl: a trial on it does not fit the tree: .*; move the file away"):
        run(start, roles, domain, path, config)


def test_a_pipe_is_no_journal(tmp_path, domain, gold, hash_roles, make_pipe):
    with pytest.raises(JournalError, match="is a pipe"):
        run(gold, hash_roles(domain.strategies.names).roles(domain), domain, make_pipe(tmp_path / "pipe"), CONFIG)
