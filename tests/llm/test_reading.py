# ruff: noqa: E501
"""What was said and what was thought, in the many forms in which servers leave reasoning in the text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.llm._reading import is_refusal, read_reply
from mctsdialog.llm.base import Completion

THOUGHT = 'The person is worried.\n\nIs it time for </end/>? No. A first draft: {"empathy": 0}.'
SAID = "I hear how hard this is for you."
FORMS = {
    "tags": "<think>\n{thought}\n</think>\n\n{said}",
    "tags in a line": "<think>{thought}</think>{said}",
    "upper case": "<THINK>{thought}</THINK>{said}",
    "thinking": "<thinking>{thought}</thinking>\n{said}",
    "thought": "<thought>\n{thought}</thought>\n{said}",
    "reasoning": "<reasoning>{thought}</reasoning>{said}",
    "an attribute": '<think time="3s">{thought}</think>{said}',
    "a prefix": "<seed:think>{thought}</seed:think>{said}",
    "closed alone": "{thought}\n</think>\n\n{said}",
    "closed alone, another tag": "{thought}</thinking>{said}",
    "closed twice": "<think>{thought}</think>\nmore\n</think>\n{said}",
    "opened twice": "<think>\n<think>{thought}</think>\n{said}",
    "a model's own word": "<longcat_think>\n{thought}\n</longcat_think>\n{said}",
    "a process": "<thought_process>{thought}</thought_process>{said}",
    "bars": "<|think|>{thought}<|/think|>{said}",
    "control tokens": "<ctrl94>thought\n{thought}<ctrl95>{said}",
    "after the reply": "{said}\n<think>{thought}</think>",
    "square brackets": "[THINK]{thought}[/THINK]{said}",
    "triangles": "◁think▷{thought}◁/think▷{said}",
    "tokens": "<|START_THINKING|>{thought}<|END_THINKING|><|START_RESPONSE|>{said}<|END_RESPONSE|>",
    "tokens and a solution": "<|begin_of_thought|>{thought}<|end_of_thought|>\n<|begin_of_solution|>{said}<|end_of_solution|>",
    "a channel of Gemma": "<|channel>thought\n{thought}<channel|>{said}<turn|>",
    "harmony": "<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>final<|message|>{said}<|return|>",
    "harmony with three channels": "<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>commentary"
    "<|message|>hm<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{said}",
    "harmony without its tokens": "analysis{thought}assistantfinal{said}",
    "in words": "Here is my thought process:\n{thought}\nHere is my response:\n{said}",
    "an answer": "<think>{thought}</think>\n<answer>\n{said}\n</answer>",
    "an answer that is not closed": "<think>{thought}</think>\n<answer>{said}",
    "a vendor's word": "<antThinking>{thought}</antThinking>{said}",
    "a process of reasoning": "<reasoning_process>{thought}</reasoning_process>{said}",
    "a monologue": "<internal_monologue>\n{thought}</internal_monologue>\n{said}",
    "tags with spaces": "< think >{thought}</ think >{said}",
    "tags escaped for HTML": "&lt;think&gt;{thought}&lt;/think&gt;{said}",
    "details of a web page": '<details type="reasoning" done="true" duration="5">\n{thought}\n</details>\n{said}',
    "a fence": "```thinking\n{thought}\n```\n\n{said}",
    "bars, another word": "<|reasoning|>{thought}<|/reasoning|>{said}",
    "bars that begin and end": "<|begin_of_thinking|>{thought}<|end_of_thinking|>{said}",
    "bars that start and end": "<|thought_start|>{thought}<|thought_end|>{said}",
    "a turn of its own": "<|im_start|>think\n{thought}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>",
    "a turn of its own that is not closed": "<|im_start|>think\n{thought}\n<|im_start|>answer\n{said}<|im_end|>",
    "square brackets, another word": "[REASONING]{thought}[/REASONING]{said}",
    "harmony in capitals": "<|channel|>Analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>Final<|message|>{said}",
    "harmony without its tokens, in lines": "analysis\n{thought}\nassistantfinal\n{said}",
    "harmony without its tokens, with the role": "assistantanalysis{thought}assistantfinal{said}",
    "in words, step by step": "Here are my reasoning steps:\n{thought}\n[BEGIN FINAL RESPONSE]\n{said}\n[END FINAL RESPONSE]",
    "of a terminal": "Thinking...\n{thought}\n...done thinking.\n\n{said}",
    "headings": "### Thinking\n{thought}\n\n### Response\n{said}",
    "headings in bold": "**Thinking:** {thought}\n\n**Final answer:** {said}",
    "a label after it": "<think>{thought}</think>\n**Final Answer:** {said}",
    "a tag after it": "<think>{thought}</think><final_answer>{said}</final_answer>",
}


@pytest.mark.parametrize("form", FORMS)
def test_thoughts_are_no_part_of_what_was_said(form):
    reading = read_reply(FORMS[form].replace("{thought}", THOUGHT).replace("{said}", SAID))
    assert reading.said == SAID
    assert THOUGHT in reading.thought
    assert SAID not in reading.thought


OPEN_AT_THE_END = {
    "closed alone",
    "closed alone, another tag",
    "harmony without its tokens",
    "harmony without its tokens, in lines",
    "harmony without its tokens, with the role",
    "of a terminal",
    "headings",
    "headings in bold",
}


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form not in ("after the reply", "an answer that is not closed")]
)
def test_a_reply_that_is_cut_inside_of_its_thought_says_nothing(form):
    whole = FORMS[form].replace("{thought}", THOUGHT).replace("{said}", SAID)
    begun = whole.index(THOUGHT)
    if form in OPEN_AT_THE_END or begun == 0:
        return  # without an opening mark nobody can tell
    for cut in (begun + 5, begun + len(THOUGHT)):
        reading = read_reply(whole[:cut])
        assert reading.said == "", whole[:cut]
        assert reading.thought


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (f"{SAID}<|im_end|>", SAID),
        (f"{SAID}</s>", SAID),
        (f"{SAID}[e~[", SAID),
        (f"assistantfinal{SAID}", SAID),
        (f"final{SAID}", SAID),
        (f"{SAID}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd then", SAID),
        (f"{SAID}<|im_end|>\n<|im_start|>user\nAnd then", SAID),
        (f"{SAID}<end_of_turn>\n<start_of_turn>user\nAnd", SAID),
        (f"{SAID}<｜end▁of▁sentence｜>", SAID),
        (f"{SAID} [INST] next [/INST]", SAID),
        (f"<|im_start|>assistant\n{SAID}<|im_end|>", SAID),
        (f"<|start_header_id|>assistant<|end_header_id|>\n\n{SAID}<|eot_id|>", SAID),
        (f"<s> {SAID}", SAID),
        (f"<start_of_turn>model\n{SAID}<end_of_turn>", SAID),
        ("<think>\n\n</think>\n\n</end/>", "</end/>"),
        ("<think>Shall I say </end/>?</think>\nNo, go on.", "No, go on."),
        ('<think>{"a": 0}</think>\n{"a": 3}', '{"a": 3}'),
        ("", ""),
        ("   \n", ""),
    ],
)
def test_special_tokens_and_what_follows_them_are_not_said(raw, said):
    assert read_reply(raw).said == said


@pytest.mark.parametrize(
    "text",
    [
        SAID,
        "I <3 you, and [really] mean it: 1 < 2 > 0.",
        "analysis of my feelings is hard. My assistant finally came.",
        "Here is my thought: it is over. </end/>",
        "I think </end/>",
        "<sigh> I know.",
        "[thinking] I am not sure.",
        "Thinking...\nMaybe tomorrow.",
        "Final question: may I go?",
        "finally, I slept.",
        "Answer: I do not know.",
        "**Thinking** of you helps.\n\nI mean it.",
        '{"think": 3, "reasoning": "<b>"}',
        "Use <b>bold</b> | pipes |> and <| odd",
        "你好<br>吗？",
    ],
)
def test_what_only_looks_like_a_mark_stays(text):
    assert read_reply(text) == (text, "")


PIECES = [
    "<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>final<|message|>", "<|channel|>analysis<|message|>", "<|end|>",
    "<|start|>assistant", "</s>", "<answer>", "</answer>", "<response>", "</response>", "said", " ", "\n", "<", "|", ">", "analysis",
    "assistantfinal", "Here is my thought process:", "Here is my response:", "</end/>", "<|channel>thought", "<channel|>",
    "<details type='reasoning'>", "</details>", "<|im_start|>think\n", "<|im_end|>", "```thinking\n", "\n```", "&lt;think&gt;", "[REASONING]",
    "**Thinking:**", "\n**Answer:** ", "Thinking...\n", "\n...done thinking.", "<|thought_start|>", "final", "I",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_reading_what_was_said_once_more_changes_nothing(text):
    said = read_reply(text).said
    assert read_reply(said) == (said, "")


@pytest.mark.parametrize(
    "piece",
    [
        *PIECES,
        "<think>a",
        "a</think>",
        "<|a|>",
        "analysis assistant ",
        "<answer>x",
        "<[",
        "<|channel|>a",
        "**Thinking",
        "\n**A",
    ],
)
def test_a_long_reply_is_read_in_linear_time(piece):
    text = piece * (400_000 // len(piece))
    begun = time.process_time()
    read_reply(text)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, but I can’t help with that.",
        "I am sorry, but I cannot fulfill this request.",
        "I'm really sorry, but I won't be able to assist with that request.",
        "I apologize, but I'm unable to comply with this request. Please call a help line.",
        "Unfortunately, I am not able to fulfil your request.",
        "I cannot assist with that request.",
        "As an AI language model, I cannot have feelings.",
        "抱歉，我无法协助您的请求。",
    ],
)
def test_the_fixed_phrases_of_a_refusal_are_known(text):
    assert is_refusal(text)
    assert Completion(text).as_read().finish_reason == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        SAID,
        "I'm sorry, but I can't do this anymore.",
        "I'm so sorry you feel that way. I can't imagine how hard it is.",
        "Sorry, I can't help with the dishes tonight.",
        "I can't help with that right now, but I could donate later.",
        "I cannot help you with that on my own; shall we look for a counsellor?",
        "Unfortunately I can't answer him.",
        "I'm sorry, I can't complete my thesis.",
        "对不起，我不能再这样下去了。",
    ],
)
def test_what_a_person_may_say_is_no_refusal(text):
    assert not is_refusal(text)
    assert Completion(text).as_read().finish_reason == "stop"
