"""A journalled, cached search in a process of its own, for the tests that kill it.

Arguments: folder, seed, seconds a call takes. Every model call is noted in ``calls.log`` (begun, completed), synced by
being a single append; the tree is written to ``tree.json`` at the end.
"""

import hashlib
import os
import sys
from pathlib import Path

import anyio

import mctsdialog
from mctsdialog.llm import CachedModel, ChatRequest, Completion, ResponseCache, request_key


class HashModel:
    """Answers each request as a pure function of its text, and notes every call."""

    name = "hash"

    def __init__(self, log, seed, latency):
        self.seed, self.latency = seed, latency
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def complete(self, request: ChatRequest) -> Completion:
        key = request_key(self.name, request)
        os.write(self.log, f"begun {key}\n".encode())
        await anyio.sleep(self.latency)
        number = int(hashlib.sha256(f"{self.seed} {key}".encode()).hexdigest()[:12], 16)
        return Completion(self.reply(request, number), model=self.name)

    def reply(self, request, number):
        if request.schema is None:
            return "</end/>" if number % 7 == 0 and "You play" in request.messages[0].content else f"text {number}"
        names = request.schema["required"]
        best = request.schema["properties"][names[0]]["maximum"]
        scores = {name: (number >> (3 * i)) % (best + 1) for i, name in enumerate(names)}
        return str(scores).replace("'", '"')

    async def aclose(self):
        os.close(self.log)


class Noted(CachedModel):
    """Notes a call as completed once its reply is in the cache."""

    async def complete(self, request):
        completion = await super().complete(request)
        if not completion.cached:
            os.write(self.inner.log, f"completed {request_key(self.name, request)}\n".encode())
        return completion


async def run(folder, seed, latency):
    model = HashModel(folder / "calls.log", seed, latency)
    with ResponseCache(folder / "cache") as cache:
        tree = await mctsdialog.search(
            mctsdialog.sample_dialogues()[0],
            mctsdialog.Roles.from_model(Noted(model, cache)),
            mctsdialog.SearchConfig(max_iterations=30, min_iterations=30),
            journal=folder / "journal.jsonl",
        )
    await model.aclose()
    tree.check()
    mctsdialog.save_tree(tree, folder / "tree.json")


if __name__ == "__main__":
    anyio.run(run, Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
