"""Whether a small model can judge: real supporter turns of the sample dialogues against turns swapped in from others.

For each case the judge rates the real turn and the swapped-in one, by the digits that it writes and by expected scores
out of the same replies. A judge that guesses prefers the real turn in half of the cases.

    python benchmarks/judge_signal.py --limit 48
"""

import argparse
import sys
import time
from pathlib import Path

import anyio
from common import table, write

import mctsdialog
from mctsdialog.llm import ChatRequest, LocalChat, ModelLayer
from mctsdialog.roles import judge_signal, signal_cases


class SharedReplies(ModelLayer):
    """Asks for log-probabilities always, and for each prompt once: both scorings read the same replies."""

    def __init__(self, inner):
        super().__init__(inner)
        self.replies = {}

    async def complete(self, request):
        key = (request.messages, request.sample)
        if key not in self.replies:
            asked = ChatRequest(
                request.messages, request.sampling, request.schema, request.sample, request.accept, logprobs=8
            )
            self.replies[key] = await self.inner.complete(asked)
        return self.replies[key]


async def measure(model, limit, seed, say=lambda text: print(text, file=sys.stderr, flush=True)):
    """A row for each scoring."""
    cases = signal_cases(list(mctsdialog.sample_dialogues()), limit=limit, seed=seed)
    shared, rows = SharedReplies(model), []
    for scoring in ("expected", "digits"):
        began = time.monotonic()

        def progress(done, total, scoring=scoring, began=began):
            say(f"{scoring}: {done} of {total} cases, {time.monotonic() - began:.0f} s")

        roles = mctsdialog.Roles.from_model(shared, judge=scoring)
        signal = await judge_signal(roles, cases, on_progress=progress)
        low, high = signal.interval
        rows.append(
            {
                "scores": scoring, "cases": signal.cases, "better": signal.better, "equal": signal.equal,
                "worse": signal.worse, "share": signal.share, "low": low, "high": high, "tells": signal.tells_apart,
            }
        )  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=48, help="most cases")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of cases")
    parser.add_argument("--seconds", type=float, default=1800, help="give up after this long")
    parser.add_argument("--model", type=Path, help="a GGUF file; default: the embedded model")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()

    async def run():
        with anyio.fail_after(arguments.seconds):
            async with LocalChat(arguments.model) as model:
                return model.name, await measure(model, arguments.limit, arguments.seed)

    name, rows = anyio.run(run)
    columns = {
        "scores": ("scores", ""), "cases": ("cases", "d"), "real above": ("better", "d"), "equal": ("equal", "d"),
        "below": ("worse", "d"),
        "prefers the real turn": ("share", ".0%"), "from": ("low", ".0%"), "to": ("high", ".0%"),
    }  # fmt: skip
    print(f"{name}, 95 % intervals\n")
    print(table(rows, columns))
    write(arguments.out, model=name, rows=rows)


if __name__ == "__main__":
    main()
