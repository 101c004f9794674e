"""A program of a user, for type checkers alone: the public API as it is seen from outside the package.

What a checker must refuse is marked; a mark that is not needed is an error, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import assert_type

import cso_train
import mctsdialog
from mctsdialog.dialogue import Criterion, RoleDescription


class Careful:
    """A strategist of one's own."""

    async def score(self, history: Sequence[mctsdialog.Turn], /) -> dict[str, int]:
        return {strategy.name: 5 for strategy in mctsdialog.get_domain("esc").strategies}


class Hasty:
    """What is no strategist: it does not wait."""

    def score(self, history: Sequence[mctsdialog.Turn], /) -> dict[str, int]:
        return {}


class Echo:
    """A model of one's own."""

    name = "echo"

    async def complete(self, request: mctsdialog.llm.ChatRequest) -> mctsdialog.llm.Completion:
        return mctsdialog.llm.Completion(
            request.messages[-1].content, "stop", mctsdialog.llm.Usage(1, 1), 0.0, self.name
        )

    async def aclose(self) -> None:
        return None


@mctsdialog.algorithms.register
class Once(mctsdialog.algorithms.BatchSearch):
    """An algorithm of one's own."""

    name = "once"

    def batches(self) -> Iterator[Sequence[mctsdialog.algorithms.Request]]:
        yield [mctsdialog.algorithms.Request("score", self.tree.root.id)]
        yield [mctsdialog.algorithms.Request("hear", 1)]  # type: ignore[arg-type]


async def search(dialogue: mctsdialog.Dialogue, folder: Path) -> mctsdialog.Tree:
    cache = mctsdialog.ResponseCache(folder / "cache")
    budget = mctsdialog.Budget(money=1.0, prices={"echo": mctsdialog.llm.Price(input=0.1, output=0.2)})
    model = mctsdialog.build_stack(Echo(), cache=cache, budget=budget, limits=mctsdialog.llm.Limits(concurrency=8))
    assert_type(model, mctsdialog.ChatModel)
    plain = mctsdialog.Roles.from_model(model)
    roles = mctsdialog.Roles(plain.seeker, plain.supporter, Careful(), plain.judge)
    mctsdialog.Roles(plain.seeker, plain.supporter, Hasty(), plain.judge)  # type: ignore[arg-type]
    config = mctsdialog.SearchConfig(max_iterations=10, horizon=2, algorithm="once")
    assert_type(config.c, float)
    tree = await mctsdialog.search(dialogue, roles, config, journal=folder / "journal.jsonl")
    await mctsdialog.search(dialogue, roles, config, jornal="typo")  # type: ignore[call-arg]
    return assert_type(tree, mctsdialog.Tree)


def read(tree: mctsdialog.Tree) -> float:
    total = 0.0
    for node in tree:
        if isinstance(node, mctsdialog.EndNode):
            assert_type(node.supporter, str)
            assert_type(node.value, float)
            total += node.prior * node.visits
        if isinstance(node, mctsdialog.UnexpandedNode):
            assert_type(node.supporter, None)
    best = tree.best_path()
    if best:
        total += best.value + len(best.nodes)
    return total


def pairs(trees: Sequence[mctsdialog.Tree], folder: Path) -> dict[str, str | None]:
    dataset = mctsdialog.PreferenceDataset.from_trees(trees, mctsdialog.preferences.PreferenceConfig(theta=0.5))
    mctsdialog.write_dataset({"train": dataset}, folder, license="cc-by-nc-4.0")
    for pair in mctsdialog.preference_pairs(trees[0], path_rule="end"):
        assert_type(pair, mctsdialog.preferences.PreferencePair)
        assert_type(pair.chosen.supporter, str)
        assert_type(pair.margin, float | None)
    mctsdialog.preference_pairs(trees[0], path_rule="some")  # type: ignore[arg-type]
    return {turn.text: turn.strategy for turn in trees[0].history(trees[0].root)}


def domain() -> mctsdialog.Domain:
    return mctsdialog.Domain(
        name="tutoring",
        strategies=mctsdialog.StrategySet(
            strategies=(mctsdialog.Strategy(name="Ask"), mctsdialog.Strategy(name="Hint"))
        ),
        seeker=RoleDescription(name="student"),
        supporter=RoleDescription(name="tutor"),
        rubric=(Criterion(name="learning", levels=("none", "some")),),
        weights={"learning": 1.0},
    )


def tell(error: mctsdialog.MctsDialogError) -> str:
    if isinstance(error, mctsdialog.DataError):
        assert_type(error.file, str | None)
        return error.reason
    if isinstance(error, mctsdialog.ReplyError):
        return error.role + (error.last_reply or "")
    return str(error)


def training(options: Mapping[str, object]) -> tuple[str, float]:
    resolved = cso_train.resolve_config("llama3.1-8b-lora-dpo", None, dict(options))
    config = resolved.config
    assert_type(config, cso_train.TrainConfig)
    assert_type(config.learning_rate, float)
    _ = config.learnin_rate  # type: ignore[attr-defined]
    return config.method, config.learning_rate
