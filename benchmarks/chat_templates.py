"""The chat templates of current models: are the tokens that are trained on those of inference?

Prints a Markdown table, a row for each template. In each column a model that learnt its training rows to the letter is
asked as that part of the project asks a model, and must give the reply that it was trained on:

- pairs: the rows of dpo, kto, simpo and orpo have one context and one reply, that ends with the token that ends a turn;
- trees: the same rows laid into a prefix tree give the same tokens;
- sft: a dialogue trained on whole, or turn by turn, has the context that the model gets at every turn;
- evaluate: its reply names the strategy that it learnt, and so does a reply that is made to begin with a strategy;
- serve: the saved tokenizer writes the same prompt without any option, also on another day.

Templates that TRL ships are read from it; those in the folder chat_templates are rebuilt to the rules of their models.
Run: python benchmarks/chat_templates.py [NAME ...]
"""

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import anyio
import torch
import transformers
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from cso_train._chat import ChatFormat
from cso_train._data import TrainingData
from cso_train._fit import fit
from cso_train._pretokenised import Pretokenised
from cso_train._serving import TrainedSupporter
from cso_train.errors import TrainDataError
from cso_train.evaluation import TransformersReplies
from cso_train.methods import METHODS
from cso_train.packing._rows import packed_rows
from mctsdialog import Turn, get_domain
from mctsdialog.preferences import chat_messages, system_prompt

SHIPPED = Path(trl.__file__).parent / "chat_templates"
REBUILT = Path(__file__).parent / "chat_templates"
_IM = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]

# name: (file, tokens of its own, beginning of sequence, end of sequence)
TEMPLATES = {
    "Llama 3.1": ("llama3_1", ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], 0, 3),
    "Llama 3.2": ("llama3_2", ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], 0, 3),
    "Qwen2.5": ("qwen2_5", _IM, None, 1),
    "Qwen3": ("qwen3", [*_IM, "<think>", "</think>"], None, 1),
    "Gemma 2": ("gemma", ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], 0, 1),
    "Gemma 3": ("gemma3", ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], 0, 1),
    "Mistral v0.3": ("mistral_v03", ["<s>", "</s>", "[INST]", "[/INST]"], 0, 1),
    "Phi-3": ("phi3", ["<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"], 0, 1),
    "Phi-4": ("phi4", [*_IM, "<|im_sep|>"], None, 1),
    "Phi-4-mini": ("phi4_mini", ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"], None, 0),
    "SmolLM2": ("smollm2", _IM, 0, 1),
    "SmolLM3": ("smollm3", [*_IM, "<think>", "</think>"], None, 1),
    "R1 distill": (
        "deepseek_r1_distill",
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"],
        0,
        1,
    ),
    "gpt-oss": ("gptoss", ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"], None, 4),
    "Granite 3.3": ("granite33", ["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"], None, 2),
    "OLMo 2": ("olmo2", ["<|endoftext|>"], 0, 0),
}
PARTS = ("pairs", "trees", "sft", "evaluate", "serve")


def make_tokenizer(name):
    """A small tokenizer with the template and the special tokens of a model."""
    file, marks, bos, eos = TEMPLATES[name]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<pad>", *marks],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([system_prompt(get_domain("esc"))], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",  # no password
        eos_token=marks[eos],
        **({} if bos is None else {"bos_token": marks[bos]}),
    )
    path = SHIPPED / f"{file}.jinja"
    tokenizer.chat_template = (
        (path if path.is_file() else REBUILT / f"{file}.jinja").read_text("utf-8").removesuffix("\n")
    )
    return tokenizer


def rows():
    """Dialogues of three turns, one of them opened by the supporter, as pairs, labelled replies and whole."""
    domain = get_domain("esc")
    first, second, third = domain.strategies.names[:3]
    pairs, unpaired, whole = [], [], []
    for number, opener in enumerate(([], [Turn("supporter", "Hello there.", first)])):
        turns = [
            *opener,
            Turn("seeker", f"I am tired of case {number}."),
            Turn("supporter", "What happened?", second),
            Turn("seeker", "Too much  work."),
            Turn("supporter", f"That sounds hard, {number}.\nDo you sleep?", third),
        ]
        said = [{"role": "system", "content": system_prompt(domain)}, *chat_messages(turns)]
        whole.append({"messages": said})
        for place in range(len(opener) + 2, len(said), 2):
            other = [{"role": "assistant", "content": f"({first}) Well, {place}."}]
            pair = {"prompt": said[:place], "chosen": [said[place]], "rejected": other}
            pairs.append(pair)
            unpaired += [
                {"prompt": said[:place], "completion": pair[side], "label": side == "chosen"}
                for side in ("chosen", "rejected")
            ]
    return {"preference": pairs, "unpaired": unpaired, "sft": whole}


class Learnt:
    """A model that goes on as its training rows do, and says nothing elsewhere."""

    device = torch.device("cpu")

    def __init__(self, sequences, eos):
        self.sequences, self.generation_config = sequences, SimpleNamespace(eos_token_id=eos)

    def generate(self, input_ids, attention_mask, max_new_tokens, pad_token_id, eos_token_id, **options):
        said = []
        for ids, mask in zip(input_ids.tolist(), attention_mask.tolist(), strict=True):
            prompt = [token for token, kept in zip(ids, mask, strict=True) if kept]
            found = [each[len(prompt) :] for each in self.sequences if each[: len(prompt)] == prompt]
            reply = (found or [[pad_token_id]])[0][:max_new_tokens]
            ended = next((place + 1 for place, token in enumerate(reply) if token in eos_token_id), len(reply))
            said.append(reply[:ended])
        width = max(map(len, said))
        padded = [[*each, *[pad_token_id] * (width - len(each))] for each in said]
        return torch.cat([input_ids, torch.tensor(padded)], 1)


class Case:
    """One template, and the checks of each part."""

    def __init__(self, name):
        self.tokenizer = make_tokenizer(name)
        self.plain = make_tokenizer(name).chat_template
        self.chat = ChatFormat.of(self.tokenizer)
        given = rows()
        self.data = {kind: fit(self.chat, TrainingData(kind, tuple(given[kind])), 4096, 200) for kind in given}
        self.given = given

    def examples(self, method):
        """The rows as the trainer of a method gets them."""
        made = METHODS[method]().examples(self.data[METHODS[method].kind].rows, self.chat.row_tokens)
        if method in ("simpo", "orpo"):
            return [{**row, **Pretokenised().tokenize_row(row)} for row in made]
        if method == "kto":
            return [{**row, "KL_completion_ids": row["completion_ids"]} for row in made]
        return made

    def asked(self, prompt):
        """The prompt as tokens, as it stands in a call."""
        text = self.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        return self.tokenizer.encode(text, add_special_tokens=False)

    def check_reply(self, ids, message):
        """A reply ends with the token that ends a turn, has it once, and says what it should."""
        ends = {*self.chat.stops, self.tokenizer.eos_token_id}
        assert ids[-1] in ends
        assert not ends & set(ids[:-1])
        assert self.tokenizer.decode(ids[:-1]).endswith(message["content"])

    def pairs(self):
        for source, row in zip(self.given["preference"], self.examples("dpo"), strict=True):
            assert row["prompt_ids"] == self.asked(source["prompt"])
            for side in ("chosen", "rejected"):
                self.check_reply(row[f"{side}_ids"], source[side][0])
        for source, row in zip(self.given["unpaired"], self.examples("kto"), strict=True):
            assert row["prompt_ids"] == self.asked(source["prompt"])
            self.check_reply(row["completion_ids"], source["completion"][0])
        for one, other in zip(self.examples("dpo"), self.examples("simpo"), strict=True):
            for side in ("chosen", "rejected"):
                assert other[f"{side}_input_ids"] == one["prompt_ids"] + one[f"{side}_ids"]
                assert other[f"{side}_labels"] == [-100] * len(one["prompt_ids"]) + one[f"{side}_ids"]
        return "equal"

    def trees(self):
        for method in ("dpo", "simpo", "orpo", "kto"):
            made = self.examples(method)
            read = packed_rows(METHODS[method](), made, self.data[METHODS[method].kind].rows, 4096)
            for row, found in zip(made, read, strict=True):
                sides = [side for side in ("chosen", "rejected", "completion") if f"{side}_ids" in row]
                for side, reply in zip(sides, found.replies, strict=True):
                    assert reply.ids.tolist() == row["prompt_ids"] + row[f"{side}_ids"]
                    assert reply.ids[reply.scored].tolist() == row[f"{side}_ids"]
        return "equal"

    def sequences(self):
        """Context and replies of every row of sft, with the places that are trained on."""
        return [(row["input_ids"], row["assistant_masks"]) for row in self.examples("sft")]

    def sft(self):
        wanted = []
        for row in self.given["sft"]:
            said = row["messages"]
            for place, message in enumerate(said):
                if message["role"] == "assistant":
                    wanted.append((self.asked(said[:place]), message))
        found = []
        for ids, mask in self.sequences():
            starts = [place for place, kept in enumerate(mask) if kept and not mask[place - 1]]
            for start in starts:
                end = next((place for place in range(start, len(mask)) if not mask[place]), len(mask))
                found.append((ids[:start], ids[start:end]))
        assert len(found) == len(wanted)
        for (context, reply), (prompt, message) in zip(found, wanted, strict=True):
            assert context == prompt
            self.check_reply(reply, message)
        return "whole" if len(self.sequences()) == len(self.given["sft"]) else "turn by turn"

    def evaluate(self):
        domain = get_domain("esc")
        trained = [row["prompt_ids"] + row["chosen_ids"] for row in self.examples("dpo")]
        replies = TransformersReplies(Learnt(trained, None), self.tokenizer, max_length=4096, max_tokens=200)
        prompts = [row["prompt"] for row in self.given["preference"]]
        assert anyio.run(replies.answer, prompts) == [row["chosen"][0]["content"] for row in self.given["preference"]]
        supporter = TrainedSupporter(Learnt(trained, None), self.tokenizer, domain, max_length=4096, max_tokens=200)
        history = [Turn("seeker", "I am tired of case 0.")]
        said = anyio.run(supporter.reply, history, domain.strategies.names[1])
        assert said == "What happened?"
        return "equal"

    def serve(self):
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_pretrained(folder)
            saved = transformers.AutoTokenizer.from_pretrained(folder)
        tomorrow = mock.patch("transformers.utils.chat_template_utils.datetime", wraps=None)
        with tomorrow as clock:
            clock.now.return_value.strftime.side_effect = lambda form: f"another day {form}"
            for source, row in zip(self.given["preference"], self.examples("dpo"), strict=True):
                text = saved.apply_chat_template(source["prompt"], tokenize=False, add_generation_prompt=True)
                assert saved.encode(text, add_special_tokens=False) == row["prompt_ids"]
        return "equal" if saved.chat_template == self.plain else "equal (saved template)"


def judged(name):
    """The words of a template's row in the table."""
    try:
        case = Case(name)
    except TrainDataError as error:
        return [f"refused: {error}"] + [""] * (len(PARTS) - 1)
    return [getattr(case, part)() for part in PARTS]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of the templates; all of them by default")
    chosen = parser.parse_args().names or list(TEMPLATES)
    print(f"| template | {' | '.join(PARTS)} |\n|---|{'---|' * len(PARTS)}")
    for name in chosen:
        print(f"| {name} | {' | '.join(judged(name))} |", flush=True)


if __name__ == "__main__":
    main()
