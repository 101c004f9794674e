"""The model calls behind the nodes of a tree, for its page: prompts, thoughts, replies, from the cache of its run."""

from __future__ import annotations

from typing import Any

from mctsdialog._search.calls import RecordedRoles, questions_behind
from mctsdialog.llm import ResponseCache
from mctsdialog.llm._exchanges import Exchange
from mctsdialog.tree import Tree, UnexpandedNode


async def page_calls(tree: Tree, cache: ResponseCache) -> dict[str, Any]:
    """What a page shows of them: the calls by node, and every message once, since prompts share most of theirs.

    A strategy that was not tried has no calls of its own; a question whose reply the cache lacks has none either.
    """
    roles, messages = RecordedRoles(tree, cache), dict[tuple[str, str], int]()
    calls: list[tuple[int, list[dict[str, Any]]]] = []
    for node in tree:
        if isinstance(node, UnexpandedNode) and node.closed is None:
            continue
        shown = []
        for question in questions_behind(tree, node):
            title = f"{question.role.capitalize()}: {question.about}"
            exchanges = (await roles.find(question)).exchanges
            shown += [_shown(title, each, messages) for each in exchanges if each.completion is not None]
        if shown:
            calls.append((node.id, shown))
    return {"calls": calls, "messages": list(messages)}


def _shown(title: str, exchange: Exchange, messages: dict[tuple[str, str], int]) -> dict[str, Any]:
    completion = exchange.completion
    assert completion is not None
    keys = [(message.role, message.content) for message in exchange.request.messages]
    return {
        "role": title,
        "model": exchange.model,
        "prompt": [messages.setdefault(key, len(messages)) for key in keys],
        "reply": completion.text,
        "thoughts": completion.thought,
        "read": completion.usage.prompt_tokens,
        "written": completion.usage.completion_tokens,
        "thinking": completion.usage.reasoning_tokens,
        "seconds": completion.latency,
    }
