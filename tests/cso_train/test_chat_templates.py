"""Chat templates of current models: what is trained on is what the model is asked, or there is one clear refusal."""

import importlib
import json
import sys
from pathlib import Path

import anyio
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train import TrainConfigError, load_data, resolve_config  # noqa: E402
from cso_train._chat import ChatFormat  # noqa: E402
from cso_train._data import TrainingData  # noqa: E402
from cso_train._fit import fit  # noqa: E402
from cso_train._models import ModelSource, load_model, load_tokenizer  # noqa: E402
from cso_train._trainer import build_trainer, training_settings  # noqa: E402
from cso_train.errors import TrainDataError  # noqa: E402
from cso_train.evaluation import TransformersReplies  # noqa: E402

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore")]

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
matrix = importlib.import_module("chat_templates")
sys.path.pop()

CONVERSATION = [
    {"role": "system", "content": "Listen."},
    {"role": "user", "content": "I am sad."},
    {"role": "assistant", "content": "(Affirmation) You came."},
    {"role": "user", "content": "Yes."},
]
REPLY = {"role": "assistant", "content": "(Affirmation) Good."}


@pytest.fixture(scope="module")
def case():
    made = {}

    def case(name):
        return made.setdefault(name, matrix.Case(name))

    return case


@pytest.mark.parametrize("part", matrix.PARTS)
@pytest.mark.parametrize("name", matrix.TEMPLATES)
def test_what_is_trained_on_is_what_the_model_is_asked(case, name, part):
    getattr(case(name), part)()


@pytest.mark.parametrize("name", matrix.TEMPLATES)
def test_the_page_shows_what_is_so(case, name):
    page = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text("utf-8")
    assert f"| {name} | {' | '.join(getattr(case(name), part)() for part in matrix.PARTS)} |" in page


@pytest.mark.parametrize(
    ("name", "how"),
    [("Qwen3", "turn by turn"), ("gpt-oss", "turn by turn"), ("Phi-3", "whole"), ("Phi-4-mini", "whole")],
)
def test_dialogues_are_trained_on_whole_unless_the_template_rewrites_earlier_turns(case, name, how):
    assert case(name).sft() == how
    counted = case(name).data["sft"].warnings
    rewritten = [count for what, count in counted.items() if "turn by turn" in what and count]
    assert bool(rewritten) is (how == "turn by turn")


def test_gemma_is_asked_with_its_system_prompt_in_the_first_message_of_the_user(case):
    text = case("Gemma 2").chat.opened(CONVERSATION)
    assert "<start_of_turn>user\nListen.\n\nI am sad.<end_of_turn>" in text
    opened_by_the_supporter = [CONVERSATION[0], *CONVERSATION[2:]]
    text = case("Gemma 3").chat.opened(opened_by_the_supporter)
    assert "<start_of_turn>user\nListen.\n\n(The conversation begins.)<end_of_turn>" in text


def test_thinking_is_off_unless_it_is_asked_for():
    off = ChatFormat.of(matrix.make_tokenizer("Qwen3")).opened(CONVERSATION)
    on = ChatFormat.of(matrix.make_tokenizer("Qwen3"), {"enable_thinking": True}).opened(CONVERSATION)
    assert off == on + "<think>\n\n</think>\n\n"
    assert ChatFormat.of(matrix.make_tokenizer("R1 distill")).opened(CONVERSATION).endswith("<think>\n\n</think>\n\n")
    thinks = ChatFormat.of(matrix.make_tokenizer("R1 distill"), {"enable_thinking": True}).opened(CONVERSATION)
    assert thinks.endswith("<think>\n")


def test_settings_of_the_template_are_saved_with_the_tokenizer(tmp_path):
    import transformers

    tokenizer = matrix.make_tokenizer("Llama 3.1")
    chat = ChatFormat.of(tokenizer, {"date_string": "1 Jan 2030"})
    assert "Today Date: 1 Jan 2030" in chat.opened(CONVERSATION)
    tokenizer.save_pretrained(tmp_path)
    again = ChatFormat.of(transformers.AutoTokenizer.from_pretrained(tmp_path))
    assert again.opened(CONVERSATION) == chat.opened(CONVERSATION)


@pytest.mark.parametrize("settings", [{"enable_thinkin": True}, {"messages": []}, {"a b": 1}])
def test_a_setting_that_the_template_does_not_use_is_refused(settings):
    with pytest.raises(TrainDataError, match=r"chat_template_kwargs\."):
        ChatFormat.of(matrix.make_tokenizer("Llama 3.1"), settings)


def test_a_day_later_the_prompts_are_the_same(case):
    case("Llama 3.2").serve()  # with another clock
    assert "Today Date: 26 Jul 2024" in case("Llama 3.2").chat.opened(CONVERSATION)
    assert "Today Date: 26 July 2024" in case("SmolLM3").chat.opened(CONVERSATION)
    assert "Current date: 2024-07-26" in case("gpt-oss").chat.opened(CONVERSATION)


def test_a_template_that_writes_replies_elsewhere_is_refused_before_a_model_is_loaded():
    tokenizer = matrix.make_tokenizer("Qwen2.5")
    said = "{% for message in messages %}{{ message.content + '\\n' }}{% endfor %}"
    tokenizer.chat_template = said + "{% if add_generation_prompt %}Go.{% endif %}"
    data = TrainingData("sft", ({"messages": [*CONVERSATION, REPLY]},))
    with pytest.raises(TrainDataError, match="does not write a reply where it asks for one"):
        fit(ChatFormat.of(tokenizer), data, 500, 100)


def test_a_template_without_an_end_gets_the_end_of_sequence():
    tokenizer = matrix.make_tokenizer("Qwen2.5")
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role + ': ' + message.content + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    _, said = ChatFormat.of(tokenizer).turn_tokens(CONVERSATION, REPLY)
    assert tokenizer.decode(said) == "(Affirmation) Good.\n<|im_end|>"


@pytest.mark.parametrize("method", ["simpo", "orpo", "dpo", "kto"])
@pytest.mark.parametrize("name", ["Gemma 2", "Qwen2.5", "Phi-3"])
def test_trainers_get_no_token_that_inference_never_sees(tiny_folder, tmp_path, name, method):
    tokenizer = matrix.make_tokenizer(name)
    if name == "Qwen2.5":  # a tokenizer with a beginning of sequence that the template leaves out
        tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    config = resolve_config(None, None, {"method": method, "batch_size": 4, "max_length": 2000, "lora": False}).config
    kind = "unpaired" if method == "kto" else "preference"
    data = TrainingData(kind, tuple(matrix.rows()[kind]))
    chat = ChatFormat.of(tokenizer)
    data = fit(chat, data, 2000, 100)
    model = load_model(ModelSource.of(str(tiny_folder)), dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer))
    arguments = {"output_dir": str(tmp_path), "use_cpu": True, "per_device_train_batch_size": 2, "bf16": False}
    trainer = build_trainer(config, model, tokenizer, data, settings=training_settings(config, arguments))
    for row, example in zip(
        data.shuffled(0).rows if method == "kto" else data.rows, trainer.train_dataset, strict=True
    ):
        said = row.get("chosen") or row["completion"]
        prompt, reply = chat.turn_tokens(row["prompt"], said[0])
        if method in ("simpo", "orpo"):
            assert example["chosen_input_ids"] == prompt + reply
            assert example["chosen_labels"] == [-100] * len(prompt) + reply
        else:
            assert example["prompt_ids"] == prompt
            assert example["completion_ids" if method == "kto" else "chosen_ids"] == reply


def test_reasoning_of_a_model_that_thinks_is_no_part_of_its_reply():
    tokenizer = matrix.make_tokenizer("Qwen3")
    chat = ChatFormat.of(tokenizer, {"enable_thinking": True})
    before = chat.prompt_tokens(CONVERSATION)
    said = tokenizer.encode("<think>\nShe came.\n</think>\n\n(Affirmation) Good.<|im_end|>", add_special_tokens=False)
    model = matrix.Learnt([before + said], None)
    replies = TransformersReplies(model, tokenizer, max_length=500, max_tokens=100)
    (found,) = anyio.run(replies.complete, [CONVERSATION])
    assert (found.text, found.thought, found.finish_reason) == ("(Affirmation) Good.", "She came.", "stop")


def test_harmonys_channels_are_no_part_of_a_reply(case):
    tokenizer = case("gpt-oss").tokenizer
    before = case("gpt-oss").chat.prompt_tokens(CONVERSATION)
    text = "<|channel|>analysis<|message|>She came.<|end|><|start|>assistant<|channel|>final<|message|>Good.<|return|>"
    model = matrix.Learnt([before + tokenizer.encode(text, add_special_tokens=False)], None)
    replies = TransformersReplies(model, tokenizer, max_length=500, max_tokens=100)
    (found,) = anyio.run(replies.complete, [CONVERSATION])
    assert (found.text, found.thought) == ("Good.", "She came.")


def test_a_run_trains_and_saves_with_the_settings_of_its_template(tiny_folder, preference_file, tmp_path):
    from cso_train import train

    folder = tmp_path / "model"
    tokenizer = load_tokenizer(ModelSource.of(str(tiny_folder)))
    shout = "{% if shout %}{{ message['content']|upper }}{% else %}{{ message['content'] }}{% endif %}"
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ message['content'] }}", shout)
    load_model(ModelSource.of(str(tiny_folder)), dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"model": str(folder), "data": str(preference_file), "output_dir": str(tmp_path / "run"), "max_steps": 1}
    settings |= {
        "max_length": 256,
        "max_completion_tokens": 64,
        "batch_size": 4,
        "chat_template_kwargs": '{"shout": false}',
    }
    assert train(resolve_config(None, None, settings), say=lambda line: None).finished
    saved = load_tokenizer(ModelSource.of(str(tmp_path / "run" / "model")))
    assert "set shout = false" in saved.chat_template
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert manifest["config"]["chat_template_kwargs"] == {"shout": False}


def test_settings_of_the_template_come_from_a_file_too(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("chat_template_kwargs: {enable_thinking: true, effort: [1, low]}\n", "utf-8")
    resolved = resolve_config(None, file, {})
    assert resolved.config.chat_template_kwargs == {"enable_thinking": True, "effort": [1, "low"]}
    again = tmp_path / "again.yaml"
    again.write_text(resolved.to_yaml(), "utf-8")
    assert resolve_config(None, again, {}).config == resolved.config
    with pytest.raises(TrainConfigError, match="chat_template_kwargs"):
        resolve_config(None, None, {"chat_template_kwargs": "[1]"})


def test_rows_that_cannot_fit_are_counted_before_a_model_is_loaded(tiny_folder, preference_file):
    chat = ChatFormat.of(load_tokenizer(ModelSource.of(str(tiny_folder))))
    data = load_data([preference_file], "preference")
    with pytest.raises(TrainDataError, match="16 rows left out with a reply longer than max_completion_tokens"):
        fit(chat, data, 200, 2)
