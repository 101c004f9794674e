"""Every loss on the same trees, at equal optimiser steps: strategies named, and whole dialogues held with the seeker.

Trees of the calibrated search grow from the gold dialogues of a supporter who wavers, or of the best policy. All arms
of a seed start from the seed's base, see as many rows of a batch, and take as many steps; the "longer" ones take three
times as many. Some arms begin from the model that SFT on valid paths made. The dialogues that a model holds are worth
what the world's truth says of what the seeker hears: of the wording, not of the strategy that the reply names.
"""

import random
import shutil
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import anyio

import mctsdialog
from cso_train.evaluation import TransformersReplies
from cso_train.rounds import hold_dialogues
from mctsdialog.preferences import PreferenceConfig
from mctsdialog.worlds import World, strategy_of
from study_parts.claims import RESAMPLES, mean_of
from study_parts.searching import SCALE
from study_parts.tiny_model import write_dialogues
from study_parts.training import TEST, Training, cases_of, gold_dialogues, quality, trained

HELD = 500_000
"""Number of the first scenario that dialogues are held in."""


@dataclass(frozen=True)
class Arm:
    """One way of training.

    :param method: as ``--method`` takes it.
    :param settings: of the method.
    :param data: "calibrated" or "cso" for trees of that search, "random" for ESC-Pro-Random, "gold" for gold dialogues.
    :param steps: optimiser steps, as a multiple of those of all arms.
    :param start: "base", or the arm whose model it begins from, which takes its steps beforehand.
    :param rate: learning rate.
    """

    method: str
    settings: dict = field(default_factory=dict)
    data: str = "calibrated"
    steps: float = 1.0
    start: str = "base"
    rate: float = 1e-3


CONTROLS = {
    "SFT on gold": Arm("sft", data="gold"),
    "longer SFT on gold": Arm("sft", data="gold", steps=3),
    "SFT": Arm("sft"),
    "SFT twice": Arm("sft", steps=2),
    "longer SFT": Arm("sft", steps=3),
    "cso trees: SFT": Arm("sft", data="cso"),
    "cso trees: DPO": Arm("dpo", data="cso", rate=3e-4),
    "Random": Arm("dpo", data="random", rate=3e-4),
    "chosen alone": Arm("orpo", {"beta": 1e-6}),
}

LOSSES = {
    "dpo": Arm("dpo", rate=3e-4),
    "dpo, likelihood": Arm("dpo", {"nll_weight": 1.0}),
    "dpo, likelihood, confidence": Arm("dpo", {"nll_weight": 1.0, "confidence_weights": True}),
    "dpo, likelihood, smoothed": Arm("dpo", {"nll_weight": 1.0, "label_smoothing": 0.1}),
    "odpo, likelihood": Arm("odpo", {"nll_weight": 1.0}),
    "ipo": Arm("ipo", rate=3e-4),
    "simpo": Arm("simpo", rate=3e-4),
    "kto": Arm("kto", rate=3e-4),
    "orpo": Arm("orpo"),
    "infonca": Arm("infonca", rate=3e-4),
    "nca": Arm("nca", {"beta": 0.3}),
    "refuel": Arm("refuel", {"value_scale": 2.0}, rate=3e-4),
    "distill": Arm("distill"),
    "distill, cold": Arm("distill", {"value_temperature": 0.1}),
    "distill, words": Arm("distill", {"value_temperature": 0.1, "reply_weight": 5.0}),
    "distill, strategies": Arm("distill", {"strategy_weight": 2.0, "reply_weight": 0.5, "value_temperature": 0.1}),
    "SFT, then dpo, likelihood": Arm("dpo", {"nll_weight": 1.0}, start="SFT", rate=3e-4),
    "SFT, then nca": Arm("nca", {"beta": 0.3}, start="SFT", rate=3e-4),
    "SFT, then distill": Arm("distill", {"value_temperature": 0.1}, start="SFT"),
}

ARMS = CONTROLS | LOSSES


# -- data ------------------------------------------------------------------------------------------------------------


def make_trees(folder, world, golds, calls, config):
    """A data set of trees of the calibrated search, each of so many calls; what is in it."""
    limits = dict.fromkeys(("max_iterations", "min_iterations", "max_ends"), 10**9)
    search = mctsdialog.SearchConfig(algorithm="calibrated", **limits)

    async def grow():
        return [await mctsdialog.search(gold, world.roles(), search, max_calls=calls) for gold in golds]

    dataset = mctsdialog.PreferenceDataset.from_trees(anyio.run(grow), config)
    shutil.rmtree(folder, ignore_errors=True)
    mctsdialog.write_dataset({"train": dataset}, folder, formats=("tree",))
    turns = [turn for record in dataset.records for turn in record.turns()]
    replies = mean_of([len(turn.nodes) for turn in turns])
    found = {"dialogues": len(list(dataset.dialogues())), "turns": len(turns), "replies": replies}
    return found | quality(world, dataset) | {"target is best": targets_right(world, turns)}


def targets_right(world, turns):
    """Share of turns whose strategy of highest worth is the truly best one."""
    right = []
    for turn in turns:
        history = mctsdialog.worlds.strategies_of(turn.record.history(turn.parent))
        values = world.strategy_values(world.states(turn.record.scenario, history)[-1], len(history))
        known = {name: value for name, value in turn.policy.items() if value is not None}
        right.append(max(known, key=known.get) == max(values, key=values.get))
    return mean_of(right)


# -- dialogues held --------------------------------------------------------------------------------------------------


async def worth_of_held(replies, world, scenarios):
    """What the dialogues are truly worth that a model holds with the world's seeker, 0 to 4, one in each scenario."""
    limits = {"max_turns": world.rounds, "judged": False}
    held = await hold_dialogues(replies, world.roles(), scenarios, world.domain, **limits)
    heard = [[strategy_of(turn.text) for turn in each.turns if turn.speaker == "supporter"] for each in held]
    return [world.value(each.scenario, names) + SCALE for each, names in zip(held, heard, strict=True)]


# -- the screen ------------------------------------------------------------------------------------------------------


class Losses:
    """Every arm at every seed, kept as it is finished.

    :param by_wavering: whether gold is by a supporter who wavers, or by the best policy.
    """

    def __init__(self, store, preset, *, by_wavering=True):
        self.store, self.own = store, preset.losses
        sizes = replace(preset.training, **(preset.larger | self.own.sizes))
        self.training = Training(store, replace(preset, training=sizes, larger={}), by_wavering=by_wavering)
        self.training.prefix = "losses/"
        self.world, self.sizes = World(preset.seed, rounds=preset.rounds), sizes
        self.kind = "losses/wavering/" if by_wavering else "losses/best/"
        self.by_wavering = by_wavering

    @cached_property
    def cases(self):
        """The test contexts."""
        return cases_of(self.world, TEST, self.sizes)

    @cached_property
    def scenarios(self):
        """Where dialogues are held."""
        return list(self.world.scenarios(self.own.held, HELD))

    def best_worth(self):
        """Mean worth of the best dialogues of these scenarios."""
        return mean_of([self.world.best_value(scenario) + SCALE for scenario in self.scenarios])

    def gold(self, seed):
        return list(gold_dialogues(self.world, self.sizes, seed, by_wavering=self.by_wavering))

    def data(self, name, seed):
        """Where the rows of an arm are."""
        if name in ("cso", "random"):
            folder, _ = self.training.data(seed)
            return folder / {"cso": "esc-pro", "random": "esc-pro-random"}[name]
        folder = self.store.folder / "models" / self.kind.replace("/", "-") / f"{name}-{seed}"
        if name == "gold":
            folder.parent.mkdir(parents=True, exist_ok=True)
            return write_dialogues(folder.with_suffix(".jsonl"), self.world.domain, self.gold(seed))
        self.about(seed)
        return folder

    def about(self, seed):
        """What is in a seed's trees of the calibrated search."""
        folder = self.store.folder / "models" / self.kind.replace("/", "-") / f"calibrated-{seed}"
        config = PreferenceConfig(theta=self.sizes.theta, seed=seed)
        make = partial(make_trees, folder, self.world, self.gold(seed), self.own.calls, config)
        return self.store.kept(f"{self.kind}trees/{seed}", make)

    def model(self, arm, seed):
        """The folder of an arm's model, trained where it is not there."""
        if arm == "base":
            return self.training.base(seed)
        way, name = ARMS[arm], "".join(letter if letter.isalnum() else "-" for letter in arm)
        run = self.store.folder / "models" / f"{self.kind.replace('/', '-')}{name}-{seed}"
        if not (run / "done").exists():
            settings = {"batch_size": self.sizes.batch_size, "learning_rate": way.rate, "seed": seed} | way.settings
            steps = round(self.own.steps * way.steps)
            limits = {"max_steps": steps, "epochs": 10**4, "logging_steps": steps, "warmup_ratio": 0.05}
            start = self.model(way.start, seed)
            trained(run, start, self.data(way.data, seed), way.method, **settings, **limits)
            (run / "done").touch()
        return run / "model"

    def found(self, arm, seed):
        """What an arm's model says in the test contexts, and the dialogues that it holds."""

        return self.store.kept(f"{self.kind}{arm}/{seed}", lambda: self.measured(self.model(arm, seed)))

    def measured(self, folder):
        """What the model in a folder says in the test contexts, and the dialogues that it holds."""
        replies = self.replies_of(folder)
        said = anyio.run(replies.answer, [list(case.prompt) for case in self.cases])
        return {"said": said, "worth": anyio.run(worth_of_held, replies, self.world, self.scenarios)}

    def replies_of(self, folder):
        import torch

        from cso_train._models import ModelSource, load_model, load_tokenizer

        source = ModelSource.of(str(folder))
        model = load_model(source, dtype=torch.float32).eval()
        model.config.use_cache = True
        return TransformersReplies(model, load_tokenizer(source), batch_size=64, max_tokens=self.sizes.longest_reply)

    def run(self, arms, seeds):
        """By arm what was found at each seed; seed after seed, so that a stopped study has whole ones."""
        found = {arm: [] for arm in arms}
        for seed in seeds:
            for arm in arms:
                found[arm].append(self.found(arm, seed))
        return found


def worth_difference(found, arm, other):
    """(mean, low, high) of the worth of an arm's dialogues less another's.

    Paired by scenario; seeds and scenarios are resampled.
    """
    gaps = [
        [one - two for one, two in zip(mine["worth"], theirs["worth"], strict=True)]
        for mine, theirs in zip(found[arm], found[other], strict=False)
    ]
    draw, drawn = random.Random(0), []
    for _ in range(RESAMPLES):
        places = draw.choices(range(len(gaps[0])), k=len(gaps[0]))
        seeds = draw.choices(range(len(gaps)), k=len(gaps))
        drawn.append(mean_of([gaps[seed][place] for seed in seeds for place in places]))
    drawn.sort()
    return mean_of([gap for each in gaps for gap in each]), drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES)]
