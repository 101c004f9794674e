"""An arena's conversations as pages: blind, shuffled, the files and the statistics of other sheets."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from click.testing import CliRunner

from cso_train.cli import main as cso_train
from cso_train.evaluation._sheets import SheetKey, read_pair_sheet, read_rating_sheet
from mctsdialog.errors import DataError
from mctsdialog.files import sheet_rows
from mctsdialog.studio import Sheet, Sources, studio_app

FAKE = "Well.\nSeeker: I feel wonderful.\n\n  Supporter: =1+1"
NAMES = ("secret best", "secret script", "secret worst")
NUMBERS = iter(range(10**9))


def config(*lines, **more):
    systems = {
        "secret best": {"kind": "policy", "policy": "best"},
        "secret script": {"kind": "script", "lines": list(lines or [FAKE]), "strategy": "Question"},
        "secret worst": {"kind": "policy", "policy": "worst"},
    }
    return {"world": {"seed": 7}, "cards": 4, "rounds": 4, "resamples": 5, "systems": {**systems, **more}}


def play(folder, made):
    file = folder / "arena.yaml"
    file.write_text(yaml.safe_dump(made), "utf-8")
    words = ["arena", str(file), "--no-figures", "--out", str(folder / "arena")]
    with ThreadPoolExecutor(1) as thread:  # playwright's own loop may run in this one
        done = thread.submit(CliRunner().invoke, cso_train, words).result()
    assert done.exit_code == 0, done.output
    assert f"mctsdialog studio {folder / 'arena'} shows them" in done.output.replace("\n", "")
    return folder / "arena"


@pytest.fixture
def arena(tmp_path):
    return play(tmp_path, config())


@pytest.fixture
def client(arena, kit):
    return kit.client_of(studio_app(None, Sources.of([arena]).sheets, token=kit.TOKEN))


def items(client, sheet, rater, first=None):
    answer = client.post("/api/judge/items", json={"sheet": sheet, "rater": rater, "first": first})
    assert answer.status_code == 200, answer.text
    return answer.json()


def fill(client, sheet, rater, choose):
    seen = []
    while got := items(client, sheet, rater)["items"]:
        seen.append(got[0])
        values = {name: choose(got[0], name) for name in got[0]["asked"]}
        body = {"id": f"answer-{next(NUMBERS):09}", "sheet": sheet, "rater": rater, "values": values}
        assert client.post("/api/judge/answer", json={**body, "item": got[0]["item"]}).status_code == 200
    return seen


def is_script(conversation):
    return conversation[1][1].startswith("Well.")


def against_the_script(item, name):
    both = [is_script(each) for each in item["conversations"]]
    return "tie" if both[0] == both[1] or name == "overall" else "B" if both[0] else "A"


def test_the_sheets_of_an_arena_are_found_and_name_no_system(arena, client):
    sheets = Sources.of([arena]).sheets
    assert [(each.kind, each.whole) for each in sheets] == [("pairwise", True), ("rate", True)]
    assert list(sheets[0].criteria) == ["exploration", "insight", "action", "overall"]
    assert list(sheets[1].criteria) == ["acceptance", "effectiveness", "sensitivity"]
    assert [each.about()["items"] for each in sheets] == [3 * 4, 3 * 4]
    shown = json.dumps([client.get("/api/judge/sheets").json(), *(items(client, at, "ana", 0) for at in (0, 1))])
    for text in ("secret", "Question", "policy"):
        assert text not in shown
        assert text.encode() not in sheets[0].folder.joinpath("sheet.csv").read_bytes()
    first, second = items(client, 0, "ana")["items"][0]["conversations"]
    assert first[0] == second[0]  # the same seeker
    assert first != second
    for each in sheets:
        (each.folder / "key.json").unlink()
    assert len(Sources.of([arena]).sheets) == 2  # whoever judges needs no key


def test_a_turn_cannot_pretend_to_be_another_one(client):
    seen = fill(client, 1, "ana", lambda item, name: "3")
    (script, *_) = [item["conversations"][0] for item in seen if is_script(item["conversations"][0])]
    assert [who for who, _ in script] == ["seeker", "supporter"] * 4 + ["seeker"] * (len(script) % 2)
    assert script[1][1] == "Well.\nSeeker: I feel wonderful.\nSupporter: =1+1"


def test_each_rater_has_an_order_and_systems_stand_on_both_sides(client):
    seen = fill(client, 0, "ana", against_the_script)
    others = fill(client, 0, "ben", against_the_script)
    assert [each["item"] for each in seen] != [each["item"] for each in others]
    places = {at for each in seen for at in (0, 1) if is_script(each["conversations"][at])}
    assert places == {0, 1}


def test_the_statistics_of_pairs_are_those_of_the_command_that_the_page_names(client, tmp_path):
    for name in ("ana", "ben"):
        fill(client, 0, name, against_the_script)
    words = client.get("/api/judge/sheets").json()["sheets"][0]["command"].split()
    done = CliRunner().invoke(cso_train, [*words[3:], "--resamples", "9", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "4 pairs" in done.output
    assert "bootstrap intervals over cards" in done.output
    found = json.loads((tmp_path / "out/pairwise.json").read_text("utf-8"))["comparisons"]
    assert {(each["first"], each["second"]) for each in found} == {
        (NAMES[0], NAMES[1]), (NAMES[0], NAMES[2]), (NAMES[1], NAMES[2])
    }  # fmt: skip
    for each in found:
        wins = {NAMES[1]: "win", NAMES[0]: "lose"}.get(each["second"] if each["first"] != NAMES[1] else NAMES[0], "tie")
        assert each["criteria"]["insight"][wins]["value"] == 1.0
        assert each["criteria"]["overall"]["tie"]["value"] == 1.0
        assert each["criteria"]["overall"]["count"] == 8
    assert len((tmp_path / "out/verdicts.jsonl").read_text("utf-8").splitlines()) == 12


def test_the_statistics_of_ratings_are_those_of_the_command_that_the_page_names(client, tmp_path):
    fill(client, 1, "ana", lambda item, name: "1" if is_script(item["conversations"][0]) else "4")
    words = client.get("/api/judge/sheets").json()["sheets"][1]["command"].split()
    done = CliRunner().invoke(cso_train, [*words[3:], "--resamples", "9", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Conversations: secret best 4, secret script 4, secret worst 4." in done.output
    assert "Align" not in done.output
    means = json.loads((tmp_path / "out/ratings.json").read_text("utf-8"))["criteria"]["satisfaction"]["means"]
    assert {name: each["value"] for name, each in means.items()} == dict(zip(NAMES, (4.0, 1.0, 4.0), strict=True))


def test_a_copy_that_a_spreadsheet_saved_is_resumed(arena, kit):
    sheet = Sources.of([arena]).sheets[0]
    header, *rows = sheet_rows((sheet.folder / "sheet.csv").read_bytes())
    table = [header, *([*row[:4], "a", "B", "tie", "TIE"] for row in rows[:-1]), rows[-1]]
    text = "\n".join(";".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in table)
    (sheet.folder / "sheet-ana.csv").write_text(text, "utf-8")
    client = kit.client_of(studio_app(None, [Sheet(sheet.folder)], token=kit.TOKEN))
    assert items(client, 0, "ana")["done"] == 11
    assert len(fill(client, 0, "ana", against_the_script)) == 1
    judged = read_pair_sheet(sheet.folder / "sheet-ana.csv", SheetKey.read(sheet.folder / "key.json", "pairwise"))
    assert None not in judged
    assert all(each.outcomes["action"] == "tie" for each in judged)


def test_another_arena_is_another_sheet_and_what_was_filled_in_keeps_its_key(arena, client, tmp_path):
    fill(client, 0, "ana", against_the_script)
    before = {path: path.read_bytes() for path in sorted((arena / "sheets").rglob("*.*"))}
    play(tmp_path, config())
    assert {path: path.read_bytes() for path in sorted((arena / "sheets").rglob("*.*"))} == before
    play(tmp_path, config(more={"kind": "script", "lines": ["Go on."]}))
    sheets = Sources.of([arena]).sheets
    assert [each.about()["items"] for each in sheets] == [6 * 4, 4 * 4, 3 * 4, 3 * 4]  # the newest first
    assert [each.about()["raters"] for each in sheets] == [[], [], ["ana"], []]
    key = SheetKey.read(sheets[2].folder / "key.json", "pairwise")
    assert None not in read_pair_sheet(sheets[2].folder / "sheet-ana.csv", key)


def test_an_answer_that_waited_finds_its_sheet_when_their_numbers_have_changed(arena, kit):
    sheets = Sources.of([arena]).sheets
    client = kit.client_of(studio_app(None, sheets, token=kit.TOKEN))
    item = items(client, 0, "ana")["items"][0]["item"]
    again = kit.client_of(studio_app(None, sheets[:1], token=kit.TOKEN))
    body = {"id": "answer-that-waited", "sheet": 1, "rater": "ana", "item": item, "values": {"overall": "A"}}
    assert again.post("/api/judge/answer", json=body).status_code == 200
    assert (sheets[0].folder / "sheet-ana.csv").is_file()


def test_an_arena_without_sheets_says_how_to_get_them(arena):
    for path in (arena / "sheets").rglob("*.*"):
        path.unlink()
    with pytest.raises(DataError, match="run its command once more"):
        Sources.of([arena])


@pytest.mark.timeout(240)
def test_keys_a_kill_and_hostile_texts_in_the_browser(studios, visit, tmp_path, kit):
    arena = play(tmp_path, {**config(f"Well.\nSeeker: {kit.HOSTILE}"), "cards": 2})
    studio = studios(arena, "--port", 0)
    page = visit(studio, "/judge", "ana")
    kit.until(page, "document.querySelectorAll('.said').length === 2")
    (sheet, ratings) = Sources.of([arena]).sheets
    key = SheetKey.read(sheet.folder / "key.json", "pairwise")

    def saved():
        kit.until(page, "JSON.parse(localStorage['studio-outbox'] ?? '[]').length === 0")

    def judge(last="t"):
        script = page.evaluate(
            "[...document.querySelectorAll('.said')].map((each) => each.innerText.includes('Well.'))"
        )
        page.keyboard.press("j")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        for _ in range(3):
            page.keyboard.press("t" if script[0] == script[1] else "b" if script[0] else "a")
        shown = page.inner_text("#answers")
        page.keyboard.press(last)
        kit.until(page, "text => document.getElementById('answers').innerText !== text", shown)

    for _ in range(4):
        judge()
    saved()
    studio.kill()
    assert sum(each is not None for each in read_pair_sheet(sheet.folder / "sheet-ana.csv", key)) == 4
    judge("3")
    kit.until(page, "document.body.innerText.includes('wait in this browser')")
    studio.start("--port", studio.port)
    page.goto(studio.address)
    page.goto(studio.root + "/judge")
    kit.until(page, "document.body.innerText.includes('5 of 6 done')")
    judge()
    kit.until(page, "document.body.innerText.includes('All items are filled in')")
    saved()
    judged = read_pair_sheet(sheet.folder / "sheet-ana.csv", key)
    for (first, second), each in zip(key.systems, judged, strict=True):
        wins = "lose" if first == "secret script" else "win" if second == "secret script" else "tie"
        assert each.outcomes == {"exploration": wins, "insight": wins, "action": wins, "overall": "tie"}
    page.keyboard.press("?")
    assert "cso_train pairwise" in page.inner_text("#files")
    page.keyboard.press("Escape")
    page.select_option("#sheet", "1")
    kit.until(page, "document.body.innerText.includes('0 of 6 done')")
    for _ in range(6):
        shown = page.inner_text("#answers")
        for value in "355":
            page.keyboard.press(value)
        changed = "text => document.getElementById('answers').innerText !== text"
        kit.until(page, f"{changed} || !document.getElementById('empty').hidden", shown)
    saved()
    rated = read_rating_sheet(ratings.folder / "sheet-ana.csv", SheetKey.read(ratings.folder / "key.json", "rate"))
    assert rated == [{"acceptance": 3, "effectiveness": 5, "sensitivity": 5}] * 6
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, main script").count() == 0


@pytest.mark.parametrize("width", [390, 1366])
def test_conversations_fit_the_screen(studios, visit, arena, kit, width):
    page = visit(studios(arena, "--port", 0), "/judge", "ana", width=width)
    kit.until(page, "document.querySelectorAll('.said').length === 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width > 700:
        box = page.locator("#do-next").bounding_box()
        assert box["y"] + box["height"] <= 768  # the questions stay in sight
        page.keyboard.press("j")
        assert page.evaluate("[...document.querySelectorAll('.said')].every((each) => each.scrollTop > 0)")
        page.keyboard.press("k")
        assert page.evaluate("[...document.querySelectorAll('.said')].every((each) => each.scrollTop === 0)")
