"""Names of the sides in prompts: "a customer", "an agent". The prompts of the built-in domains stay as they were."""

import hashlib
import json

import pytest

from cso_train.arena import ModelEntrant
from mctsdialog import Dialogue, ScriptedModel, Turn, get_domain
from mctsdialog.dialogue import TEMPLATE_NAMES, RoleDescription, Scenario, domains
from mctsdialog.errors import ReplyError
from mctsdialog.preferences import system_prompt
from mctsdialog.roles import Prompt
from mctsdialog.seekers import CardSeeker, card_of_dialogue, sample_cards
from mctsdialog.text import with_article

HISTORY = (Turn("seeker", "I am sad."), Turn("supporter", "I hear you.", "Question"), Turn("seeker", "Thanks."))

WRITTEN = {
    "esc": "c74f24a28d87190d995db3fd23e5e2fae0fcc541962ad5ab7163711a16120f9f",
    "esconv": "53b7ed34d1f8477c06582461a272e449090ad30c445bd5ac9cec3ffe05de324c",
    "persuasion": "8ddcf1409f92b5aecceb51012adbed5da8b9f6b01760c50b251329f6db7d40ed",
    "mi": "fc4a8167e27e1860d1c14c7b9d604a59006ac15ca9105a5594982321d6f5f31e",
    "bargaining": "34a89de9c710c2e0499be18b43b5214c342b328cf8a85be540e2c4b708326c56",
    "esconv-zh": "1155403cae9be6cc46b46862a608c5158eea75ba42d31eede38741d9fd2b3f14",
}
"""SHA-256 of all that a model is asked in a domain: caches, journals and data sets depend on every character."""


async def prompts_of(domain):
    """Everything that a model is asked in a domain, by what asks."""
    found = {}
    scenario = Scenario(scene="Work", description="Too much of it.")
    for role in TEMPLATE_NAMES:
        prompt = Prompt(role, domain, scenario)
        strategy = domain.strategies[0] if role == "supporter" else None
        found[role] = [prompt.digest]
        if role in ("seeker", "supporter"):
            messages = [*prompt.chat((), role, strategy), *prompt.chat(HISTORY, role, strategy)]
        else:
            messages = prompt.transcript(HISTORY)
        found[role] += [message.content for message in messages]
    found["data"] = [system_prompt(domain)]
    found["arena"] = [ModelEntrant("x", ScriptedModel([]), domain, prompt="plain").identity]
    model = ScriptedModel(["no card"])
    with pytest.raises(ReplyError):
        await card_of_dialogue(Dialogue(turns=HISTORY), model, domain, attempts=1)
    actor = ScriptedModel(["nothing"])
    with pytest.raises(ReplyError):
        await CardSeeker(actor, sample_cards("esc")[0], domain=domain, attempts=1).respond(HISTORY)
    for name, asked in (("writer", model), ("actor", actor)):
        found[name] = [message.content for message in asked.requests[0].messages]
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("name", domains())
async def test_the_prompts_of_built_in_domains_stay_as_they_are(name):
    asked = json.dumps(await prompts_of(get_domain(name)), sort_keys=True)
    assert hashlib.sha256(asked.encode()).hexdigest() == WRITTEN[name]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("seeker", "supporter"), [("customer", "agent"), ("applicant", "recruiter"), ("employee", "adviser")]
)
async def test_every_prompt_of_a_domain_has_the_right_articles(seeker, supporter):
    sides = {"seeker": RoleDescription(name=seeker), "supporter": RoleDescription(name=supporter)}
    domain = get_domain("esc").model_copy(update=sides)
    asked = {name: "\n".join(texts) for name, texts in (await prompts_of(domain)).items()}
    for name in (seeker, supporter):
        right = f" {with_article(name)}"
        (wrong,) = {f" a {name}", f" an {name}"} - {right}
        assert not [part for part, text in asked.items() if wrong in text]
        assert {part for part, text in asked.items() if right in text} >= {"judge", "strategist", "labeller", "data"}
    assert f" {with_article(supporter)} talking with {with_article(seeker)}" in asked["supporter"]
    assert f" {with_article(supporter)} talking with {with_article(seeker)}" in asked["arena"]
    assert f"You play {with_article(seeker)} who talks with {with_article(supporter)}." in asked["actor"]
    assert f"between {with_article(seeker)} and {with_article(supporter)}," in asked["writer"]


def test_what_version_0_1_began_keeps_its_prompts_and_a_template_of_ones_own_its_words():
    sides = {"seeker": RoleDescription(name="customer"), "supporter": RoleDescription(name="agent")}
    domain = get_domain("esc").model_copy(update=sides)
    assert "of a agent is" in Prompt("judge", domain, Scenario(), version=1).system
    assert (
        Prompt("judge", domain, Scenario(), version=1).digest == Prompt("judge", get_domain("esc"), Scenario()).digest
    )
    own = "{% block system %}Responde a {{ supporter.name }}.{% endblock %}{% block instruction %}x{% endblock %}"
    assert Prompt("judge", domain.model_copy(update={"templates": {"judge": own}}), Scenario()).system == (
        "Responde a agent."
    )


@pytest.mark.parametrize(
    "right",
    [
        "an agent", "an Applicant", "an interviewer", "an official", "an \u00e9tudiant", "an uncle",
        "an uninsured driver",
        "a customer", "a user", "a University student", "a European client", "a one-time visitor", "a Ukrainian",
        "a \u6c42\u52a9\u8005", "a \u0430\u0433\u0435\u043d\u0442", "a 1st-line agent", "a (new) agent",
    ],
)  # fmt: skip
def test_the_article_of_a_name(right):
    assert with_article(right.partition(" ")[2]) == right
