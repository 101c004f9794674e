"""Does training on searched trees pay? A tiny model in a simulated world, before and after.

A random Llama of 0.4 million parameters learns to talk as the world's biased strategist chooses. Then imperfect
dialogues are searched twice with the same number of calls, by the paper's search and by ``calibrated``, and one copy of
the model is trained on the best dialogues of each, with as many steps. Every model holds whole dialogues with seekers
that it has not met, taking its likeliest reply, and the world says what they are worth. A world is a test bed, not
people: this shows that the machinery works, not what it does for a large model.

Run: python examples/train_in_a_world.py [--out FOLDER] [--seeds N]; about three minutes a seed on two cores.
It needs pip install "mctsdialog[train]" (a CPU build of torch will do).
"""

import argparse
import contextlib
import io
import json
import math
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import transformers
from study_parts.tiny_model import make_model, write_dialogues

import cso_train
import mctsdialog
from cso_train.evaluation import TransformersReplies, bootstrap_interval
from mctsdialog.preferences import PreferenceConfig, chat_messages, parse_reply, system_prompt
from mctsdialog.worlds import World, strategies_of

ALGORITHMS = {"the paper's search": "cso", "calibrated search": "calibrated"}
BEFORE = "before"
BASE, GOLD, HELD_OUT = 100_000, 200_000, 300_000  # numbers of the first scenarios
SCALE = 3.0  # worth is on the judge's scale, 0 to 4
SEED_APART = 10_000  # scenarios between those of two seeds


@dataclass(frozen=True)
class Sizes:
    """What takes the time."""

    spoken: int = 400  # dialogues that the model learns to speak from
    spoken_epochs: int = 6
    searched: int = 40  # dialogues that are searched
    calls: int = 1000  # of each search
    steps: int = 120  # of training on the trees, the same for both
    held_out: int = 100  # dialogues that each model holds
    # the model's own
    vocabulary: int = 4000
    hidden: int = 64
    layers: int = 2
    tied: bool = True
    sentences: bool = False


SMALL = Sizes(
    spoken=8, spoken_epochs=1, searched=2, calls=300, steps=2, held_out=3, vocabulary=600, hidden=16, layers=1
)


# -- dialogues -----------------------------------------------------------------------------------------------------


async def talk(world, scenario, choose):
    """A dialogue of the world whose supporter takes the strategy that ``choose(history)`` gives."""
    roles, turns = world.roles().bind(scenario), []
    while (said := await roles.seeker.reply(turns)) is not None:
        turns.append(mctsdialog.Turn("seeker", said))
        strategy = await choose(roles, turns)
        turns.append(mctsdialog.Turn("supporter", await roles.supporter.reply(turns, strategy), strategy))
    return mctsdialog.Dialogue(**scenario.model_dump(), turns=turns)


def biased(number, temperature=1.5):
    """Chooses as language models do: by the strategist's ratings, favourites and all."""
    draw = random.Random(number)

    async def choose(roles, turns):
        scores = await roles.strategist.score(turns)
        weights = [math.exp(score / temperature) for score in scores.values()]
        return draw.choices(list(scores), weights)[0]

    return choose


def wavering(world, scenario):
    """Chooses as imperfect people do: at every other turn the best strategy, else by the ratings."""
    draw, by_ratings = random.Random(scenario.id), biased(scenario.id)

    async def choose(roles, turns):
        if draw.random() < 0.5:
            strategies = strategies_of(turns)
            return world.best_strategy(world.states(scenario, strategies)[-1], len(strategies))
        return await by_ratings(roles, turns)

    return choose


def worth(world, dialogue):
    """The true worth of a dialogue, 0 to 4."""
    return world.value(dialogue.scenario, strategies_of(dialogue.turns)) + SCALE


async def searched(golds, world, algorithm, calls):
    """The best dialogues of the trees that grow from gold dialogues."""
    limits = dict.fromkeys(("max_iterations", "min_iterations", "max_ends"), 10**6)
    config = mctsdialog.SearchConfig(algorithm=algorithm, **limits)
    trees = [await mctsdialog.search(gold, world.roles(), config, max_calls=calls) for gold in golds]
    wanted = PreferenceConfig(theta=-0.4)  # this world's judge is stern: the paper's 0.5 is out of reach
    return mctsdialog.PreferenceDataset.from_trees(trees, wanted)


# -- the model -----------------------------------------------------------------------------------------------------


def trained(folder, model, data, **settings):
    """Supervised training of all parameters; the folder of the model."""
    given = {"model": model, "data": data, "method": "sft", "lora": False, "output_dir": folder, "batch_size": 16}
    given |= {"per_device_batch_size": 16, "gradient_checkpointing": False, "max_length": 1024, "save_steps": 10**6}
    given |= {"max_completion_tokens": 128, "packing": "none", "lr_scheduler": "cosine", **settings}
    with contextlib.redirect_stdout(io.StringIO()):  # its log is FOLDER/metrics.jsonl
        result = cso_train.train(cso_train.resolve_config(**{name: _plain(each) for name, each in given.items()}))
    if not result.finished:
        sys.exit("stopped")
    return folder / "model"


def _plain(value):
    return str(value) if isinstance(value, Path) else value


async def held(world, model, scenarios):
    """Whole dialogues that a model holds, all at once, and how many replies named no strategy.

    Such a reply counts as the worst strategy of the moment.
    """
    supporter = TransformersReplies(*cso_train.load_for_answers(str(model)), batch_size=128, max_tokens=24)
    system = {"role": "system", "content": system_prompt(world.domain)}
    seekers = [world.roles().bind(scenario).seeker for scenario in scenarios]
    dialogues, nameless = [[] for _ in scenarios], 0
    for _ in range(world.rounds):
        for turns, seeker in zip(dialogues, seekers, strict=True):
            turns.append(mctsdialog.Turn("seeker", await seeker.reply(turns)))
        replies = await supporter.answer([[system, *chat_messages(turns)] for turns in dialogues])
        for scenario, turns, reply in zip(scenarios, dialogues, replies, strict=True):
            strategy, text = parse_reply(reply, world.domain.strategies)
            nameless += strategy is None
            turns.append(mctsdialog.Turn("supporter", text or "...", strategy or worst(world, scenario, turns)))
    made = [
        mctsdialog.Dialogue(**scenario.model_dump(), turns=turns)
        for scenario, turns in zip(scenarios, dialogues, strict=True)
    ]
    return made, nameless


def worst(world, scenario, turns):
    state = world.states(scenario, strategies_of(turns))[-1]
    return min(world.domain.strategies.names, key=lambda name: world.reward(state, name))


# -- the comparison ------------------------------------------------------------------------------------------------


async def one_seed(world, sizes, seed, folder, say):
    """Worth of the held-out dialogues by model, of what the model learned to speak from, and of what was searched."""
    apart = seed * SEED_APART
    numbers = range(BASE + apart, BASE + apart + sizes.spoken)
    spoken = [await talk(world, world.scenario(number), biased(number)) for number in numbers]
    texts = [turn.text for each in spoken for turn in each.turns]
    folder.mkdir(parents=True, exist_ok=True)
    random_model = make_model(folder / "random", world.domain, texts, sizes, seed)
    rows = write_dialogues(folder / "spoken.jsonl", world.domain, spoken)
    base = trained(folder / BEFORE, random_model, rows, epochs=sizes.spoken_epochs, learning_rate=8e-3, seed=seed)
    say(f"the tiny model has learned {sizes.spoken} dialogues of a strategist that over-rates some strategies")
    models = {BEFORE: base}
    golds = [
        await talk(world, scenario, wavering(world, scenario))
        for scenario in world.scenarios(sizes.searched, GOLD + apart)
    ]
    for name, algorithm in ALGORITHMS.items():
        dataset = await searched(golds, world, algorithm, sizes.calls)
        mctsdialog.write_dataset({"train": dataset}, folder / f"data-{algorithm}")
        say(f"{name}: {sizes.searched} dialogues, {sizes.calls:,} calls each: {len(list(dataset.paths()))} good paths")
        data = folder / f"data-{algorithm}"
        models[name] = trained(folder / algorithm, base, data, max_steps=sizes.steps, learning_rate=1e-3, seed=seed)
        say(f"  ... and a copy of the model was trained on them (SFT, {sizes.steps} steps)")
    scenarios = list(world.scenarios(sizes.held_out, HELD_OUT))
    found = {}
    for name, model in models.items():
        dialogues, nameless = await held(world, model, scenarios)
        found[name] = [worth(world, each) for each in dialogues]
        of = sizes.held_out * world.rounds
        say(f"{sizes.held_out} dialogues with new seekers, {name}: {nameless} of {of} replies named no strategy")
    return {
        "models": found,
        "spoken": [worth(world, each) for each in spoken],
        "searched": [worth(world, each) for each in golds],
    }


def interval(values):
    """Mean over seeds and scenarios, and its 95 % bootstrap interval: scenarios are drawn whole, with all their seeds.

    :param values: by seed, one of each scenario.
    """
    flat = [value for each in values for value in each]
    groups = [place for each in values for place in range(len(each))]
    return bootstrap_interval(len(flat), lambda places: fmean(flat[at] for at in places), groups=groups)


def report(seeds, best):
    """What was found, as lines."""
    by_seed = [each["models"] for each in seeds]
    lines = ["", "True worth of whole dialogues with seekers the model has not met, 0 to 4 (95 % interval):"]
    rows = {name: interval([found[name] for found in by_seed]) for name in by_seed[0]}
    after = {name: f"after SFT on trees of {name}" for name in ALGORITHMS}
    for name, each in rows.items():
        lines.append(f"  {each.value:.2f}  ({each.low:.2f} to {each.high:.2f})  {after.get(name, name)}")
    others = {
        "the biased dialogues it learned to speak from": [value for each in seeds for value in each["spoken"]],
        "the dialogues that were searched": [value for each in seeds for value in each["searched"]],
        "the best possible": best,
    }
    lines += [f"  {fmean(values):.2f}                  {name}" for name, values in others.items()]
    lines.append("Differences on the same seekers, paired:")
    paper, calibrated = ALGORITHMS
    for more, less in ((paper, BEFORE), (calibrated, BEFORE), (calibrated, paper)):
        parts = [[a - b for a, b in zip(found[more], found[less], strict=True)] for found in by_seed]
        each = interval(parts)
        apart = f"; by seed {', '.join(f'{fmean(part):+.2f}' for part in parts)}" if len(parts) > 1 else ""
        lines.append(f"  {each.value:+.2f}  ({each.low:+.2f} to {each.high:+.2f})  {more} against {less}{apart}")
    if len(by_seed) == 1:
        lines.append(
            "One base model and one set of trees: the intervals cover other seekers, not another base (--seeds 3)."
        )
    return lines


def headline(seeds):
    """The result in one line."""
    by_seed = [each["models"] for each in seeds]
    paper, calibrated = ALGORITHMS
    mean = {name: fmean(value for found in by_seed for value in found[name]) for name in by_seed[0]}
    gain = interval([[a - b for a, b in zip(found[calibrated], found[paper], strict=True)] for found in by_seed])
    return (
        f"A tiny model's dialogues are worth {mean[BEFORE]:.2f} before, {mean[paper]:.2f} after training on trees of "
        f"{paper}, {mean[calibrated]:.2f} of {calibrated} (difference {gain.low:+.2f} to {gain.high:+.2f})."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("train-in-a-world"), help="folder (default: train-in-a-world)")
    parser.add_argument("--seeds", type=int, default=1, help="base models and sets of trees, 1 or more (default: 1)")
    parser.add_argument("--small", action="store_true", help="far too small to show anything: to see that it runs")
    arguments = parser.parse_args()
    for name, value in {"DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false"}.items():
        os.environ.setdefault(name, value)
    transformers.utils.logging.disable_progress_bar()
    world, sizes = World(7), SMALL if arguments.small else Sizes()
    settings = {**asdict(sizes), "seeds": arguments.seeds}
    file = arguments.out / "result.json"
    if file.exists() and (kept := json.loads(file.read_text("utf-8")))["settings"] == settings:
        print(f"from an earlier run, {file}:")
    else:
        begun = time.monotonic()

        def say(line):
            print(f"{time.monotonic() - begun:4.0f} s  {line}", flush=True)

        kept = {"settings": settings, "seeds": []}
        for seed in range(arguments.seeds):
            folder = arguments.out / f"seed-{seed}"
            say("a random tiny model learns to talk; this takes a minute or two")
            kept["seeds"].append(mctsdialog.run(one_seed(world, sizes, seed, folder, say)))
        kept["best"] = [world.best_value(each) + SCALE for each in world.scenarios(sizes.held_out, HELD_OUT)]
        file.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    (arguments.out / "headline.txt").write_text(headline(kept["seeds"]) + "\n", "utf-8")
    print("\n".join(report(kept["seeds"], kept["best"])))


if __name__ == "__main__":
    main()
