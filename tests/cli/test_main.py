"""The subcommands that call no model."""

import json
import subprocess
import sys

import anyio
import pytest
from click.testing import CliRunner

import mctsdialog
from mctsdialog.cli import main
from mctsdialog.cli._tree import tree_view
from mctsdialog.text import one_line


@pytest.fixture
def tree_file(tmp_path, domain, gold, hash_roles):
    async def grow():
        roles = hash_roles(domain.strategies.names).roles()
        return await mctsdialog.search(
            gold, roles, mctsdialog.SearchConfig(max_iterations=12, min_iterations=12), domain=domain
        )

    path = tmp_path / "tree.json"
    mctsdialog.save_tree(anyio.run(grow), path)
    return path


def invoke(*words, **keywords):
    result = CliRunner().invoke(main, [str(word) for word in words], **keywords)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_help_documents_exit_codes():
    for words in (["--help"], ["search", "--help"]):
        text = invoke(*words).output
        assert "130" in text
        assert "bad input" in text


def test_module_entry():
    done = subprocess.run(
        [sys.executable, "-m", "mctsdialog", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert mctsdialog.__version__ in done.stdout


def test_show(tree_file):
    result = invoke("show", tree_file)
    assert result.exit_code == 0
    for text in ("gold-1", "12 iterations", "(Ask)", "     Q    N\n", "(gold)", "What wears you out?", "(end, gold)"):
        assert text in result.output
    more = invoke("show", tree_file, "--unexpanded").output
    assert len(more.splitlines()) > len(result.output.splitlines())
    deep, flat = invoke("show", tree_file).output, invoke("show", tree_file, "--depth", 1).output
    assert len(flat.splitlines()) < len(deep.splitlines())
    best = invoke("show", tree_file, "--best").output
    assert "best path: mean Q" in best
    assert "supporter: (" in best


def test_show_says_what_is_closed_and_why(tree_file, tmp_path):
    tree = mctsdialog.load_tree(tree_file)
    node = next(node for node in tree if node.type == "unexpanded")
    tree.close(node.id, "judge: \x1b[2Jcontent_filter")
    output = invoke("show", mctsdialog.save_tree(tree, tmp_path / "closed.json")).output
    assert f"[{node.id}] " in output, "it was tried, so it is shown"
    assert "(closed: judge: \\x1b[2Jcontent_filter)" in " ".join(output.replace("│", " ").split()), "it may be wrapped"
    assert "1 branches closed" not in output
    assert "1 branch closed: judge: \\x1b[2Jcontent_filter 1" in output


def test_show_of_a_node_that_is_not_there_and_of_no_tree(tree_file, tmp_path):
    result = invoke("show", tree_file, "--node", 9999)
    assert (result.exit_code, "9999" in result.output) == (2, True)
    bad = tmp_path / "bad.json"
    bad.write_text('{"schema": "mctsdialog.tree", "version": 1}')
    result = invoke("show", bad)
    assert result.exit_code == 2
    assert "bad.json" in result.output
    assert len(result.output.splitlines()) == 1


def test_texts_cannot_act_on_the_terminal(domain):
    opening = [mctsdialog.Turn("seeker", "\x1b[2Jgone\r\n\x07\u202eabc")]
    tree = mctsdialog.Tree(mctsdialog.Scenario(), domain, opening)
    (*_, line) = tree_view(tree, tree.root, unexpanded=True, max_depth=None, full=True)
    assert line.plain.strip() == r"seeker: \x1b[2Jgone \x07\u202eabc"
    assert one_line("a\n\x00b\t") == r"a \x00b"


@pytest.mark.parametrize("form", ["json", "graphml", "dot"])
def test_export(tree_file, tmp_path, form):
    result = invoke("export", tree_file, "--format", form, "--out", tmp_path / "out")
    assert result.exit_code == 0
    target = tmp_path / "out" / f"tree.{form}"
    assert str(target) in result.output
    assert target.stat().st_size > 100
    if form == "json":
        assert target.read_bytes() == tree_file.read_bytes()


def test_export_takes_folders_and_writes_no_tree_over_another(tree_file, tmp_path):
    folders = [tmp_path / name / "trees" for name in "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "tree.json").write_bytes(tree_file.read_bytes())
    result = invoke("export", folders[0].parent, "--format", "dot")
    assert (result.exit_code, result.output.split()) == (0, [str(folders[0] / "tree.dot")])
    result = invoke("export", *folders, "--format", "dot", "--out", tmp_path / "out")
    assert (result.exit_code, (tmp_path / "out").exists()) == (2, False)
    assert all(str(folder / "tree.json") in result.output for folder in folders)


def test_sample_writes_what_the_reader_reads(tmp_path):
    target = tmp_path / "deep" / "gold.json"
    assert invoke("sample", target).exit_code == 0
    assert len(mctsdialog.read_dialogues(target)) == len(mctsdialog.sample_dialogues())


def test_domains(tmp_path):
    listed = invoke("domains").output
    for name in mctsdialog.dialogue.domains():
        assert name in listed
    assert "Emotional Validation" in invoke("domains", "esc").output
    written = tmp_path / "mine.json"
    written.write_text(invoke("domains", "persuasion", "--json").output)
    assert mctsdialog.load_domain(written) == mctsdialog.get_domain("persuasion")
    result = invoke("domains", "perssuasion")
    assert result.exit_code == 2
    assert "persuasion" in result.output


def test_cache_commands(tmp_path):
    model = mctsdialog.ScriptedModel(lambda request: "hello")

    async def fill():
        with mctsdialog.ResponseCache(tmp_path / "cache") as cache:
            stack = mctsdialog.build_stack(model, cache=cache)
            for text in ("a", "b", "c"):
                await stack.complete(mctsdialog.llm.ChatRequest((mctsdialog.llm.Message("user", text),)))

    anyio.run(fill)
    assert "3 replies" in invoke("cache", "stats", tmp_path / "cache").output
    assert invoke("cache", "clear", tmp_path / "cache", input="n\n").exit_code == 1
    assert "3 replies removed" in invoke("cache", "clear", tmp_path / "cache", "--yes").output
    assert "0 replies" in invoke("cache", "stats", tmp_path / "cache").output


def test_cache_commands_leave_another_folder_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    result = invoke("cache", "stats", tmp_path)
    assert result.exit_code == 2
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["mine.txt"]'
