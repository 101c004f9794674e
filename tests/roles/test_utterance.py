# ruff: noqa: E501, SIM905
"""Utterances: what models put around their words goes, and the words stay as they are."""

import time
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mctsdialog.roles._utterance import Labels, read_utterance
from mctsdialog.segments import whole_sentences

SUPPORTER = Labels(("supporter",), ("seeker",), ("Affirmation", "Question", "Offer Hope", "Others", "Self-Disclosure"))
SEEKER = Labels(("seeker",), ("supporter",), bracketed=("Affirmation", "Question"))
INSTRUCTION = "[Answer by Affirmation: Affirm what the person can do.]"
SAID = "I hear you."
WRAPPED = [
    "Supporter: {}", "supporter : {}", "SUPPORTER: {}", "**Supporter:** {}", "**Supporter**: {}", "*Supporter*: {}", "# Supporter\n{}",
    "### Supporter:\n{}", "[Supporter] {}", "[Supporter]: {}", "(Supporter) {}", "{{Supporter}} {}", "<Supporter> {}",
    "<supporter> {} </supporter>", "【Supporter】{}", "（Supporter）：{}", "「Supporter」{}", "Supporter：{}", "Supporter - {}",
    "Supporter – {}", "Supporter — {}", "> Supporter: {}", "Supporter (Affirmation): {}", "Supporter [Offer Hope]: {}",
    "Supporter (softly): {}", "Supporter says: {}", "Supporter's response: {}", "As the supporter: {}", "(Affirmation) {}",
    "[Affirmation] {}", "[Affirmation]: {}", "{{Affirmation}} {}", "<Affirmation> {}", "【Affirmation】{}", "（Affirmation） {}",
    "**Affirmation**\n\n{}", "**Affirmation:** {}", "**[Affirmation]** {}", "**(Affirmation)**: {}", "**Affirmation** {}",
    "# Affirmation\n{}", "Affirmation\n{}", "Affirmation: {}", "Affirmation： {}", "Affirmation - {}", "affirmation: {}",
    "(Strategy: Affirmation) {}", "Strategy: Affirmation\n{}", "Strategy used: Affirmation\n\n{}", "(Affirmation, Offer Hope) {}",
    "(Affirmation and Offer Hope) {}", "offer_hope: {}", "(self disclosure) {}", "Answer by Affirmation: {}",
    "[Supporter] (Affirmation): {}", "Supporter: (Affirmation) {}", '"{}"', "“{}”", "„{}“", "«{}»", "»{}«", "「{}」", "『{}』",
    "‘{}’", "'{}'", "‹{}›", "＂{}＂", "`{}`", '"Supporter: {}"', 'Supporter: "{}"', "“Supporter: {}” (Affirmation)",
    "```\n{}\n```", "```text\nSupporter: {}\n```", "{} (Affirmation)", "{}\n(Affirmation)", "{}\nStrategy: Affirmation",
    f"{INSTRUCTION}\n{{}}", f"{INSTRUCTION} {{}}", "[Answer by Question] {}", "Seeker: {}", "\ufeff{}\u200b", "{}\x07", "{}</end/>",
]  # fmt: skip


@pytest.mark.parametrize("form", WRAPPED)
def test_labels_quotes_and_echoes_go(form):
    said = read_utterance(form.format(SAID), SUPPORTER, echoes=(INSTRUCTION,))
    assert said.text == SAID
    assert set(said.removed) <= {"echoes"}
    assert (INSTRUCTION in form) <= ("echoes" in said.removed)


@pytest.mark.parametrize(
    ("text", "said", "removed"),
    [
        (f"{SAID}\nSeeker: Thanks.", SAID, ("turns",)),
        (f"{SAID} Seeker: Thanks.", SAID, ("turns",)),
        (f"{SAID} seeker: Thanks.", SAID, ("turns",)),
        (f"{SAID} **Seeker:** Thanks.", SAID, ("turns",)),
        (f"{SAID} [Seeker] Thanks.", SAID, ("turns",)),
        (f"{SAID}\n[Seeker] Thanks.", SAID, ("turns",)),
        (f"{SAID}\n### Seeker\nThanks.", SAID, ("turns",)),
        (f"{SAID}\n**Seeker** Thanks.", SAID, ("turns",)),
        (f"{SAID}\nSeeker (crying): Thanks.", SAID, ("turns",)),
        ("我理解你。Seeker：谢谢", "我理解你。", ("turns",)),
        (f"{SAID}\nSupporter: And more.", SAID, ("turns",)),
        (f"Supporter: {SAID} Seeker: Yes. Supporter: Good.", SAID, ("turns",)),
        (f"Seeker: I froze.\nSupporter: {SAID}", SAID, ()),
        (f"{SAID}\n\nThis reply affirms the seeker.", SAID, ("paragraphs",)),
        (f"{SAID}\r\n \r\nMore.", SAID, ("paragraphs",)),
        (f"{SAID}\u2029\u2029More.", SAID, ("paragraphs",)),
        (f"**Affirmation**\n\n{SAID}\n\nMore.", SAID, ("paragraphs",)),
        (f'"{SAID}"\n\nMore.', SAID, ("paragraphs",)),
        ('"First.\n\nSecond."', "First.", ("paragraphs",)),
        (f"I froze.\n\n{INSTRUCTION}\n\n{SAID}", SAID, ("echoes",)),
        (f"{SAID}\n\n{INSTRUCTION}", SAID, ("echoes",)),
        ("You did well. (Question) What now?", "You did well. What now?", ()),
        ("You did well.\nQuestion: What now?", "You did well.\nWhat now?", ()),
    ],
)
def test_further_turns_paragraphs_and_echoes_go_and_are_counted(text, said, removed):
    found = read_utterance(text, SUPPORTER, echoes=(INSTRUCTION, f"I froze.\n\n{INSTRUCTION}"))
    assert (found.text, found.removed) == (said, removed)


CLEAN = [
    "Hope: it is what I need.", "Ask me anything.", "As a supporter, I hear you.", "*sighs* I know.", "(sighs) I know.",
    "Others say so too.", "I have questions (others) too.", "You are a seeker: of truth.", "The supporter: a friend.",
    '"Yes," he said, "no."', "“Yes,” he said, “no.”", "‘Yes,’ he said, ‘no.’", "«Oui», dit-il, «non».", "「はい」と「いいえ」", "It’s 5'10\" tall.",
    "'Tis hard, isn't it?", "First: breathe. Then: sleep.", "Question? What do you mean?", "Others - and they are many - agree.",
    "**Affirmation** is what I need.", "Ask: who, when, why?", "See https://example.org/a?b=c (or not).", "1. Breathe.\n2. Sleep.",
    "Breathe.\nSleep.", "می‌خواهم بروم.", "👩‍👩‍👧 are here 👍🏽!", "नमस्ते! आप कैसे हैं?", "我：很累。", "Er sagte: „Nein.“ Und ging.", "a < b > c & <br>",
    "Self-care matters.", "I said “Seeker” once.", "Answer by tomorrow, please.", "[sic] and {so} on", "C'est l'été.", "½ “quoted",
    "You asked me, Mr. Seeker: why?", "Tell me, Mrs Supporter: how?", "I wrote: Dear Supporter: thank you.",
]  # fmt: skip


@pytest.mark.parametrize("labels", [SUPPORTER, SEEKER])
@pytest.mark.parametrize("text", CLEAN)
def test_words_stay_as_they_are(text, labels):
    assert read_utterance(text, labels, echoes=(INSTRUCTION,)) == (text, False, ())


def test_a_name_with_a_colon_is_a_label_of_a_supporter_and_a_word_of_a_seeker():
    text = "Question: may I ask?"
    assert read_utterance(text, SUPPORTER).text == "may I ask?"
    assert read_utterance(text, SEEKER).text == text
    assert read_utterance("(Question) May I ask?", SEEKER).text == "May I ask?"


WORDS = st.sampled_from(
    "I you hope is hard today: because (really) “so” „sehr“ «oui» 我 很累， 不容易！ मैं हूँ। نعم، لماذا؟ 「はい」 ผม เข้าใจ don't it’s — … 3.5 a/b #1 e.g. 😔 "
    "Дом [x] {y} 그래요. seekers supporters questions".split()
)


@given(st.lists(WORDS, min_size=1, max_size=12), st.sampled_from([" ", "\n", "  "]))
def test_clean_text_of_any_script_passes_unchanged(words, between):
    text = between.join(words)
    assume(text[0] not in "“„«「(#" or text[0] not in text[1:])
    assume(not (text[0] in "“„«「" and text[-1] in "”“»」"))
    for labels in (SUPPORTER, SEEKER):
        assert read_utterance(text, labels).text == text


@given(
    st.lists(
        st.sampled_from([*(form.format("x.") for form in WRAPPED), SAID, " ", "\n", "\n\n", '"', "“", "Seeker: "]),
        max_size=6,
    )
)
def test_any_reply_is_read_and_reading_what_was_said_loses_no_label_again(parts):
    try:
        said = read_utterance("".join(parts), SUPPORTER).text
    except ValueError:
        return
    assert said == said.strip()
    assert not said.startswith(("Supporter:", "Affirmation:", "(Affirmation)", "[Affirmation]"))


@given(st.text(max_size=200), st.booleans())
def test_any_text_is_read_or_refused(text, cut):
    try:
        said = read_utterance(text, SUPPORTER, echoes=(INSTRUCTION,), cut=cut).text
    except ValueError as error:
        assert "too long" in str(error)  # noqa: PT017
        return
    said.encode()
    assert not any(letter in said for letter in "\x00\x07\x1b\u200b\u2028\ufeff\r")


@pytest.mark.parametrize(
    "token",
    ["</end/>", "</END/>", "< /end/ >", "</end>", "<end/>", "</ end />", "<\\/end\\/>", "＜/end/＞", "<／end／>", "[END]", '"</end/>."', "**</end/>**", "`</end/>`"],
)  # fmt: skip
def test_every_form_of_the_end_token_ends(token):
    assert read_utterance(token, SEEKER).ended
    if token != "[END]":
        assert read_utterance(f"Thank you, goodbye. {token}", SEEKER).ended
        assert read_utterance(f"Thank you, goodbye.\n\n{token}", SEEKER).ended
        assert read_utterance(f"Seeker: Thank you. {token}", SEEKER).ended


@pytest.mark.parametrize(
    "text",
    [
        "end",
        "the end",
        "This must end/stop.",
        "No.\n\nLater I may say </end/> to you.",
        "No. Supporter: Then </end/>?",
        "",
        "[Say </end/> to end.] No.",
    ],
)
def test_the_end_token_ends_only_where_the_seeker_says_it(text):
    assert not read_utterance(text, SEEKER, echoes=("[Say </end/> to end.]",)).ended


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("我能理解你的感受。这真的很不容易！你愿意", "我能理解你的感受。这真的很不容易！"),
        ("那真的很難。」他說", "那真的很難。」"),
        ("「そうですか。」それは大変で", "「そうですか。」"),
        ("그래요. 정말 힘들", "그래요."),
        ("मैं समझता हूँ। यह कठिन है। क्या आ", "मैं समझता हूँ। यह कठिन है।"),
        ("هل أنت بخير؟ أنا هنا لك، و", "هل أنت بخير؟"),
        ("میں سمجھتا ہوں۔ یہ", "میں سمجھتا ہوں۔"),
        ("Τι έγινε; Δεν", "Τι έγινε;"),
        ("ես հասկանում եմ։ Դա դժվար", "ես հասկանում եմ։"),
        ("እሺ። እኔ", "እሺ።"),
        ("ခက်တယ်။ မင်း", "ခက်တယ်။"),
        ("ខ្ញុំយល់។ វាពិបាក។ តើ", "ខ្ញុំយល់។ វាពិបាក។"),
        ("བཀྲ་ཤིས། ང་", "བཀྲ་ཤིས།"),
        ("ผมเข้าใจคุณ มันยากมาก คุณอยาก", "ผมเข้าใจคุณ มันยากมาก"),
        ("I see. Dr. Smith will", "I see."),
        ("I see. Dr.", "I see."),
        ("It costs 3.5 dollars. And", "It costs 3.5 dollars."),
        ("I see... and then", "I see..."),
        ("I see. And then... you", "I see."),
        ("那好吧…… 你想", "那好吧……"),
        ('He said "no." And th', 'He said "no."'),
        ("*I nod.* And th", "*I nod.*"),
        ("Is it?! Yes, I t", "Is it?!"),
        ("Sleep well. 2. Wal", "Sleep well."),
        ("Two things: 1. Wal", ""),
        ("It is over. I know.", "It is over. I know."),
        ("and so on and", ""),
        ("", ""),
    ],
)
def test_a_cut_text_is_kept_to_its_last_whole_sentence_in_any_script(text, kept):
    assert whole_sentences(text) == kept


def test_only_what_was_cut_itself_is_shortened():
    assert read_utterance("I see. And then", SUPPORTER, cut=True).text == "I see."
    assert read_utterance('"I see. And then', SUPPORTER, cut=True).text == "I see."
    assert read_utterance("I see, and\n\nthen there is", SUPPORTER, cut=True).text == "I see, and"
    assert read_utterance("I see, and\nSeeker: then", SUPPORTER, cut=True).text == "I see, and"
    with pytest.raises(ValueError, match="too long"):
        read_utterance("and then and then", SUPPORTER, cut=True)
    with pytest.raises(ValueError, match="too long"):
        read_utterance("and then " * 5000, SUPPORTER)
    assert read_utterance(f"{SAID}\n\n{'x' * 50_000}", SUPPORTER).text == SAID


@pytest.mark.parametrize(
    "piece",
    ["{", "a", " ", "\n", "*", "**", "_", "(", "[", '"', "'", "「", "Supporter: ", "(Affirmation) ", "Affirmation, ", "Seeker", "# ", ". ",
     "[answer by ", "answer by [", "< /end", "``` ", "\u200b", "</", "1. "],
)  # fmt: skip
def test_a_hostile_reply_is_read_in_a_moment(piece):
    text = piece * (1_000_000 // len(piece))
    begun = time.process_time()
    for cut in (False, True):
        with suppress(ValueError):
            read_utterance(text, SUPPORTER, echoes=(INSTRUCTION,), cut=cut)
    assert time.process_time() - begun < 2
