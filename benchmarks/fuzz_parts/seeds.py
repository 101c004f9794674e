"""Valid files of every kind, made by the packages themselves before anything is mutated."""

import contextlib
import csv
import io
import json
import os
import shutil
from functools import partial
from pathlib import Path

import anyio
import stub_server
from click.testing import CliRunner

import cso_train.cli
import mctsdialog
import mctsdialog.cli
from cso_train.evaluation import ReplyToRate, write_pair_sheet, write_rating_sheet
from cso_train.evaluation._pairwise import HUMAN_CRITERIA, PairToJudge
from fuzz_parts import mutate
from mctsdialog.seekers import sample_cards, write_cards
from mctsdialog.worlds import World

WORLD = World(rounds=3)
SCENE = {"scene": "Work", "description": "Too much of it."}


def scripted():
    """A model that answers every request as the loopback server does."""

    def answer(request):
        messages = [{"content": message.content} for message in request.messages]
        schema = {} if request.schema is None else {"response_format": {"json_schema": {"schema": request.schema}}}
        return stub_server.answer(json.dumps({"messages": messages, **schema}))

    return mctsdialog.ScriptedModel(answer, name="stub")


def command(main, *words):
    """Run a command; it has to succeed."""
    done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    if done.exit_code:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.output}")


def make(folder, url):
    """Write the seeds. ``url``: the loopback server, that commands ask."""
    with contextlib.chdir(folder):
        _dialogues()
        _trees()
        _run(url)
        _datasets()
        _evaluation(url)
        _sheets()
        _settings()
        _arena()


def _dialogues():
    command(mctsdialog.cli.main, "sample", "extes.json")
    for name in ("esc", "persuasion"):
        Path(f"domain-{name}.json").write_text(mctsdialog.get_domain(name).model_dump_json(indent=1), "utf-8")
    several = json.loads(Path("extes.json").read_text("utf-8"))
    Path("extes.json").write_text(json.dumps(several[:2], indent=1), "utf-8")
    turns = [
        {"speaker": "seeker", "content": "I am tired.\n", "annotation": {}},
        {"speaker": "supporter", "content": "What of?\n", "annotation": {"strategy": "Question"}},
        {"speaker": "seeker", "content": "Of my work.", "annotation": {"feedback": "3"}},
        {"speaker": "supporter", "content": "That is hard.", "annotation": {"strategy": "Reflection of feelings"}},
    ]
    survey = {"seeker_survey": {"initial_emotion_intensity": "4"}, "supporter_survey": {"relevance": "5"}}
    item = {
        "experience_type": "Current Experience",
        "emotion_type": "anxiety",
        "problem_type": "job crisis",
        "situation": "Too much to do.",
        "survey_score": survey,
        "dialog": turns,
    }
    Path("esconv.json").write_text(json.dumps([item, {**item, "situation": "Another."}]), "utf-8")
    mctsdialog.dialogue.write_dialogues("chat.jsonl", [WORLD.dialogue(each) for each in WORLD.scenarios(3)])
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "Hello."}]
    messages += [{"role": "assistant", "content": "Hello you.", "strategy": "Affirmation"}]
    lines = [{"id": "one", **SCENE, "messages": messages}, {"id": "two", **SCENE}, {"messages": messages}]
    Path("messages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    Path("scenario.jsonl").write_text(json.dumps({"id": "start", **SCENE}) + "\n", "utf-8")


def _trees():
    async def grow():
        config = mctsdialog.SearchConfig(max_iterations=14, min_iterations=14, horizon=2, gold_visits=3)
        for number, start in enumerate((WORLD.dialogue(WORLD.scenario(0)), WORLD.scenario(1))):
            tree = await mctsdialog.search(start, WORLD.roles(), config, journal=f"search-{number}.jsonl")
            mctsdialog.save_tree(tree, f"trees/tree-{number}.json")
            for form in (0.0, 0.9):
                settings = mctsdialog.preferences.PreferenceConfig(theta=form, min_visits=1)
                copy = mctsdialog.load_tree(f"trees/tree-{number}.json")
                with contextlib.suppress(mctsdialog.MctsDialogError):
                    await mctsdialog.preferences.probe_siblings(
                        copy, WORLD.roles(), settings, journal=f"probes-{number}-{form}.jsonl"
                    )
            await mctsdialog.preferences.random_record(tree, WORLD.roles(), PAIRS, journal=f"random-{number}.jsonl")

    anyio.run(grow)


PAIRS = mctsdialog.preferences.PreferenceConfig(theta=0.3, min_visits=1)


def search_words(url):
    """What a short search by the command needs."""
    words = ["--model", "stub", "--base-url", url, "--concurrency", "1", "--timeout", "3"]
    return [*words, "--max-iterations", "2", "--min-iterations", "2", "--horizon", "1"]


SHORT = mctsdialog.SearchConfig(max_iterations=2, min_iterations=2, horizon=1)


def _run(url):
    """A run by the function, and one by the command, whose index and journals name the server."""
    words = ["search", "messages.jsonl", "--out", "served", *search_words(url)]
    command(mctsdialog.cli.main, *words)
    shutil.copytree("served/cache", "cache")
    starts = mctsdialog.read_dialogues("messages.jsonl")
    roles = mctsdialog.Roles.from_model(scripted(), domain=starts.domain)
    anyio.run(partial(mctsdialog.search_corpus, starts, lambda start: roles, SHORT, out="run", concurrency=1))
    for index in (Path("run/finished.jsonl"), Path("served/finished.jsonl")):
        lines = index.read_text("utf-8").splitlines()
        index.write_text("".join(_steady(line) + "\n" for line in lines), "utf-8")


def _steady(line):
    """A line of the index without the time that the search took, which differs from run to run."""
    value = {**json.loads(line), "seconds": 1.0}
    has_checksum = value.pop("crc", None) is not None
    return mutate.sealed(json.dumps(value)) if has_checksum else json.dumps(value)


def _datasets():
    trees = mctsdialog.preferences.read_trees("trees", PAIRS)
    mctsdialog.write_dataset({"train": trees, "test": trees}, "dataset")
    mctsdialog.write_dataset({"train": trees}, "parquet", file_type="parquet")


def _evaluation(url):
    main = cso_train.cli.main
    command(main, "testset", "chat.jsonl", "--out", "test.jsonl", "--least", "1", "--limit", "4")
    words = ["--test", "test.jsonl", "--server", url, "--no-figures", "--resamples", "5", "--out", "evaluation"]
    command(main, "evaluate", "--model", "stub", "--model", "other", *words)


def _sheets():
    pairs = [PairToJudge((f"Seeker: {n}", "Supporter: b"), f"first {n}", f"second {n}") for n in range(4)]
    write_pair_sheet("pairs", pairs, HUMAN_CRITERIA, names=("one", "two"), seed=0)
    rated = [
        ReplyToRate("gold" if n % 2 else "stub", ("Seeker: a",), f"reply {n}", ["Affirmation", None][n // 2])
        for n in range(4)
    ]
    write_rating_sheet("ratings", rated, seed=0)
    for name, cells in (("pairs", ["A", "B", "tie", ""]), ("ratings", ["1", "5", "3", "2"])):
        sheet = Path(name, "sheet.csv")
        head, *rows = csv.reader(io.StringIO(sheet.read_text("utf-8-sig")))
        text = io.StringIO()
        filled = [[cell or cells[n] for cell in row] for n, row in enumerate(rows)]
        csv.writer(text).writerows([head, *filled])
        sheet.write_text(text.getvalue(), "utf-8")


def _settings():
    done = CliRunner().invoke(cso_train.cli.main, ["config", "show"], catch_exceptions=False)
    Path("settings.yaml").write_text(done.output, "utf-8")
    short = ["model: smollm2", "method: kto", "learning_rate: 5e-7", "lora_targets: [q_proj, v_proj]", "zero_stage: 2"]
    Path("short.yaml").write_text("".join(f"{line}\n" for line in short), "utf-8")
    Path("preset.yaml").write_text("preset: qwen2.5-7b-lora-dpo\nepochs: 1 # few\n", "utf-8")


def _arena():
    from fuzz_parts.kinds_arena import arena

    write_cards(sample_cards("esc")[:4], "cards.jsonl")
    config = ["seeker: {model: m, setting: worst}", "judges: {j: {model: m}}", "cards: cards.jsonl", "repeats: 2"]
    config += ["protocols: [interactive, eia]", "budget: {calls: 5}", "success: 70.5", "systems:"]
    config += [
        "  a: {kind: model, model: m}",
        "  b: {kind: plan, model: m, calls: 12}",
        "  c: {kind: script, lines: [x]}",
    ]
    Path("arena.yaml").write_text("".join(f"{line}\n" for line in config), "utf-8")
    anyio.run(arena, "arena.journal")


class Seeds:
    """The files, each read once.

    :ivar url: of the loopback server.
    :ivar run: folder of the run that a case begins with: "run", or "served" for a command.
    """

    def __init__(self, folder, url):
        self.folder, self.url = Path(folder), url
        self.run = "run"
        self._known = {}

    def __getitem__(self, name):
        if name not in self._known:
            self._known[name] = (self.folder / name).read_bytes()
        return self._known[name]

    def json(self, name):
        return json.loads(self[name])

    def lines(self, name):
        return self[name].splitlines()

    def names(self, *patterns):
        return sorted(str(path.relative_to(self.folder)) for each in patterns for path in self.folder.glob(each))

    def copy(self, name, to):
        """A folder with its files, copied."""
        for at, _, files in os.walk(self.folder / name):
            inside = to / Path(at).relative_to(self.folder / name)
            inside.mkdir(parents=True, exist_ok=True)
            for file in sorted(files):
                (inside / file).write_bytes(self[str(Path(at, file).relative_to(self.folder))])
