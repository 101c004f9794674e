"""The desk where pairs are reviewed, over HTTP: who sees what, what is kept, and what a wrong request is."""

import json

import pytest

from mctsdialog.errors import DataError
from mctsdialog.preferences import read_reviews
from mctsdialog.studio import ReviewDesk, studio_app
from mctsdialog.studio import _file as files

NUMBERS = iter(range(10**9))


def new_id():
    return f"decision-{next(NUMBERS):09}"


def queue(client, name="Ana", count=3, have=(), after=-1, blind=False, **filters):
    body = {"reviewer": name, "count": count, "have": list(have), "after": after, "blind": blind, "filters": filters}
    answer = client.post("/api/review/queue", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def decide(client, card, answer="left", name="Ana", status=200, **more):
    body = {"id": new_id(), "reviewer": name, "key": card["key"], "answer": answer, "blind": card["blind"], **more}
    said = client.post("/api/review/decide", json=body)
    assert said.status_code == status, said.text
    return said.json()


def undo(client, name="Ana", **more):
    return client.post("/api/review/undo", json={"id": new_id(), "reviewer": name, **more}).json()["card"]


def test_pairs_come_in_order_with_all_that_a_reviewer_needs(client, desk):
    got = queue(client, count=2)
    assert (got["left"], got["of"]) == (12, 12)
    first, second = got["cards"]
    assert first["history"] == [["seeker", "I am tired of 0.", None]]
    assert [each["text"] for each in first["replies"]] == ["Good reply 0.", "Poor reply 0."]
    assert first["replies"][0]["value"] == 0.9
    assert 0.6 < first["confidence"] < second["confidence"]
    assert [each["index"] for each in queue(client, count=2, after=1)["cards"]] == [2, 3]


def test_each_answer_is_one_line(client, file):
    for answer in ("left", "right", "tie", "reject", "flag"):
        (card,) = queue(client, count=1)["cards"]
        decide(client, card, answer, reason="rude" if answer == "flag" else None, seconds=2.5)
    assert [each.verdict for each in read_reviews(file)] == ["accept", "swap", "tie", "reject", "flag"]
    assert read_reviews(file)[4].reason == "rude"
    assert read_reviews(file)[0].seconds == 2.5
    assert queue(client)["left"] == 7
    assert [each["own"]["answer"] for each in queue(client, count=9, shown="mine")["cards"]] == [
        "left",
        "right",
        "tie",
        "reject",
        "flag",
    ]


def test_a_decision_that_is_sent_again_is_kept_once(client, file):
    (card,) = queue(client, count=1)["cards"]
    body = {"id": new_id(), "reviewer": "Ana", "key": card["key"], "answer": "left"}
    for _ in range(3):
        assert client.post("/api/review/decide", json=body).status_code == 200
    assert len(file.read_text("utf-8").splitlines()) == 1


def test_two_reviewers_never_hold_the_same_pair_and_what_one_leaves_the_other_gets(client):
    mine = queue(client, "Ana")["cards"]
    others = queue(client, "Ben")["cards"]
    assert not {each["key"] for each in mine} & {each["key"] for each in others}
    queue(client, "Ana", shown="mine")  # looks at something else
    assert {each["key"] for each in queue(client, "Ben", count=10)["cards"]} >= {each["key"] for each in mine}


def test_a_share_is_reviewed_twice_and_the_agreement_is_shown(dataset, file, kit):
    desk = ReviewDesk([dataset], file, twice=1.0)
    client = kit.client_of(studio_app(desk, token=kit.TOKEN))
    for name in ("Ana", "Ben", "Cy"):
        for card in queue(client, name, count=2)["cards"]:
            decide(client, card, "right" if name == "Ben" and card["index"] == 1 else "left", name)
    report = client.get("/api/review/state", params={"reviewer": "Ana"}).json()["report"]
    assert report["reviewers"] == {"Ana": 2, "Ben": 2, "Cy": 2}  # Cy saw the next two: the first have their two
    assert report["twice"] == 2
    assert report["kappa"] == 0.0
    assert report["alpha"] == pytest.approx(0.0)
    (card,) = queue(client, "Ana", shown="disagreed")["cards"]
    assert card["others"] == [{"reviewer": "Ben", "verdict": "swap", "reason": None}]
    desk.close()


def test_the_share_that_is_reviewed_twice_is_drawn_by_the_pairs_alone(domain_maker, tmp_path, kit):
    data = kit.made_dataset(domain_maker(), 400)
    desk = ReviewDesk([data], tmp_path / "r.jsonl", twice=0.25)
    twice = sum(item.needed == 2 for item in desk._list)
    assert 70 < twice < 130
    desk.close()


def test_of_a_blind_pair_nothing_says_which_reply_was_chosen(client, file):
    cards = queue(client, count=10, blind=True)["cards"]
    first = ["Good" in each["replies"][0]["text"] for each in cards]
    assert 0 < sum(first) < len(first)
    assert {key for each in cards for key in each} == {
        *("key", "index", "tree", "turn", "scene", "description", "history", "replies", "blind", "own")
    }
    assert all(set(reply) == {"strategy", "text"} for each in cards for reply in each["replies"])
    for card, good in zip(cards, first, strict=True):
        decide(client, card, "left" if good else "right")
    assert {each.verdict for each in read_reviews(file)} == {"accept"}
    assert all(each.blind for each in read_reviews(file))
    again = queue(client, count=10, blind=True, shown="mine")["cards"]
    left = dict(zip((each["key"] for each in cards), first, strict=True))
    assert {each["key"]: "Good" in each["replies"][0]["text"] for each in again} == left
    assert {each["key"]: each["own"]["answer"] == "left" for each in again} == left


def test_blind_pairs_of_a_turn_do_not_follow_one_another(client):
    plain = [each["index"] for each in queue(client, count=10)["cards"]]
    assert plain == sorted(plain)
    first = queue(client, count=6, blind=True)["cards"]
    rest = queue(client, count=10, blind=True, after=first[-1]["index"], have=[each["key"] for each in first])["cards"]
    mixed = [each["index"] for each in [*first, *rest]]
    assert sorted(mixed) == list(range(12))
    assert mixed != sorted(mixed)


def test_everybody_sees_why_somebody_flagged_a_pair_and_nothing_else_of_what_others_say(client):
    first, second = queue(client, count=2)["cards"]
    decide(client, first, "flag", reason="unkind")
    decide(client, second, "right")
    undecided = {each["key"]: each["others"] for each in queue(client, count=4, name="Ben", shown="flagged")["cards"]}
    assert undecided == {first["key"]: [{"reviewer": "Ana", "verdict": "flag", "reason": "unkind"}]}


def test_an_edit_that_makes_both_replies_the_same_is_refused(client, file):
    card = queue(client, count=1)["cards"][0]
    error = decide(client, card, "left", status=400, left=card["replies"][1]["text"])["error"]
    assert "both replies say the same words" in error
    decide(client, card, "tie", left=card["replies"][1]["text"])
    assert [each.verdict for each in read_reviews(file)] == ["tie"]


@pytest.mark.parametrize("blind", [False, True])
def test_edits_are_kept_by_what_the_search_called_the_replies(client, file, blind):
    for card in queue(client, count=6, blind=blind)["cards"]:
        sides = ["left", "right"] if "Good" in card["replies"][0]["text"] else ["right", "left"]
        untouched = card["replies"][1 if sides[0] == "left" else 0]["text"]
        decide(client, card, "left", **{sides[0]: "Edited good.", sides[1]: untouched})
    assert [each.chosen for each in read_reviews(file)] == ["Edited good."] * 6
    assert [each.rejected for each in read_reviews(file)] == [None] * 6


def test_undo_takes_back_the_last_and_then_the_one_before(client, file):
    cards = queue(client)["cards"]
    decide(client, cards[0], "left")
    decide(client, cards[1], "right", left="Edited.")
    assert undo(client, "Ben") is None
    assert undo(client)["key"] == cards[1]["key"]
    assert queue(client, shown="mine")["left"] == 1
    card = undo(client)
    assert (card["key"], card["own"]) == (cards[0]["key"], None)
    assert undo(client) is None
    assert queue(client)["left"] == 12
    assert [each.verdict for each in read_reviews(file)] == ["accept", "swap", "undo", "undo"]


def test_an_undo_that_is_sent_again_takes_back_one(client):
    cards = queue(client)["cards"]
    for card in cards:
        decide(client, card)
    body = {"id": new_id(), "reviewer": "Ana"}
    keys = {client.post("/api/review/undo", json=body).json()["card"]["key"] for _ in range(3)}
    assert keys == {cards[2]["key"]}
    assert queue(client, shown="mine")["left"] == 2


def test_filters(client):
    every = queue(client, count=10)["cards"]
    sure = [each for each in every if each["confidence"] > 0.9]
    assert 0 < len(sure) < len(every)
    assert queue(client, confidence=[0.9, None])["of"] == 6
    assert queue(client, confidence=[None, 0.9])["of"] == 6
    assert queue(client, margin=[1.5, None])["of"] == 6
    assert queue(client, strategy="Comfort")["of"] == 6
    assert queue(client, strategy="Ask")["of"] == 12
    assert queue(client, strategy="Nothing")["of"] == 0
    decide(client, every[0], "flag", reason="look")
    assert [each["key"] for each in queue(client, "Ben", shown="flagged")["cards"]] == [every[0]["key"]]


def test_what_was_decided_is_there_after_a_restart_also_of_other_folders(dataset, file, kit, domain_maker):
    desk = ReviewDesk([dataset], file, twice=0.0)
    client = kit.client_of(studio_app(desk, token=kit.TOKEN))
    for card in queue(client)["cards"]:
        decide(client, card)
    undo(client)
    desk.close()
    file.write_bytes(file.read_bytes() + b'{"schema": "mctsdialog.rev')  # as a kill leaves it
    other = ReviewDesk([kit.made_dataset(domain_maker(), text="other")], file, twice=0.0)
    assert queue(kit.client_of(studio_app(other, token=kit.TOKEN)))["left"] == 12
    other.close()
    again = ReviewDesk([dataset], file, twice=0.0)
    client = kit.client_of(studio_app(again, token=kit.TOKEN))
    assert queue(client)["left"] == 10
    assert undo(client)["index"] == 1
    again.close()
    assert len(read_reviews(file)) == 5


def test_one_studio_at_a_time_has_the_file(desk, dataset, file):
    with pytest.raises(DataError, match="open in another studio"):
        ReviewDesk([dataset], file)


def test_a_file_of_something_else_is_left_alone(dataset, tmp_path):
    file = tmp_path / "notes.jsonl"
    file.write_text('{"a": 1}\nno end', "utf-8")
    with pytest.raises(DataError, match="line 1"):
        ReviewDesk([dataset], file)
    assert file.read_text("utf-8") == '{"a": 1}\nno end'
    with pytest.raises(DataError, match=r"(?i)is a directory"):
        ReviewDesk([dataset], tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"answer": "accept"},
        {"key": "0" * 32},
        {"key": "../../x"},
        {"reviewer": " "},
        {"reviewer": "x" * 61},
        {"id": "x"},
        {"answer": "flag"},
        {"answer": "flag", "reason": " "},
        {"left": " "},
        {"left": "x" * 20_001},
        {"seconds": -1},
        {"seconds": "1"},
        {"more": 1},
    ],
)
def test_a_wrong_decision_is_one_error_and_nothing_is_kept(client, file, changed):
    (card,) = queue(client, count=1)["cards"]
    body = {"id": new_id(), "reviewer": "Ana", "key": card["key"], "answer": "left", **changed}
    answer = client.post("/api/review/decide", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert file.read_bytes() == b""


@pytest.mark.parametrize("content", [b"", b"x", b"[]", b"null", b'{"reviewer": "\\ud800"}', b"[" * 300, b"\xff"])
def test_what_is_no_request_is_one_error(client, content):
    answer = client.post("/api/review/queue", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_a_full_disk_is_said_and_leaves_no_half_of_a_line(client, file, monkeypatch):
    cards = queue(client)["cards"]
    decide(client, cards[0])
    before = file.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert "No space left" in decide(client, cards[1], status=507)["error"]
    monkeypatch.undo()
    assert file.read_bytes() == before
    decide(client, cards[1])
    assert len(read_reviews(file)) == 2


def test_hostile_texts_are_given_as_they_are_and_kept_as_data(domain_maker, file, kit):
    desk = ReviewDesk([kit.made_dataset(domain_maker(), hostile=True)], file, twice=0.0)
    client = kit.client_of(studio_app(desk, token=kit.TOKEN))
    (card,) = queue(client, kit.HOSTILE[:60], count=1)["cards"]
    assert kit.HOSTILE in card["replies"][0]["text"]
    decide(client, card, "flag", kit.HOSTILE[:60], reason=kit.HOSTILE, left=kit.HOSTILE)
    assert read_reviews(file)[0].reason == kit.HOSTILE.strip()
    assert json.loads(file.read_text("ascii"))["reviewer"] == kit.HOSTILE[:60].strip()
    desk.close()
