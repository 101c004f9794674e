"""Files that appear whole or not at all, and names that no two ids share."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.files import (
    atomic_file,
    digested_stem,
    earlier_stem,
    file_stem,
    folded,
    mark_of,
    seal,
    sealed,
    sweep,
    write_atomically,
)

DEVICES = [
    "con",
    "prn",
    "aux",
    "nul",
    "clock$",
    "conin$",
    *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"),
]

any_text = st.text(st.characters(), max_size=130)
near_names = st.text("abAB019-._/\\ ˚K", max_size=6)
named = st.one_of(any_text, near_names, st.sampled_from(DEVICES))


@st.composite
def alike(draw):
    """Two ids that a careless rule would give one file."""
    one = draw(named)
    ways = [
        str.upper,
        str.casefold,
        file_stem,
        digested_stem,
        earlier_stem,
        folded,
        lambda name: unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"])), name),
        lambda name: name + draw(st.sampled_from([" ", ".", "_", "\0", ".json", "-"])),
        lambda name: name.replace("/", "_"),
        lambda name: draw(named),
    ]
    return one, draw(st.sampled_from(ways))(one)


@given(alike())
def test_two_ids_never_share_a_file_on_any_file_system(pair):
    one, other = pair
    if one != other:
        assert folded(file_stem(one)) != folded(file_stem(other))
        assert folded(digested_stem(one)) not in (folded(file_stem(other)), folded(digested_stem(other)))


@given(named)
def test_a_file_name_is_good_on_every_system(name):
    for stem in (file_stem(name), digested_stem(name)):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*[A-Za-z0-9_-]|[A-Za-z0-9_]", stem)
        assert len(stem) <= 100
        assert stem.split(".")[0].casefold() not in DEVICES


@pytest.mark.parametrize("name", ["sample-00", "d12", "0", "a_b.c-d", "a_b-c14cddc0", "x" * 100, "_", "comic", "null"])
def test_a_plain_id_is_its_own_name(name):
    assert file_stem(name) == name


ODD = ["", "a/b", "../../etc/passwd", ".hidden", "-rf", "--out", "A", "é", "e\u0301", "con", "com1", "nul.json", "COM¹"]
ODD += ["a.", "a ", "a\n", "x" * 101, "a\\b", "c:d", "\ud800", "x-" + "a" * 26, file_stem("a/b")]


@pytest.mark.parametrize("name", ODD)
def test_any_other_id_has_128_bits_of_its_digest_in_its_name(name):
    assert re.search(r"-[a-z2-7]{26}$", file_stem(name))


def test_names_of_an_id_of_a_hostile_file_do_not_meet():
    names = ["a/b", "a_b-c14cddc0", file_stem("a/b"), file_stem(file_stem("a/b")), "\ud800", "\ud801", "�", "?"]
    assert len({folded(file_stem(name)) for name in names}) == len(names)


# -- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_the_system_gives_and_the_mask_is_not_touched(tmp_path, mask, monkeypatch):
    before = os.umask(mask)
    try:
        monkeypatch.setattr(os, "umask", lambda value: pytest.fail("the mask is the whole process's"))
        write_atomically(tmp_path / "f", "x")
        monkeypatch.undo()
        assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o666 & ~mask
    finally:
        os.umask(before)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "f").symlink_to(victim)
    write_atomically(tmp_path / "f", "new")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "f").is_symlink()
    assert (tmp_path / "f").read_text() == "new"


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "x" * 200 + ".json"])
def test_the_longest_name_of_a_file_can_be_written(tmp_path, name):
    assert write_atomically(tmp_path / name, "x").read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    write_atomically(tmp_path / "f", "old")

    def fail():
        with atomic_file(tmp_path / "f") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "f").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


KILLED = """
import os, signal, sys
from mctsdialog.files import atomic_file
with atomic_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_left_is_swept_and_what_is_being_written_stays(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "x.json")], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    others = [".x.json.swp", ".x.json.tmp", ".notes.txt.0123456789abcdef.tmp", ".x.json.0123456789abcdeF.tmp", "x.tmp"]
    for name in others:
        (tmp_path / name).write_text("not ours")
    (tmp_path / ".v.json.ab_01xyz.tmp").write_text("of version 0.1")
    (tmp_path / ".l.json.0123456789abcdef.tmp").symlink_to(tmp_path / "x.tmp")
    (tmp_path / ".d.json.0123456789abcdef.tmp").mkdir()
    with atomic_file(tmp_path / "y.json") as file:
        file.write(b"whole")
        assert sweep(tmp_path, ".json") == 2
    assert not left.exists()
    assert (tmp_path / "y.json").read_bytes() == b"whole"
    rest = {*others, ".l.json.0123456789abcdef.tmp", ".d.json.0123456789abcdef.tmp", "y.json"}
    assert {path.name for path in tmp_path.iterdir()} == rest


def test_files_are_written_while_their_folder_is_swept(tmp_path):
    stop, failed = threading.Event(), []

    def sweeping():
        while not stop.is_set():
            sweep(tmp_path, ".json")

    def writing(number):
        try:
            for turn in range(100):
                write_atomically(tmp_path / f"{number}.json", f"{turn}")
        except OSError as error:
            failed.append(error)

    sweeper = threading.Thread(target=sweeping)
    writers = [threading.Thread(target=writing, args=(number,)) for number in range(4)]
    for thread in (sweeper, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    stop.set()
    sweeper.join(60)
    assert failed == []
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["99"] * 4


# -- damage --------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=9), min_size=1), st.text(max_size=5), st.data())
def test_a_checksum_finds_every_changed_letter(values, about, data):
    text = seal(json.dumps(values, ensure_ascii=False), about)
    assert json.loads(text) == {**values, "crc": text[-10:-2]}
    assert sealed(text, about) is True
    assert sealed(text, about + "x") is False
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda letter: letter != text[place]))
    assert sealed(text[:place] + other + text[place + 1 :], about) is not True


def test_a_mark_is_size_and_digest(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert mark_of(tmp_path / "f") == (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert mark_of(tmp_path / "none") is None
    assert mark_of(tmp_path) is None
