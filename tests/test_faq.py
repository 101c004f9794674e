"""The messages that the documentation quotes are still raised somewhere."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAQ = (ROOT / "docs" / "faq.md").read_text("utf-8")
ELSEWHERE = "\0"  # what a message fills in


def quoted():
    """Every message in the page's text blocks."""
    for block in re.findall(r"```text\n(.*?)```", FAQ, re.DOTALL):
        yield from block.splitlines()


def raised():
    """Every text of the code but its docstrings, what it fills in as a mark; added texts and names are followed."""
    for package in ("mctsdialog", "cso_train"):
        for file in sorted((ROOT / package).rglob("*.py")):
            yield from texts(ast.parse(file.read_text("utf-8")))


def texts(module):
    statements = [node for node in ast.walk(module) if isinstance(node, ast.Expr)]
    docstrings = {id(node.value) for node in statements if isinstance(node.value, ast.Constant)}
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr | ast.BinOp) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ):
            yield template(node)


def template(node):
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return ELSEWHERE


TEXTS = {text for text in raised() if len(text.replace(ELSEWHERE, "").strip()) > 3}


def is_raised(message):
    """Whether some text of the code holds the message's parts in their order; ``…`` may be anything."""
    parts = [part.strip(" .:;()") for part in re.split(r"…|\d{3}", message)]  # a status is filled in, too
    parts = [part for part in parts if part]
    whole = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    return any(whole.search(text) for text in TEXTS) or all(map(is_said, parts))


def is_said(part):
    """Whether a part stands in the code, in one text or as the end of one and the beginning of another."""
    if any(part in text for text in TEXTS):
        return True
    seams = range(5, len(part) - 4)
    return any(
        any(text.endswith((part[:at], part[:at] + ELSEWHERE)) for text in TEXTS)
        and any(part[at:] in text for text in TEXTS)
        for at in seams
    )


@pytest.mark.parametrize("message", list(quoted()))
def test_a_quoted_message_is_raised(message):
    assert is_raised(message), message


def test_a_message_that_is_not_raised_is_found_out():
    assert is_raised("no local model was found. Install one: …")
    assert not is_raised("no local model was seen. Install one: …")
    assert not is_raised("…: no local model was found, or else")


def test_the_page_quotes_many_and_each_once():
    messages = list(quoted())
    assert len(messages) > 40
    assert len(messages) == len(set(messages))
