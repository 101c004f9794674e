"""Trees as files, for the commands that read them."""

import anyio
import pytest
from click.testing import CliRunner

import mctsdialog
from mctsdialog._search import SearchConfig
from mctsdialog.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command in an empty folder: gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        done = CliRunner().invoke(main, [*map(str, words)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    return run


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
