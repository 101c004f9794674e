"""Rounds of search and training in a small world: every stage is kept, resumed, and told."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import mctsdialog
from cso_train import TrainConfigError, TrainDataError
from cso_train.errors import RunError
from mctsdialog.dialogue import Turn
from mctsdialog.worlds import World

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train import TrainedStrategist  # noqa: E402
from cso_train._models import load_for_answers  # noqa: E402
from cso_train.cli import main  # noqa: E402
from cso_train.rounds import RoundsConfig, hold_dialogues, read_rounds_config, run_rounds  # noqa: E402
from cso_train.rounds import _run as running  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the trainers' own warnings

WORLD = World(7)
TRAINING = "{method: distill, lora: false, max_steps: 1, batch_size: 4, max_length: 1500, max_completion_tokens: 256}"


@pytest.fixture
def dialogues(tmp_path):
    """Gold dialogues of the world, as a file."""
    path = tmp_path / "dialogues.json"
    mctsdialog.write_dialogues(path, [WORLD.dialogue(scenario) for scenario in WORLD.scenarios(4)])
    return path


@pytest.fixture(scope="module")
def small_folder(tiny_folder, tmp_path_factory):
    """The small model, with the domain's system prompt and strategies as one token each."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_folder)
    names = [f"({name})" for name in WORLD.domain.strategies.names]
    tokenizer.add_tokens([mctsdialog.preferences.system_prompt(WORLD.domain), *names])
    model.resize_token_embeddings(len(tokenizer))
    folder = tmp_path_factory.mktemp("small")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def settings(tmp_path, dialogues, small_folder):
    """A file of settings: two rounds of one small tree each."""
    path = tmp_path / "rounds.yaml"
    search = "{algorithm: beam, max_iterations: 16, settings: {max_rounds: 2}}"
    text = f"model: {small_folder}\ndialogues: {dialogues}\npartners: world:7\nheld: 2\nheld_turns: 2\nmax_tokens: 8\n"
    text += f"search: {search}\npreferences: {{theta: -3.0}}\ntrain: {TRAINING}\noutput_dir: {tmp_path / 'out'}\n"
    path.write_text(text, "utf-8")
    return path


class Speaking:
    """The world's own words in place of those of a random model, which no search could use."""

    def __init__(self, *loaded, max_tokens):
        assert max_tokens == 8

    async def reply(self, history, strategy, /):
        return await WORLD.roles().supporter.for_scenario(WORLD.scenario(0)).reply(history, strategy)


@pytest.fixture(autouse=True)
def speaking(monkeypatch):
    monkeypatch.setattr(running, "TrainedSupporter", Speaking)


class Fixed:
    """Replies that name a strategy, or none."""

    def __init__(self, text):
        self.text, self.asked = text, []

    async def answer(self, prompts, on_progress=None):
        self.asked.append([prompt[-1]["role"] for prompt in prompts])
        return [self.text] * len(prompts)


@pytest.mark.anyio
async def test_dialogues_are_held_to_the_seekers_end_and_judged_turn_by_turn():
    scenarios = list(WORLD.scenarios(3))
    domain = WORLD.domain
    name = domain.strategies.names[0]
    said = WORLD.roles().supporter.for_scenario(scenarios[0]).says([name])
    replies = Fixed(f"({name}) {said}")
    held = await hold_dialogues(replies, WORLD.roles(), scenarios, domain)
    for dialogue in held:
        assert len(dialogue.rewards) == WORLD.rounds == len(replies.asked)
        assert dialogue.unnamed == 0
        truth = WORLD.value(dialogue.scenario, [name] * WORLD.rounds) + 3
        assert dialogue.worth == pytest.approx(truth, abs=0.35)  # the judge is noisy
    assert set(replies.asked[0]) == {"user"}
    assert held[0].turns[:2] == [held[0].turns[0], Turn("supporter", said, name)]
    (short,) = await hold_dialogues(Fixed(""), WORLD.roles(), scenarios[:1], domain, max_turns=2, judged=False)
    assert (short.unnamed, len(short.turns), short.rewards) == (2, 5, [])


@pytest.mark.anyio
async def test_the_strategists_scores_are_the_models_own_probabilities(tiny_folder):
    model, tokenizer = load_for_answers(str(tiny_folder))
    strategist = TrainedStrategist(model, tokenizer, WORLD.domain)
    history = [Turn("seeker", "I am tired of number 3.")]
    scores = await strategist.score(history)
    assert list(scores) == list(WORLD.domain.strategies.names)
    assert max(scores.values()) == 10
    logs = strategist.log_probabilities([strategist._system, {"role": "user", "content": history[0].text}])
    for name, log in logs.items():
        opened = strategist._chat.prompt_tokens([strategist._system, {"role": "user", "content": history[0].text}])
        own = tokenizer.encode(f"({name})", add_special_tokens=False)
        with torch.no_grad():
            rows = torch.log_softmax(model(input_ids=torch.tensor([opened + own])).logits[0], -1)
        alone = sum(float(rows[len(opened) - 1 + at, token]) for at, token in enumerate(own))
        assert log == pytest.approx(alone, abs=1e-4)
        assert scores[name] == pytest.approx(max(0.0, 10 + 5 * (alone - max(logs.values()))), abs=1e-3)


def test_a_round_is_search_data_training_and_dialogues_and_is_not_done_twice(settings, tmp_path, monkeypatch):
    lines = []
    found = run_rounds(read_rounds_config(settings), say=lines.append)
    assert [each.number for each in found.rounds[:2]] == [0, 1]
    assert found.fell == (found.rounds[-1].worth < found.rounds[-2].worth)
    assert len(found.rounds) == 3 or found.fell
    assert all(len(each.worths) == 2 for each in found.rounds)
    first = found.rounds[1]
    assert (first.trees, first.pairs > 0, Path(first.model).is_dir()) == (1, True, True)
    assert any("round 1: search" in line for line in lines)
    for stage in ("_search", "_extract", "_train", "_held"):
        monkeypatch.setattr(running._Rounds, stage, lambda *given: pytest.fail("a stage is done again"))
    assert run_rounds(read_rounds_config(settings), say=lines.append) == found
    changed = read_rounds_config(settings).model_copy(update={"held_turns": 3})
    with pytest.raises(RunError, match="rounds of other settings"):
        run_rounds(changed, say=lines.append)


@pytest.mark.parametrize("stage", ["_search", "_extract", "_train", "_held"])
def test_a_stage_that_was_stopped_is_resumed_and_those_before_it_are_kept(settings, tmp_path, monkeypatch, stage):
    whole, calls = getattr(running._Rounds, stage), []

    def cut(self, *given):
        if not calls and (stage != "_held" or "round-1" in str(given[0])):
            calls.append(stage)
            raise KeyboardInterrupt
        return whole(self, *given)

    monkeypatch.setattr(running._Rounds, stage, cut)
    one = read_rounds_config(settings).model_copy(update={"rounds": 1})
    with pytest.raises(KeyboardInterrupt):
        run_rounds(one, say=str)
    before = (tmp_path / "out" / "rounds.jsonl").read_bytes()
    found = run_rounds(one, say=str)
    assert [each.number for each in found.rounds] == [0, 1]
    assert (tmp_path / "out" / "rounds.jsonl").read_bytes().startswith(before)


def test_the_command_writes_table_figures_and_picture(settings, tmp_path):
    settings.write_text(settings.read_text("utf-8") + "rounds: 1\n", "utf-8")
    done = CliRunner().invoke(main, ["rounds", str(settings)])
    assert done.exit_code == 0, done.output
    table = (tmp_path / "out" / "rounds.md").read_text("utf-8")
    assert "| begin | 0 | 0 |" in table
    assert table.splitlines()[0] in done.output
    numbers = json.loads((tmp_path / "out" / "rounds.json").read_text("utf-8"))
    assert [each["number"] for each in numbers["rounds"]] == [0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"method": "ppo"}}, "method: Input should be"),
        ({"train": {"data": "mine"}}, "train.data: follows from the rounds"),
        ({"search": {"algorithm": "none"}}, "search: .*algorithm"),
        ({"preferences": {"max_paths": 0}}, "preferences: .*max_paths"),
        ({"rounds": 0}, "rounds: Input should be greater"),
        ({"much": 1}, "much: Extra inputs"),
        ({"server": "http://localhost:1"}, "server: a world has none"),
    ],
)
def test_wrong_settings_are_one_error(change, message):
    given = {"model": "smollm2", "dialogues": "d.json", "partners": "world:7"}
    with pytest.raises(TrainConfigError, match=message):
        RoundsConfig(**{**given, **change})


def test_a_model_that_says_nothing_usable_is_an_error(settings, monkeypatch):
    class Mute(Speaking):
        async def reply(self, history, strategy, /):
            raise mctsdialog.errors.ReplyError("the reply is empty", role="supporter")

    monkeypatch.setattr(running, "TrainedSupporter", Mute)
    lines = []
    with pytest.raises(
        RunError, match=r"no dialogue could be searched; the first, world-7-00000: .*the reply is empty"
    ):
        run_rounds(read_rounds_config(settings), say=lines.append)
    assert any("warning: 1 of 1 dialogues could not be searched" in line for line in lines)


def test_too_few_dialogues_are_said(settings):
    many = read_rounds_config(settings).model_copy(update={"rounds": 3})
    with pytest.raises(TrainDataError, match="4 dialogues; 2 to hold out and one or more for each of 3 rounds"):
        run_rounds(many, say=str)


def test_a_fault_in_the_file_is_named_with_its_line(settings):
    settings.write_text(settings.read_text("utf-8").replace("held: 2", "held: none"), "utf-8")
    with pytest.raises(TrainConfigError, match=r"rounds\.yaml:4: held: Input should be a valid integer"):
        read_rounds_config(settings)
