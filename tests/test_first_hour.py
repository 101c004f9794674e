"""What a newcomer types in the first hour gives what was meant, or one error that says what to do."""

from dataclasses import replace

import pytest

import mctsdialog as m
from mctsdialog.cli.keys import Servers
from mctsdialog.errors import ConfigError, JournalMismatchError
from mctsdialog.tree import tree_to_document

pytestmark = pytest.mark.timeout(60)

KEY = "sk-0123456789abcdef"


@pytest.fixture
def openai_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("grok/llama", "did you mean groq/llama?"),
        ("Groq/llama", "did you mean groq/llama?"),
        ("antropic/claude", "did you mean anthropic/claude?"),
        ("meta-llama/Llama-3", "there are anthropic, azure"),
        ("/llama", "there are anthropic, azure"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda name: m.llm.chat_model(name, api_key="gsk-mine-0123456789"),
        m.llm.chat_model,
        lambda name: m.OpenAIChat(name, api_key="gsk-mine-0123456789"),
        m.Roles.from_model,
        lambda name: m.Roles.from_model(m.ScriptedModel([]), models={"judge": name}),
        lambda name: Servers.of(None, (), option="--base-url", model=name).chat(name),
    ],
)
def test_no_key_goes_to_openai_for_a_provider_that_is_misspelt(make, name, hint, openai_key):
    with pytest.raises(ConfigError) as caught:
        make(name)
    assert hint in str(caught.value)
    assert name in str(caught.value)
    assert "gsk-mine" not in str(caught.value)


def test_a_known_providers_model_needs_its_client(openai_key):
    with pytest.raises(ConfigError, match=r"chat_model\('groq/llama'\) calls groq"):
        m.OpenAIChat("groq/llama")


def test_a_name_with_a_slash_is_whole_at_an_address_of_its_own(openai_key):
    assert m.OpenAIChat("meta-llama/Llama-3", base_url="http://localhost:1/v1").model == "meta-llama/Llama-3"
    assert m.llm.chat_model("openrouter/grok/x", api_key="or-0123456789").model == "grok/x"


def test_openai_is_not_called_without_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="gpt-4o-mini: set OPENAI_API_KEY to your key, give api_key="):
        m.OpenAIChat("gpt-4o-mini")
    with pytest.raises(ConfigError, match="ABSENT"):
        m.OpenAIChat("gpt-4o-mini", api_key_env="ABSENT")
    assert m.OpenAIChat("gpt-4o-mini", api_key="").model == "gpt-4o-mini"
    assert m.OpenAIChat("gpt-4o-mini", base_url="http://localhost:1/v1").model == "gpt-4o-mini"


WORLD = m.worlds.World(7)
CONFIG = m.SearchConfig(max_iterations=6, horizon=2)


class OwnRole:
    """A role of a caller's own that does as one of the world's."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        if name in ("for_scenario", "for_prompts", "provenance"):
            raise AttributeError(name)
        return getattr(self.inner, name)


class OtherRole(OwnRole):
    pass


def own_roles(judge=OwnRole, **more):
    roles = WORLD.roles().bind(WORLD.scenario(0))
    kinds = {"seeker": OwnRole, "supporter": OwnRole, "strategist": OwnRole, "judge": judge}
    return m.Roles(**{name: kind(getattr(roles, name)) for name, kind in kinds.items()}, domain=WORLD.domain, **more)


def to_values(tree):
    return tree_to_document(tree)


def journaled(roles, path):
    return m.run(m.search(WORLD.scenario(0), roles, CONFIG, journal=path))


@pytest.mark.parametrize(
    "other",
    [
        lambda: own_roles(judge=OtherRole),
        lambda: replace(own_roles(), judge=OtherRole(WORLD.roles().judge)),
        lambda: own_roles(provenance={"judge": {"class": "OwnRole", "level": 3}}),
        lambda: m.Roles.from_model(m.ScriptedModel([]), domain=WORLD.domain),
        lambda: replace(WORLD.roles(), judge=OtherRole(WORLD.roles().judge)),
    ],
)
def test_a_journal_of_other_own_roles_is_refused(other, tmp_path):
    path = tmp_path / "journal.jsonl"
    tree = journaled(own_roles(), path)
    assert tree.roles["judge"] == {"class": "OwnRole"}
    assert to_values(journaled(own_roles(), path)) == to_values(tree)
    with pytest.raises(JournalMismatchError, match="roles"):
        journaled(other(), path)


def test_a_role_that_replaces_an_llms_is_not_taken_for_it():
    roles = m.Roles.from_model(m.ScriptedModel([]))
    mixed = replace(roles, judge=OwnRole(WORLD.roles().judge))
    assert mixed.provenance == {**roles.provenance, "judge": {"class": "OwnRole"}}
    other = replace(roles, judge=m.roles.LLMJudge(m.ScriptedModel([], name="other"), m.get_domain("esc")))
    assert other.provenance["judge"]["model"] == "other"
