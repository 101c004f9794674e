"""A trained model plays the supporter in a search."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cso_train._models import load_for_answers  # noqa: E402
from cso_train._serving import TrainedSupporter  # noqa: E402
from cso_train.errors import TrainModelError  # noqa: E402
from mctsdialog import Roles, SearchConfig, Turn, get_domain, sample_dialogues, search  # noqa: E402
from mctsdialog.tree import SpokenNode  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def supporter(tiny_folder):
    model, tokenizer = load_for_answers(str(tiny_folder))
    model.generation_config.forced_eos_token_id = tokenizer.eos_token_id  # a random model ends no reply by itself
    return TrainedSupporter(model, tokenizer, get_domain("esc"), max_tokens=8, max_length=500)


async def test_a_reply_is_the_same_again_and_another_for_another_strategy(supporter):
    history = [Turn("seeker", "I am tired.")]
    said = [await supporter.reply(history, name) for name in ("Affirmation", "Affirmation", "Share Information")]
    assert said[0] == said[1]
    assert all("(Affirmation)" not in each for each in said)


async def test_it_plays_in_a_search(supporter, hash_roles):
    domain = get_domain("esc")
    others = hash_roles(domain.strategies.names).roles(domain)

    class Sure:
        """The supporter, where the tiny random model says nothing."""

        async def reply(self, history, strategy, /):
            return await supporter.reply(history, strategy) or "..."

    roles = Roles(others.seeker, Sure(), others.strategist, others.judge, domain=domain)
    config = SearchConfig(max_iterations=2, min_iterations=2, horizon=1)
    tree = await search(sample_dialogues()[0], roles, config)
    tree.check()
    assert any(isinstance(node, SpokenNode) and not node.gold for node in tree)


async def test_what_is_no_adapter_is_refused(tiny_folder, tmp_path):
    with pytest.raises(TrainModelError, match="holds no adapter"):
        TrainedSupporter.load(str(tiny_folder), get_domain("esc"), adapter=tmp_path)
