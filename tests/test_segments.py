"""Words, characters and joins in every script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.segments import characters, joined, terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, it's fine - ok", ["Hello,", "it's", "fine", "-", "ok"]),
        ("你好，我很累。", ["你", "好，", "我", "很", "累。"]),
        ("“我用 Python3写”", ["“我", "用", "Python3", "写”"]),
        ("これはペンです。", ["こ", "れ", "は", "ペ", "ン", "で", "す。"]),
        ("น้ำตา", ["น้ำ", "ต", "า"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("Größe и слово", ["Größe", "и", "слово"]),
        ("……", ["……"]),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@given(text=st.text())
def test_no_letter_of_a_text_is_lost(text):
    assert "".join(words(text)) == "".join(text.split())
    assert "".join(characters(text)) == text


@given(text=st.text(st.characters(max_codepoint=0x2FF)))
def test_where_words_have_spaces_they_are_what_stands_between_them(text):
    assert words(text) == text.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't STOP, 42!", ["don", "t", "stop", "42"]),
        ("GRÖSSE Größe", ["grösse", "grösse"]),
        ("Cafe\u0301", ["café"]),
        ("你好，world", ["你", "好", "world"]),
        ("😀👍🏽", ["😀", "👍🏽"]),
        ("...", []),
    ],
)
def test_terms(text, expected):
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["Hello.", "There."], "Hello. There."),
        (["你好。", "我很累。"], "你好。我很累。"),
        (["你好", "我很累"], "你好我很累"),
        (["你好!", "我很累"], "你好!我很累"),
        (["好。", "OK"], "好。OK"),
        (["Hello.", "你好"], "Hello. 你好"),
        (["はい", "そうです"], "はいそうです"),
        (["안녕", "하세요"], "안녕 하세요"),
        (["สวัสดี", "ครับ"], "สวัสดี ครับ"),
        (["one"], "one"),
    ],
)
def test_joined(parts, expected):
    assert joined(parts) == expected
