"""Trees as Parquet: a row a node."""

import pytest
from click.testing import CliRunner

import mctsdialog
from mctsdialog.cli import main
from mctsdialog.export import save_parquet, save_tree
from mctsdialog.tree import ExpandedNode, SpokenNode, StrategyNode

pq = pytest.importorskip("pyarrow.parquet")
CONFIG = mctsdialog.SearchConfig(max_iterations=8, min_iterations=8, horizon=2)


@pytest.fixture
def trees(gold, domain, hash_roles):
    def grown(id):
        roles = hash_roles(domain.strategies.names).roles(domain)
        return mctsdialog.run(mctsdialog.search(gold.model_copy(update={"id": id}), roles, CONFIG))

    return [grown("a"), grown("b")]


def test_every_node_is_a_row(trees, tmp_path):
    table = pq.read_table(save_parquet(trees, tmp_path / "nodes.parquet")).to_pylist()
    nodes = [(tree, node) for tree in trees for node in tree]
    assert len(table) == len(nodes)
    for row, (tree, node) in zip(table, nodes, strict=True):
        assert (row["tree"], row["node"], row["type"]) == (tree.id, node.id, node.type)
        assert row["parent"] == (node.parent if isinstance(node, StrategyNode) else None)
        assert row["strategy"] == (node.strategy if isinstance(node, StrategyNode) else None)
        assert row["supporter"] == (node.supporter if isinstance(node, SpokenNode) else None)
        if isinstance(node, ExpandedNode):
            assert row["seeker"] == node.seeker
    assert table[0]["seeker"] == "I am tired."
    assert max(row["depth"] for row in table) >= 2


def test_the_command_writes_one_table_of_all_trees(trees, tmp_path):
    for tree in trees:
        save_tree(tree, tmp_path / f"{tree.id}.json")
    done = CliRunner().invoke(main, ["export", str(tmp_path), "--format", "parquet", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    table = pq.read_table(tmp_path / "out" / "nodes.parquet")
    assert table.num_rows == sum(map(len, trees))
    assert set(table.column("tree").to_pylist()) == {"a", "b"}
