"""``Roles.from_model``: what is given first works, or the error says what to do."""

import pytest

import mctsdialog
from mctsdialog import OpenAIChat, Roles, ScriptedModel, Turn, build_stack
from mctsdialog.errors import ConfigError

pytestmark = pytest.mark.timeout(60)

KEY = "sk-very-secret-0123456789"
HELLO = [Turn("seeker", "Hello.")]


def server(stub_server):
    return OpenAIChat("served", base_url=stub_server.url, api_key=KEY)


def test_a_name_is_a_model_with_retries_and_limits(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    roles = Roles.from_model("gpt-4o-mini", models={"judge": "gpt-4o"})
    assert [role.model.name for role in (roles.seeker, roles.supporter, roles.strategist)] == ["gpt-4o-mini"] * 3
    assert roles.judge.model.name == "gpt-4o"
    assert roles.seeker.model is roles.strategist.model is not roles.judge.model
    assert "RetryingModel(LimitedModel(OpenAIChat(" in repr(roles.seeker.model)


def test_a_name_without_its_key_says_which_to_set(monkeypatch):
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="groq/llama: set GROQ_API_KEY to your key"):
        Roles.from_model("groq/llama")


def test_a_client_is_retried_by_default(stub_server):
    stub_server.reply = lambda body, number: (503, {}) if number < 2 else "Welcome."
    roles = Roles.from_model(server(stub_server))
    assert mctsdialog.run(roles.supporter.reply(HELLO, "Affirmation")) == "Welcome."
    assert len(stub_server.requests) == 3


@pytest.mark.parametrize(
    "made",
    [build_stack(ScriptedModel(["x"])), build_stack(OpenAIChat("m", base_url="http://127.0.0.1:9/v1"), retry=None)],
)
def test_a_stack_is_used_as_it_is(made):
    assert Roles.from_model(made).supporter.model is made


def test_a_model_of_ones_own_is_used_as_it_is():
    model = ScriptedModel(["x"])
    assert Roles.from_model(model, models={"judge": model}).judge.model is model


@pytest.mark.parametrize("wrong", [None, 3, OpenAIChat, [ScriptedModel([])]])
def test_what_is_no_model(wrong):
    with pytest.raises(
        ConfigError, match=r"^model must be the name of a model or an object with an async method"
    ) as caught:
        Roles.from_model(wrong)
    assert caught.value.field == "model"
    with pytest.raises(ConfigError, match=r"^judge must be the name of a model") as caught:
        Roles.from_model(ScriptedModel([]), models={"judge": wrong})
    assert caught.value.field == "judge"


def test_roles_show_themselves_in_one_line_without_secrets(stub_server):
    plain = Roles.from_model(server(stub_server))
    shown = "Roles(seeker=LLMSeeker('served'), supporter=LLMSupporter('served'), strategist=LLMStrategist('served'),"
    assert repr(plain) == f"{shown} judge=LLMJudge('served'), domain='esc')"

    class Own:
        key = KEY

        async def reply(self, history, strategy=None):
            return "x"

        def __repr__(self):
            return f"Own(\n{KEY})"

    mixed = repr(Roles(Own(), Own(), plain.strategist, plain.judge))
    assert mixed == "Roles(seeker=Own, supporter=Own, strategist=LLMStrategist('served'), judge=LLMJudge('served'))"
    assert KEY not in repr(plain) + mixed


def test_a_strategy_that_the_domain_does_not_have_is_named():
    roles = Roles.from_model(ScriptedModel([]))
    with pytest.raises(
        ConfigError, match="there is no strategy 'Question' in esc; there are Emotional Validation"
    ) as caught:
        mctsdialog.run(roles.supporter.reply(HELLO, "Question"))
    assert caught.value.field == "strategy"
