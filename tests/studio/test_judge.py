"""Sheets as pages: blind, in an order of each rater's own, and the same files that spreadsheets fill in."""

import json

import pytest
from click.testing import CliRunner

from cso_train.cli import main as cso_train
from cso_train.evaluation import PairToJudge, ReplyToRate
from cso_train.evaluation._sheets import (
    SheetKey,
    read_pair_sheet,
    read_rating_sheet,
    write_pair_sheet,
    write_rating_sheet,
)
from mctsdialog.errors import DataError
from mctsdialog.files import sheet_rows
from mctsdialog.studio import Sheet, studio_app

CRITERIA = {"warmth": "Which is warmer?", "use": "Which is of more use?"}
PAIRS = [
    PairToJudge(
        (f"Seeker: I am {place}.\nReally.", "Supporter: Oh.", "Seeker: =1+1"), f"better {place}", f"-worse {place}"
    )
    for place in range(8)
]
ITEMS = [ReplyToRate(f"secret {place % 2}", (f"Seeker: {place}",), f"reply {place}") for place in range(3)]
ITEMS += [ReplyToRate("secret 0", ("Seeker: hm",), "well", "Affirmation")]
NUMBERS = iter(range(10**9))


@pytest.fixture
def pairs(tmp_path):
    write_pair_sheet(tmp_path / "pairs", PAIRS, CRITERIA, names=("secret one", "secret two"), seed=3)
    return tmp_path / "pairs"


@pytest.fixture
def ratings(tmp_path):
    write_rating_sheet(tmp_path / "ratings", ITEMS, seed=3)
    return tmp_path / "ratings"


@pytest.fixture
def client(pairs, ratings, kit):
    return kit.client_of(studio_app(None, [Sheet(pairs), Sheet(ratings)], token=kit.TOKEN))


def items(client, sheet, rater="Ana", first=None):
    answer = client.post("/api/judge/items", json={"sheet": sheet, "rater": rater, "first": first})
    assert answer.status_code == 200, answer.text
    return answer.json()


def answer(client, sheet, item, values, rater="Ana", status=200):
    body = {"id": f"answer-{next(NUMBERS):09}", "sheet": sheet, "rater": rater, "item": item, "values": values}
    said = client.post("/api/judge/answer", json=body)
    assert said.status_code == status, said.text
    return said.json()


def fill(client, sheet, choose, rater="Ana"):
    seen = []
    while got := items(client, sheet, rater)["items"]:
        seen.append(got[0]["item"])
        answer(client, sheet, got[0]["item"], {name: choose(got[0], name) for name in got[0]["asked"]}, rater)
    return seen


def prefer_better(item, name):
    return "tie" if name == "use" else "A" if item["answers"][0].startswith("better") else "B"


def test_pages_show_what_the_sheet_holds_and_no_names(client, pairs):
    about = client.get("/api/judge/sheets").json()["sheets"]
    assert [each["kind"] for each in about] == ["pairwise", "rate"]
    assert about[0]["criteria"] == CRITERIA
    (first, *_) = items(client, 0)["items"]
    assert first["history"][1:] == [["supporter", "Oh."], ["seeker", "=1+1"]]
    assert first["history"][0][1].endswith("Really.")
    assert {each[0] for each in map(str.split, first["answers"])} == {"better", "-worse"}
    shown = json.dumps([client.get("/api/judge/sheets").json(), items(client, 0), items(client, 1)])
    assert "secret" not in shown
    (pairs / "key.json").unlink()
    assert Sheet(pairs).kind == "pairwise"  # whoever judges needs no key


def test_what_raters_fill_in_is_read_as_their_sheets(client, pairs):
    orders = [fill(client, 0, prefer_better, name) for name in ("Ana", "Ben")]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    key = SheetKey.read(pairs / "key.json", "pairwise")
    for copy in (pairs / "sheet-ben.csv", *pairs.glob("sheet-Ana-*.csv")):
        if copy.exists():
            judged = read_pair_sheet(copy, key)
            assert {each.outcomes["warmth"] for each in judged} == {"win"}
            assert {each.outcomes["use"] for each in judged} == {"tie"}
    assert len(list(pairs.glob("sheet-*.csv"))) == 2


def test_the_statistics_are_those_of_the_command_that_the_page_names(client, pairs, tmp_path):
    for name in ("ana", "ben"):
        fill(client, 0, prefer_better, name)
    words = client.get("/api/judge/sheets").json()["sheets"][0]["command"].split()
    assert words[:4] == ["python", "-m", "cso_train", "pairwise"]
    done = CliRunner().invoke(cso_train, [*words[3:], "--resamples", "2", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "out/verdicts.jsonl").read_text("utf-8").splitlines()) == 8
    assert "secret one" in done.output


def test_ratings_ask_for_alignment_only_where_a_strategy_is_named(client, ratings):
    fill(client, 1, lambda item, name: "4" if item["strategy"] else "2", "ana")
    assert items(client, 1, "ana")["done"] == 4
    rated = read_rating_sheet(ratings / "sheet-ana.csv", SheetKey.read(ratings / "key.json", "rate"))
    assert [set(each) >= {"alignment"} for each in rated] == [False, False, False, True]
    assert rated[3]["alignment"] == 4
    assert rated[0] == {"acceptance": 2, "effectiveness": 2, "sensitivity": 2}


def test_an_answer_can_be_changed_and_a_rater_goes_on_after_a_restart(client, pairs, kit):
    first = items(client, 0, "ana")["items"][0]
    answer(client, 0, first["item"], {"warmth": "A"}, "ana")
    assert items(client, 0, "ana")["first"] == 0  # not full yet
    answer(client, 0, first["item"], {"warmth": "B", "use": "tie"}, "ana")
    again = kit.client_of(studio_app(None, [Sheet(pairs)], token=kit.TOKEN))
    got = items(again, 0, "ana")
    assert (got["first"], got["done"], got["of"]) == (1, 1, 8)
    assert items(again, 0, "ana", first=0)["items"][0]["own"] == {"warmth": "B", "use": "tie"}


def test_a_copy_that_a_spreadsheet_saved_is_gone_on_with(client, pairs, kit):
    fill(client, 0, prefer_better, "ana")
    rows = sheet_rows((pairs / "sheet-ana.csv").read_bytes())
    text = "\n".join(";".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    (pairs / "sheet-ana.csv").write_text(text.replace('"A"', '" a "').replace('"tie"', '"TIE"'), "utf-8")
    again = kit.client_of(studio_app(None, [Sheet(pairs)], token=kit.TOKEN))
    assert items(again, 0, "ana")["done"] == 8


@pytest.mark.parametrize(
    ("item", "values"),
    [("other-1", {}), (None, {"warmth": "C"}), (None, {"warmth": "a"}), (None, {"wit": "A"}), (None, {"warmth": "=1"})],
)
def test_a_wrong_answer_is_one_error_and_nothing_is_written(client, pairs, item, values):
    found = items(client, 0)["items"][0]["item"]
    assert answer(client, 0, item or found, values, status=400)["error"]
    assert not list(pairs.glob("sheet-*.csv"))
    body = {"sheet": 9, "rater": "Ana"}
    assert client.post("/api/judge/items", json=body).status_code == 400


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"a,b\n1,2\n", b'item,"', b"item,conversation,answer A,answer B\n1,2,3,4\n"]
)
def test_what_is_no_sheet_is_one_error(tmp_path, content):
    (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"sheet\.csv"):
        Sheet(tmp_path)


def test_names_of_raters_lead_nowhere_and_never_share_a_file(client, pairs, tmp_path):
    first = items(client, 0)["items"][0]["item"]
    for name in ("../../evil", "/etc/x", "a\0b", "CON", "a", "A", "<b>"):
        answer(client, 0, first, {"warmth": "A"}, name)
    copies = list(pairs.glob("sheet-*.csv"))
    assert len(copies) == 7
    assert {each.name for each in tmp_path.iterdir()} == {"pairs", "ratings"}


def test_keys_of_the_page(studios, visit, pairs, ratings, kit):
    page = visit(studios(pairs, ratings, "--port", 0), "/judge", "ana")
    kit.until(page, "document.body.innerText.includes('Answer A')")
    for _ in range(8):
        better = "a" if page.inner_text("#answers .reply:first-child .text").startswith("better") else "b"
        for key in (better, "t"):
            page.keyboard.press(key)
        kit.until(page, "JSON.parse(localStorage['studio-outbox'] ?? '[]').length === 0")
        page.wait_for_timeout(150)
    kit.until(page, "document.body.innerText.includes('All items are filled in')")
    judged = read_pair_sheet(pairs / "sheet-ana.csv", SheetKey.read(pairs / "key.json", "pairwise"))
    assert {each.outcomes["warmth"] for each in judged} == {"win"}
    page.keyboard.press("u")
    kit.until(page, "document.querySelectorAll('[aria-pressed=true]').length === 2")
    page.keyboard.press("?")
    assert "cso_train pairwise" in page.inner_text("#files")
    page.keyboard.press("Escape")
    page.select_option("#sheet", "1")
    kit.until(page, "document.body.innerText.includes('0 of 4 done')")
    page.keyboard.press("5")
    page.keyboard.press("n")
    kit.until(page, "JSON.parse(localStorage['studio-outbox'] ?? '[]').length === 0")
    assert b",5," in (ratings / "sheet-ana.csv").read_bytes()
