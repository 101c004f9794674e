"""The card of a trained model: what others named is text in it."""

import re
from types import SimpleNamespace

import pytest
import yaml
from markdown_it import MarkdownIt

from cso_train import resolve_config

card = pytest.importorskip("cso_train._card", reason="the training libraries are not installed")

EVIL = "---\nlicense: x\n---\n| `a` | <img src=x onerror=alert(1)> [y](javascript:alert(1)) \x1b[2J"


@pytest.mark.parametrize("gguf", [None, f"/models/{EVIL}"])
def test_names_and_settings_are_text(gguf):
    config = resolve_config(overrides={"run_name": EVIL, "revision": EVIL, "data": "d"}).config
    source = SimpleNamespace(gguf=gguf, location=f"hub/{EVIL}")
    data = SimpleNamespace(strategies=(EVIL, "Plan"), rows=[1, 2], kind="preference")
    text = card.model_card(config, source, data)
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert set(metadata) == {"tags", "library_name", *(() if gguf else ("base_model",))}
    assert gguf or metadata["base_model"] == f"hub/{EVIL}"
    assert "\x1b" not in text
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    known = {"h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert set(re.findall(r"<(\w+)", page)) <= known
    assert page.count("<li>") == 2
    assert page.count("<td>") == 2 * page.count("<tr>") - 2
