"""Trees as files, for the commands that read them."""

import anyio
import pytest

import mctsdialog
from mctsdialog._search import SearchConfig


@pytest.fixture
def folder(tmp_path, hash_roles, domain, gold):
    """Four searched trees of the test domain; the first has no valid path."""
    for index in range(4):
        start = gold.model_copy(update={"id": f"gold-{index}", "description": f"Number {index}."})
        roles = hash_roles(domain.strategies.names, seed=index, end_one_in=4).roles(domain)
        config = SearchConfig(max_iterations=25, min_iterations=25, horizon=1)
        tree = anyio.run(mctsdialog.search, start, roles, config)
        mctsdialog.save_tree(tree, tmp_path / "trees" / f"gold-{index}.json")
    return tmp_path / "trees"
