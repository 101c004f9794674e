"""The pages in a real browser: every key, two reviewers at once, a killed studio, hostile texts, a phone."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner

from mctsdialog.cli import main
from mctsdialog.preferences import load_preferences, read_reviews, write_dataset

pytestmark = pytest.mark.timeout(110)


@pytest.fixture
def folder(domain_maker, tmp_path, kit):
    write_dataset({"train": kit.made_dataset(domain_maker())}, tmp_path / "data")
    return tmp_path / "data"


def shows(page, kit, text):
    kit.until(page, "text => document.body.innerText.includes(text)", text)


def decided(page, kit, folder, count):
    """The decisions, once so many are saved and none waits."""
    for _ in range(500):
        reviews = read_reviews(folder / "reviews.jsonl")
        if len(reviews) == count and page.evaluate("JSON.parse(localStorage['studio-outbox'] ?? '[]').length === 0"):
            return reviews
        page.wait_for_timeout(20)
    raise AssertionError(f"{len(reviews)} decisions instead of {count}")


def test_every_key_of_the_review(studios, visit, folder, kit):
    page = visit(studios(folder, "--port", 0, "--twice", 0), "/review")
    shows(page, kit, "Good reply 0.")
    shows(page, kit, "0 of 12 done")
    page.keyboard.press("n")
    shows(page, kit, "Bad reply 0.")
    page.keyboard.press("a")
    shows(page, kit, "Good reply 1.")
    for key, then in (("ArrowRight", "Bad reply 1."), ("t", "Good reply 2."), ("x", "Bad reply 2.")):
        page.keyboard.press(key)
        shows(page, kit, then)
    page.keyboard.press("f")
    kit.until(page, "document.getElementById('flag-dialog').open")
    page.keyboard.type("not kind, nxtfu?")  # its letters are no keys there
    page.keyboard.press("Enter")
    shows(page, kit, "Good reply 3.")
    page.keyboard.press("e")
    kit.until(page, "document.activeElement.id === 'edit-left'")
    page.keyboard.press("Control+A")
    page.keyboard.type("Better words, as if.")
    page.keyboard.press("Control+Enter")
    shows(page, kit, "edited")
    page.keyboard.press("1")
    shows(page, kit, "Bad reply 3.")
    reviews = decided(page, kit, folder, 6)
    assert [each.verdict for each in reviews] == ["accept", "swap", "tie", "reject", "flag", "accept"]
    assert reviews[4].reason == "not kind, nxtfu?"
    assert reviews[5].chosen == "Better words, as if."
    assert {each.reviewer for each in reviews} == {"Ana"}
    assert all(each.seconds is not None for each in reviews)
    page.keyboard.press("u")
    shows(page, kit, "Better words, as if.")  # an edit outlasts its decision
    kit.until(page, "document.body.innerText.includes('5 of 12 done')")
    page.keyboard.press("e")
    kit.until(page, "document.activeElement.id === 'edit-left'")
    page.keyboard.type("dropped")
    page.keyboard.press("Escape")
    assert "dropped" not in page.inner_text("#reply-left")
    page.keyboard.press("e")
    kit.until(page, "document.activeElement.id === 'edit-left'")
    page.keyboard.press("Control+A")
    page.keyboard.press("Backspace")
    page.keyboard.press("Control+Enter")
    shows(page, kit, "Good reply 3.")  # without words the old ones are back
    page.keyboard.press("?")
    assert page.evaluate("document.getElementById('help').open")
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    shows(page, kit, "Krippendorff")
    page.keyboard.press("Escape")
    for _ in range(7):
        page.keyboard.press(" ")
    decided(page, kit, folder, 7)
    assert "Good" in page.inner_text("#reply-left")  # what was skipped comes again


def test_two_reviewers_at_once_and_a_kill_in_the_middle_lose_nothing(studios, visit, folder, kit):
    studio = studios(folder, "--port", 0, "--twice", 0)
    pages = [visit(studio, "/review", name) for name in ("Ana", "Ben")]
    for page in pages:
        shows(page, kit, "of 12 done")
    for turn in range(4):
        page = pages[turn % 2]
        kit.until(page, "document.getElementById('reply-left')?.innerText.includes('Good')")
        page.wait_for_timeout(300)  # the same key at once is none about the next pair
        page.keyboard.press("a")
    for page in pages:
        kit.until(page, "JSON.parse(localStorage['studio-outbox'] ?? '[]').length === 0")
    studio.kill()
    assert len(read_reviews(folder / "reviews.jsonl")) == 4
    pages[0].keyboard.press("s")
    shows(pages[0], kit, "One decision waits")
    pages[0].keyboard.press("t")
    shows(pages[0], kit, "2 decisions wait")
    studio.start("--port", studio.port)
    shows(pages[0], kit, "no longer valid")
    pages[0].goto(studio.address)
    pages[0].goto(studio.root + "/review")
    shows(pages[0], kit, "of 12 done")
    kit.until(pages[0], "JSON.parse(localStorage['studio-outbox'] ?? '[]').length === 0")
    reviews = read_reviews(folder / "reviews.jsonl")
    assert [each.verdict for each in reviews] == ["accept"] * 4 + ["swap", "tie"]
    assert [each.reviewer for each in reviews].count("Ana") == 4
    assert len({each.pair for each in reviews}) == 6


def test_edited_words_outlast_a_reload_and_a_key_pressed_twice_decides_once(studios, visit, folder, kit):
    page = visit(studios(folder, "--port", 0, "--twice", 0), "/review")
    shows(page, kit, "Good reply 0.")
    page.keyboard.press("e")
    kit.until(page, "document.activeElement.id === 'edit-left'")
    page.keyboard.press("Control+A")
    page.keyboard.type("Half a thought")
    page.reload()
    kit.until(page, "document.getElementById('edit-left')?.value === 'Half a thought'")
    page.keyboard.press("Control+A")
    page.keyboard.type("Poor reply 0.")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("a")
    shows(page, kit, "Both replies say the same words")
    page.keyboard.press("e")
    page.click("#do-cancel")
    page.keyboard.press("n")
    shows(page, kit, "Bad reply 0.")
    page.evaluate(
        """for (let times = 0; times < 2; times += 1)
             document.dispatchEvent(new KeyboardEvent("keydown", { key: "t", bubbles: true }));"""
    )
    shows(page, kit, "Good reply 1.")
    decided(page, kit, folder, 1)


def test_keys_are_the_pairs_again_after_a_filter_and_the_confidence_is_in_percent(studios, visit, folder, kit):
    page = visit(studios(folder, "--port", 0, "--twice", 0), "/review")
    shows(page, kit, "Good reply 0.")
    page.fill("#confidence-least", "90")
    page.keyboard.press("Enter")
    shows(page, kit, "0 of 6 done")
    page.keyboard.press("s")
    shows(page, kit, "1 of 6 done")
    page.click("#clear")
    shows(page, kit, "1 of 12 done")
    page.keyboard.press("PageUp")
    page.keyboard.press("?")
    shows(page, kit, "Scroll the conversation")
    page.keyboard.press("?")
    kit.until(page, "!document.getElementById('help').open")
    assert decided(page, kit, folder, 1)[0].verdict == "swap"


def test_the_last_pairs_that_another_has_are_said_to_be_so_and_names_differ_by_more_than_capitals(
    studios, visit, folder, kit
):
    studio = studios(folder, "--port", 0, "--twice", 0)
    one = visit(studio, "/review")
    shows(one, kit, "0 of 12 done")
    for number in range(9):
        kit.until(one, "!document.getElementById('work').hidden")
        one.keyboard.press("ax"[number % 2])
        shows(one, kit, f"{number + 1} of 12 done")
    decided(one, kit, folder, 9)
    other = visit(studio, "/review", "Ben")
    shows(other, kit, "Others have the last pairs in front of them.")
    shows(other, kit, "9 of 12 done")
    again = visit(studio, "/review", "aNA")
    kit.until(again, "document.getElementById('who').textContent === 'Ana'")


def test_a_decision_that_this_studio_has_no_place_for_is_kept_until_another_takes_it(
    studios, visit, folder, kit, tmp_path, domain_maker
):
    studio = studios(folder, "--port", 0, "--twice", 0)
    page = visit(studio, "/review")
    shows(page, kit, "Good reply 0.")
    studio.kill()
    page.keyboard.press("a")
    shows(page, kit, "One decision waits")
    other = tmp_path / "other"
    searched = kit.made_dataset(domain_maker(("Comfort", "Plan", "Question")), hostile=True)
    write_dataset({"train": searched}, other)
    elsewhere = studios(other, "--port", studio.port)
    page.goto(elsewhere.address)
    shows(page, kit, "One decision was refused")
    shows(page, kit, "there is no such pair here")
    assert page.evaluate("JSON.parse(localStorage['studio-refused']).length") == 1
    elsewhere.kill()
    studio.start("--port", studio.port)
    page.goto(studio.address)
    assert decided(page, kit, folder, 1)[0].verdict == "accept"
    assert page.evaluate("localStorage['studio-refused']") == "[]"
    assert not (other / "reviews.jsonl").read_bytes().strip()
    page.evaluate("localStorage['studio-refused'] = JSON.stringify([{path: '/api/review', body: {id: 'x'}}])")
    page.goto(studio.root + "/review")
    shows(page, kit, "One decision was refused")
    page.click("text=Discard")
    kit.until(page, "document.getElementById('unsaved').hidden")
    assert page.evaluate("localStorage['studio-refused']") == "[]"


def test_hostile_texts_are_shown_and_do_nothing(studios, visit, domain_maker, tmp_path, kit):
    folder = tmp_path / "data"
    write_dataset(
        {"train": kit.made_dataset(domain_maker((f"<b>{kit.HOSTILE}", "Comfort", "Plan")), hostile=True)}, folder
    )
    page = visit(studios(folder, "--port", 0), "/review", f"</script>{kit.HOSTILE}"[:60])
    kit.until(page, "document.getElementById('reply-left')?.innerText.includes('<img src=x onerror=')")
    page.keyboard.press("f")
    kit.until(page, "document.getElementById('flag-dialog').open")
    page.evaluate("text => { document.getElementById('flag-field').value = text; }", kit.HOSTILE)
    page.keyboard.press("Enter")
    decided(page, kit, folder, 1)
    page.select_option("#shown", "flagged")
    shows(page, kit, "You decided: flag (<script>")
    page.keyboard.press("i")
    shows(page, kit, "Decisions of </script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, main script, main b").count() == 0


def test_a_phone_reviews_blind_by_touch(studios, visit, folder, kit):
    page = visit(studios(folder, "--port", 0, "--twice", 0), "/review", width=390, height=780, scheme="dark")
    shows(page, kit, "Good reply 0.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#more-filters")
    page.check("#blind")
    kit.until(page, "document.getElementById('reply-left')?.innerText.startsWith('Left')")
    assert "Q " not in page.inner_text("main")
    page.click("#do-left")
    page.click("#do-right")
    reviews = decided(page, kit, folder, 2)
    assert all(each.blind for each in reviews)
    box = page.locator("#do-undo").bounding_box()
    assert box["y"] + box["height"] <= 780


def test_what_was_reviewed_is_applied_by_the_command(studios, visit, tmp_path, kit):
    with ThreadPoolExecutor(1) as thread:  # playwright's own loop runs in this one
        done = thread.submit(CliRunner().invoke, main, ["demo", "--out", str(tmp_path / "demo")]).result()
    assert done.exit_code == 0, done.output
    studio = studios(tmp_path / "demo", "--port", 0, "--twice", 0)
    page = visit(studio, "/")
    page.click("#cards a[href='/review']")
    shows(page, kit, "0 of ")
    for key in ("s", "x", "a"):
        page.keyboard.press(key)
    decided(page, kit, tmp_path / "demo", 3)
    words = ["preferences", tmp_path / "demo" / "tree.json", "--reviews", tmp_path / "demo" / "reviews.jsonl"]
    done = CliRunner().invoke(main, [*map(str, words), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    data = load_preferences(tmp_path / "out")["train"]
    assert data.reviews.verdicts == {"accept": 1, "reject": 1, "swap": 1}
    rows = [json.loads(line) for line in (tmp_path / "out/preference/train.jsonl").read_text("utf-8").splitlines()]
    assert [row["provenance"]["review"]["reviewers"] for row in rows if row["provenance"]["review"]] == [["Ana"]] * 2
