"""Chats: the supporter by search, by a trained model or by a person; each turn kept, all of them gold for a search."""

import json
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import pytest

from mctsdialog import ScriptedModel, plan, read_dialogues
from mctsdialog.errors import DataError
from mctsdialog.studio import ChatDesk, studio_app
from mctsdialog.worlds import World

WORLD = World(7)


def spoken_by_trained(request):
    assert request.messages[0].role == "system"
    assert "Begin your answer with the strategy's name" in request.messages[0].content
    return f"(Affirmation) You did well. ({len(request.messages)})"


def desk_of(folder, reply=spoken_by_trained, roles=None):
    trained = None if reply is None else ScriptedModel(reply)

    def models(closing):
        assert isinstance(closing, AsyncExitStack)
        return roles or WORLD.roles(), trained

    return ChatDesk(folder, WORLD.domain, models, seconds=0.3, has_trained=trained is not None)


class Waiting:
    """A judge that thinks for ever."""

    draws_differ = False

    def for_scenario(self, scenario):
        return self

    async def judge(self, turns):
        await anyio.sleep_forever()


@pytest.fixture
def client(tmp_path, kit):
    with kit.client_of(studio_app(None, chat=desk_of(tmp_path), token=kit.TOKEN)) as client:
        yield client


def post(client, name, status=200, **body):
    answer = client.post(f"/api/chat/{name}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture
def chat(client):
    """A chat in which the seeker has spoken."""
    made = post(client, "new", scene="exam", description="An exam.")
    return post(client, "say", chat=made["id"], speaker="seeker", text="I failed.")["id"]


def test_the_supporter_answers_by_search_and_shows_what_it_weighed(client, chat):
    turn = post(client, "reply", chat=chat, by="plan")["turns"][-1]
    assert (turn["speaker"], turn["by"]) == ("supporter", "plan")
    assert len(turn["weighed"]) == len(WORLD.domain.strategies)
    assert turn["weighed"][0]["strategy"] == turn["strategy"]
    assert turn["weighed"][0]["reply"] == turn["text"]
    assert sum(each["prior"] for each in turn["weighed"]) == pytest.approx(1.0)


def test_a_trained_model_answers(client, chat):
    turn = post(client, "reply", chat=chat, by="trained")["turns"][-1]
    assert (turn["strategy"], turn["text"], turn["by"]) == ("Affirmation", "You did well. (2)", "trained")


@pytest.mark.parametrize("reply", ["You did well.", "(Nothing) Hm.", "(Affirmation) "])
def test_a_reply_that_names_no_strategy_is_an_error_and_no_turn(tmp_path, kit, reply):
    desk = desk_of(tmp_path, lambda request: reply)
    with kit.client_of(studio_app(None, chat=desk, token=kit.TOKEN)) as client:
        chat = post(client, "new", scene="exam")["id"]
        post(client, "say", chat=chat, speaker="seeker", text="I failed.")
        assert "names no strategy" in post(client, "reply", status=400, chat=chat, by="trained")["error"]
        assert len(post(client, "one", chat=chat)["turns"]) == 1


def test_without_a_trained_model_it_is_said(tmp_path, kit):
    with kit.client_of(studio_app(None, chat=desk_of(tmp_path, None), token=kit.TOKEN)) as client:
        chat = post(client, "new", scene="exam")["id"]
        post(client, "say", chat=chat, speaker="seeker", text="I failed.")
        assert "--trained" in post(client, "reply", status=400, chat=chat, by="trained")["error"]
        assert client.get("/api/chat/about").json()["trained"] is False


def test_a_reply_that_is_searched_for_is_given_up_when_the_studio_closes(tmp_path, kit):
    asked = []
    never = replace(WORLD.roles(), judge=Waiting())
    desk = ChatDesk(tmp_path, WORLD.domain, lambda closing: (never, None), seconds=1, has_trained=False)
    app = studio_app(None, chat=desk, token=kit.TOKEN, ending=lambda: bool(asked) and time.monotonic() > asked[0] + 0.5)
    with kit.client_of(app) as client:
        chat = post(client, "new", scene="exam", description="An exam.")["id"]
        post(client, "say", chat=chat, speaker="seeker", text="I failed.")
        asked.append(time.monotonic())
        answer = client.post("/api/chat/reply", json={"chat": chat, "by": "plan"})
        assert (answer.status_code, answer.json()) == (503, {"error": "the studio is closing"})
    assert len(desk.chat(chat)["turns"]) == 1


def test_a_person_supports_with_suggestions_and_a_model_is_the_seeker(client, chat):
    suggested = post(client, "suggest", chat=chat)["weighed"]
    assert len(post(client, "one", chat=chat)["turns"]) == 1
    words = {"chat": chat, "speaker": "supporter", "text": "In my words.", "strategy": suggested[0]["strategy"].lower()}
    turn = post(client, "say", **words)["turns"][-1]
    assert turn["strategy"] == suggested[0]["strategy"]
    last = post(client, "seeker", chat=chat)["turns"][-1]
    assert (last["speaker"], last["by"]) == ("seeker", "model")
    assert [each["speaker"] for each in post(client, "undo", chat=chat)["turns"]] == ["seeker", "supporter"]


def test_the_next_plan_takes_over_what_the_last_one_foresaw(client, chat, monkeypatch):
    first = post(client, "suggest", chat=chat)["weighed"]
    plans = []

    async def noted(*arguments, **options):
        plans.append((options["previous"], found := await plan(*arguments, **options)))
        return found

    monkeypatch.setattr("mctsdialog.studio._chat.plan", noted)
    again = post(client, "suggest", chat=chat)["weighed"]
    ((previous, found),) = plans
    assert previous is not None
    assert found.reused > 0
    assert sum(each["visits"] for each in again) >= sum(each["visits"] for each in first)


def test_chats_are_gold_for_a_search_and_there_after_a_restart(client, chat, tmp_path, kit):
    post(client, "new", scene="not begun")
    post(client, "reply", chat=chat, by="trained")
    post(client, "say", chat=chat, speaker="seeker", text="Thanks.")
    post(client, "reply", chat=chat, by="trained")
    found = read_dialogues(tmp_path / "dialogues.jsonl", domain=WORLD.domain)
    (dialogue,) = found.dialogues
    assert (dialogue.id, dialogue.scene, len(dialogue.turns)) == (chat, "exam", 4)
    assert dialogue.turns[1].strategy == "Affirmation"
    with kit.client_of(studio_app(None, chat=desk_of(tmp_path), token=kit.TOKEN)) as again:
        assert len(post(again, "one", chat=chat)["turns"]) == 4
        assert len(again.get("/api/chat/about").json()["chats"]) == 2


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("say", {"speaker": "seeker", "text": "Again."}),
        ("say", {"speaker": "supporter", "text": "Hm.", "strategy": "Nothing"}),
        ("say", {"speaker": "supporter", "text": "Hm."}),
        ("say", {"speaker": "supporter", "text": " ", "strategy": "Affirmation"}),
        ("say", {"speaker": "judge", "text": "Hm."}),
        ("seeker", {}),
        ("reply", {"by": "magic"}),
        ("one", {"chat": "chat-000000000000"}),
        ("one", {"chat": "../../etc/passwd"}),
        ("undo", {"chat": "chat-000000000000"}),
    ],
)
def test_a_wrong_request_is_one_error_and_changes_nothing(client, chat, name, body):
    before = post(client, "one", chat=chat)
    assert post(client, name, status=400, **{"chat": chat, **body})["error"]
    assert post(client, "one", chat=chat) == before


def test_hostile_texts_are_kept_as_data(client, kit, tmp_path):
    chat = post(client, "new", scene=kit.HOSTILE, description=kit.HOSTILE)["id"]
    post(client, "say", chat=chat, speaker="seeker", text=kit.HOSTILE)
    post(client, "reply", chat=chat, by="trained")
    assert post(client, "one", chat=chat)["turns"][0]["text"] == kit.HOSTILE.strip()
    assert len(list((tmp_path / "chats").iterdir())) == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema": "other"}', '{"schema": "mctsdialog.chat", "version": 2}']
)
def test_a_file_that_is_no_chat_is_named(tmp_path, content):
    (tmp_path / "chats").mkdir()
    (tmp_path / "chats" / "x.json").write_text(content, "utf-8")
    with pytest.raises(DataError, match=r"x\.json"):
        desk_of(tmp_path)


def test_the_page_in_a_browser_with_a_server_for_models(studios, visit, tmp_path, kit, stub_server):
    def said(body, number):
        text = json.dumps(body)
        return "(Affirmation) Well done." if "Begin your answer with the strategy" in text else stub_server.good(body)

    stub_server.reply = said
    models = ("--model", "m", "--base-url", stub_server.url, "--trained", "mine", "--reply-seconds", 1)
    studio = studios("--chat", tmp_path / "talks", "--port", 0, *models)
    page = visit(studio, "/chat")
    page.click("#new")
    kit.until(page, "document.getElementById('new-dialog').open")
    page.fill("#new-scene", "<b>exam</b>")
    page.keyboard.press("Enter")
    kit.until(page, "document.getElementById('form').hidden === false")
    page.select_option("#supporter", "trained")
    page.fill("#text", "I <i>failed</i>.")
    page.keyboard.press("Enter")
    kit.until(page, "document.getElementById('turns').innerText.includes('Well done.')")
    page.select_option("#supporter", "plan")
    page.fill("#text", "Thanks.")
    page.keyboard.press("Enter")
    kit.until(page, "document.querySelectorAll('#turns .turn').length === 4")
    kit.until(page, "document.querySelectorAll('#weighed .option').length > 3")
    page.select_option("#supporter", "person")
    page.fill("#text", "Go on.")
    page.keyboard.press("Enter")
    kit.until(page, "document.getElementById('weighed-title').textContent === 'Suggestions'")
    page.keyboard.press("Alt+1")
    kit.until(page, "document.getElementById('text').value !== ''")
    page.keyboard.press("Enter")
    kit.until(page, "document.querySelectorAll('#turns .turn').length === 6")
    page.click("#undo")
    kit.until(page, "document.querySelectorAll('#turns .turn').length === 5")
    assert page.locator("main b, main i").count() == 0
    page.reload()
    kit.until(page, "document.querySelectorAll('#turns .turn').length === 5")
    assert len(read_dialogues(tmp_path / "talks" / "dialogues.jsonl")) == 1
