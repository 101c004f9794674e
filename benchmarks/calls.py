"""Model calls for so many iterations: this search against the same algorithm done naively, on the same seeds.

Naively: no reply is kept, so that where the search comes to a turn that a simulation went through before, or to an end
again, its replies, scores and judgements are asked for anew. Ours answers equal requests from the cache.
Run: python benchmarks/calls.py [--out FILE] [--seeds N] [--iterations N ...]
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import anyio
import common

import mctsdialog
from mctsdialog.llm import ModelLayer


class Pure(mctsdialog.ScriptedModel):
    """Answers by a hash of the request and a seed."""

    def __init__(self, seed):
        super().__init__(self.answer)
        self.seed = seed

    def answer(self, request):
        text = "".join(message.content for message in request.messages)
        key = int.from_bytes(hashlib.sha256(f"{self.seed} {text}".encode()).digest()[:8], "big")
        if request.schema is None:
            return "Goodbye. </end/>" if key % 9 == 0 else f"Reply {key % 10**6}."
        names = request.schema["required"]
        best = request.schema["properties"][names[0]]["maximum"]
        return json.dumps({name: (key >> 3 * index) % (best + 1) for index, name in enumerate(names)})


class Asked(ModelLayer):
    """Counts what the roles ask for, whether or not it is answered from the cache."""

    count = 0

    async def complete(self, request):
        Asked.count += 1
        return await self.inner.complete(request)


async def one(seed, iterations):
    """(calls that went out, calls that were asked for) of one search."""
    model = Pure(seed)
    Asked.count = 0
    config = mctsdialog.SearchConfig(max_iterations=iterations, min_iterations=iterations, max_ends=10**9)
    with tempfile.TemporaryDirectory() as folder, mctsdialog.ResponseCache(folder) as cache:
        roles = mctsdialog.Roles.from_model(Asked(mctsdialog.build_stack(model, cache=cache)))
        dialogue = mctsdialog.sample_dialogues()[seed % 12]
        await mctsdialog.search(dialogue, roles, config)
    return model.calls, Asked.count


def measure(arguments):
    rows = []
    for iterations in arguments.iterations:
        found = [anyio.run(one, seed, iterations) for seed in range(arguments.seeds)]
        made, naive = (sum(each) for each in zip(*found, strict=True))
        rows.append(
            {"iterations": iterations, "ours": made / len(found), "naive": naive / len(found), "ratio": naive / made}
        )
    return rows


COLUMNS = {
    "iterations": ("iterations", "d"),
    "calls": ("ours", ".1f"),
    "calls, naively": ("naive", ".1f"),
    "ratio": ("ratio", ".2f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--iterations", type=int, nargs="+", default=[25, 50, 100, 200])
    arguments = parser.parse_args()
    rows = measure(arguments)
    print(common.table(rows, COLUMNS))
    common.write(arguments.out, rows=rows)


if __name__ == "__main__":
    main()
