"""CSO against SFT in a simulated world: data from searched trees, a small model trained every way, held-out scenarios.

A base model is trained to talk as the world's biased strategist chooses. Seed dialogues by the best policy are grown
into trees, and the trees made into ESC-Pro, ESC-Pro-SFT and ESC-Pro-Random by the package's own code. At every seed all
arms start from the same base, as in section 5 of the paper, and are scored where the best policy's choice is known.
Base and data are other ones at every seed: what one base makes of the same data differs much from what another does.
"""

import contextlib
import io
import random
import shutil
from dataclasses import replace
from functools import cached_property, partial

import anyio

import mctsdialog
from cso_train import resolve_config
from cso_train.evaluation import build_test_set, evaluate_replies
from mctsdialog._search import CheckedRoles
from mctsdialog.dialogue import Dialogue
from mctsdialog.preferences import DatasetBuilder
from mctsdialog.worlds import World
from study_parts.searching import SCALE, drawn, exchange, opened, wavering
from study_parts.tiny_model import make_model, write_dialogues

BASE, SEEDS, TEST, VALIDATION = 100_000, 200_000, 300_000, 400_000
"""Numbers of the first scenarios that the base speaks in, that trees grow from, and that models are scored on."""

ARMS = {
    "SFT": ("sft", "esc-pro", {}),
    "CSO": ("dpo", "esc-pro", {}),
    "CSO-Random": ("dpo", "esc-pro-random", {}),
    "CSO-IPO": ("ipo", "esc-pro", {}),
    "CSO-SimPO": ("simpo", "esc-pro", {}),
    "CSO-KTO": ("kto", "esc-pro", {}),
    "CSO-ORPO": ("orpo", "esc-pro", {"prompt_likelihood": True}),  # as the published figures were measured
    "chosen alone": ("orpo", "esc-pro", {"beta": 1e-6, "prompt_likelihood": True}),
    "longer SFT": ("sft", "esc-pro", {"epochs": 14}),
}
"""Method, data and settings by arm. CSO is by DPO. The last two are controls of ORPO: "chosen alone" is ORPO without
its preference term, what the chosen replies teach by themselves, each as often as it stands in a pair; "longer SFT"
takes about as many steps as the methods on pairs, of which there are more than dialogues."""

LARGER_ARMS = ("SFT", "CSO", "CSO-ORPO", "chosen alone", "longer SFT")
"""What the larger model is trained by."""


# -- data ----------------------------------------------------------------------------------------------------------


async def spoken_by_strategist(world, number, temperature):
    """A dialogue whose strategies are drawn from the strategist's scores, biased as they are."""
    scenario, draw, names = world.scenario(number), random.Random(number), world.domain.strategies.names
    players = CheckedRoles(world.roles().bind(scenario), world.domain)
    history, ended = await opened(players), False
    while not ended:
        strategy = drawn(draw, names, await players.scores(history), temperature)
        history, ended = await exchange(players, history, strategy)
    return Dialogue(**scenario.model_dump(), turns=history.full)


def gold_dialogues(world, sizes, seed, *, by_wavering):
    """What a seed's trees grow from: dialogues by the best policy, or by a supporter who wavers."""
    for scenario in world.scenarios(sizes.seed_dialogues, SEEDS + seed * 1000):
        policy = wavering(world, scenario, sizes.base_temperature) if by_wavering else None
        yield world.dialogue(scenario, policy)


def make_data(folder, world, sizes, seed, *, by_wavering=False):
    """ESC-Pro, ESC-Pro-Random and smaller ESC-Pros, as folders; what is in them."""
    search = mctsdialog.SearchConfig(max_iterations=sizes.iterations, min_iterations=sizes.iterations, max_ends=10**9)

    async def make():
        golds = gold_dialogues(world, sizes, seed, by_wavering=by_wavering)
        trees = [await mctsdialog.search(gold, world.roles(), search) for gold in golds]
        config = mctsdialog.preferences.PreferenceConfig(theta=sizes.theta, seed=seed)
        at_random = DatasetBuilder(config)
        for tree in trees:
            at_random.add(tree, (await mctsdialog.preferences.random_record(tree, world.roles(), config))[0])
        return mctsdialog.PreferenceDataset.from_trees(trees, config), at_random.build()

    dataset, at_random = anyio.run(make)
    paths = len(list(dataset.paths()))
    parts = {"esc-pro": dataset, "esc-pro-random": at_random}
    every = sum(len(record.ends) for record in dataset.records)
    parts |= {volume_name(share): dataset.subset(max(1, round(share * every))) for share in sizes.volumes}
    counts = {}
    for name, part in parts.items():
        shutil.rmtree(folder / name, ignore_errors=True)
        mctsdialog.write_dataset({"train": part}, folder / name)
        counts[name] = {"dialogues": len(list(part.dialogues())), **quality(world, part)}
    return {"seeds": sizes.seed_dialogues, "paths": paths, "report": str(dataset.report), "parts": counts}


def volume_name(share):
    return f"esc-pro-{round(100 * share)}"


def quality(world, dataset):
    """How many pairs there are, and the shares that the world's truth agrees with."""
    right = best = favourite = count = 0
    for pair in dataset.pairs():
        strategies = mctsdialog.worlds.strategies_of(pair.history)
        state = world.states(pair.record.scenario, strategies)[-1]
        values = world.strategy_values(state, len(strategies))
        count += 1
        right += values[pair.chosen.strategy] > values[pair.rejected.strategy]
        best += pair.chosen.strategy == max(values, key=values.get)
        favourite += pair.rejected.strategy in world.favourites
    shares = {"right": right, "chosen is best": best, "rejected is a favourite": favourite}
    return {"pairs": count, **{name: found / count if count else None for name, found in shares.items()}}


# -- models --------------------------------------------------------------------------------------------------------


def make_base(folder, world, sizes, seed):
    """The base model's folder: a random model trained on dialogues of the biased strategist."""
    first = BASE + seed * 10_000

    async def make():
        numbers = range(first, first + sizes.base_dialogues)
        return [await spoken_by_strategist(world, number, sizes.base_temperature) for number in numbers]

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dialogues = anyio.run(make)
    texts = [turn.text for each in dialogues for turn in each.turns]
    random_model = make_model(folder / "random", world.domain, texts, sizes, seed)
    data = write_dialogues(folder / "dialogues.jsonl", world.domain, dialogues)
    settings = {"epochs": sizes.base_epochs, "learning_rate": sizes.base_rate, "batch_size": 16, "seed": seed}
    settings |= {"lr_scheduler": "cosine", **sizes.base_settings}
    trained(folder / "run", random_model, data, "sft", **settings)
    return str(folder / "run" / "model")


def trained(folder, model, data, method, **settings):
    """Train by the package's own code, all parameters; the folder of the model."""
    from cso_train import train

    shutil.rmtree(folder, ignore_errors=True)
    settings.setdefault("per_device_batch_size", settings["batch_size"])
    given = {"model": str(model), "data": str(data), "method": method, "lora": False, "output_dir": str(folder)}
    given |= {"gradient_checkpointing": False, "save_steps": 10**6, "max_length": 1024, "max_completion_tokens": 128}
    with contextlib.redirect_stdout(io.StringIO()):  # a line for every ten steps
        result = train(resolve_config(None, None, given | settings), say=lambda line: None)
    if not result.finished:
        raise KeyboardInterrupt
    return folder / "model"


def cases_of(world, first, sizes):
    """Contexts of held-out scenarios, the best policy's choice and reply in each."""
    dialogues = [world.dialogue(scenario) for scenario in world.scenarios(sizes.test_dialogues, first)]
    return build_test_set(dialogues, world.domain, min_turns=1)  # some strategies are the best in early turns alone


def answered(model_folder, cases, sizes):
    """What a model says in each context."""
    import torch

    from cso_train._models import ModelSource, load_model, load_tokenizer
    from cso_train.evaluation import TransformersReplies

    source = ModelSource.of(str(model_folder))
    model = load_model(source, dtype=torch.float32).eval()
    model.config.use_cache = True
    replies = TransformersReplies(model, load_tokenizer(source), batch_size=64, max_tokens=sizes.longest_reply)
    return anyio.run(replies.answer, [list(case.prompt) for case in cases])


def scores(cases, said, domain, places=None):
    """The paper's measures, of all cases or of those at some places."""
    places = range(len(cases)) if places is None else places
    gold = [(cases[at].strategy, cases[at].text) for at in places]
    return evaluate_replies(gold, [said[at] for at in places], domain.strategies, resamples=0)


# -- the study -----------------------------------------------------------------------------------------------------


class Training:
    """Every arm at every seed, kept as it is finished.

    :param store: of the study.
    :param preset: its sizes.
    :param larger: of the larger model, on the same data and that of more seeds.
    :param by_wavering: whether gold dialogues are by a supporter who wavers instead of the best policy.
    """

    def __init__(self, store, preset, *, larger=False, by_wavering=False):
        self.store, self.sizes = store, replace(preset.training, **(preset.larger if larger else {}))
        self.world = World(preset.seed, rounds=preset.rounds)
        self.folder = store.folder / "models"
        self.prefix = "larger/" if larger else ""
        self.by_wavering, self.kind = by_wavering, "wavering/" if by_wavering else ""

    def base(self, seed):
        """The folder of a seed's base model."""
        folder = self.folder / f"{self.prefix}base-{seed}"
        self.store.kept(f"{self.prefix}base/{seed}", partial(make_base, folder, self.world, self.sizes, seed))
        return folder / "run" / "model"

    def data(self, seed):
        """Where a seed's data is, and what is in it."""
        folder = self.folder / f"{self.kind}data-{seed}"
        make = partial(make_data, folder, self.world, self.sizes, seed, by_wavering=self.by_wavering)
        return folder, self.store.kept(f"{self.kind}data/{seed}", make)

    def gold_worth(self, *, by_wavering):
        """Mean worth, from 0 to 4, of the dialogues that trees grow from."""
        made = [
            self.world.value(gold, mctsdialog.worlds.strategies_of(gold.turns)) + SCALE
            for seed in self.sizes.seeds
            for gold in gold_dialogues(self.world, self.sizes, seed, by_wavering=by_wavering)
        ]
        return sum(made) / len(made)

    @cached_property
    def cases(self):
        """The test contexts."""
        return cases_of(self.world, TEST, self.sizes)

    def rate(self, arm):
        """The learning rate of the arm's method: of several, the one that is best on the validation scenarios."""
        method = ARMS[arm][0]
        rates = self.sizes.rates[method]
        arm = next(each for each, (its_method, *_) in ARMS.items() if its_method == method)
        if len(rates) == 1:
            return rates[0]

        def best():
            cases = cases_of(self.world, VALIDATION, self.sizes)

            def score(rate):
                said = self._replies(f"tuning/{method}/{rate:g}", arm, ARMS[arm][1], 0, rate, cases)
                return scores(cases, said, self.world.domain).macro_f1.value

            return max(rates, key=score)

        return self.store.kept(f"{self.prefix}{self.kind}rate/{method}", best)

    def replies(self, arm, seed, data=None):
        """What the arm's model says in the test contexts."""
        if arm == "base":
            name = f"{self.prefix}replies/base/{seed}"
            return self.store.kept(name, lambda: answered(self.base(seed), self.cases, self.sizes))
        data = data or ARMS[arm][1]
        return self._replies(f"replies/{arm}/{data}/{seed}", arm, data, seed, self.rate(arm), self.cases)

    def _replies(self, name, arm, data, seed, rate, cases):
        name = self.prefix + self.kind + name

        def make():
            base, (folder, _) = self.base(seed), self.data(seed)
            settings = {"epochs": self.sizes.epochs, "batch_size": self.sizes.batch_size, "learning_rate": rate}
            method, _, own = ARMS[arm]
            settings |= self.sizes.settings.get(method, {}) | own
            run = self.folder / name.replace("/", "-")
            said = answered(trained(run, base, folder / data, method, seed=seed, **settings), cases, self.sizes)
            shutil.rmtree(run)
            return said

        return self.store.kept(name, make)

    def run(self):
        """Everything; by arm the replies of each seed."""
        found = self.arms(ARMS)
        volumes = {
            share: [self.replies("CSO", seed, volume_name(share)) for seed in self.sizes.seeds]
            for share in self.sizes.volumes
        }
        return found, volumes

    def arms(self, names):
        """By arm the replies of each seed, the base first."""
        return {arm: [self.replies(arm, seed) for seed in self.sizes.seeds] for arm in ("base", *names)}
