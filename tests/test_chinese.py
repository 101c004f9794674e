"""Chinese from a file to figures: the same way as English, and as good."""

import json
import re
import warnings

import pytest
from click.testing import CliRunner

import mctsdialog
from cso_train.evaluation import evaluate_replies
from mctsdialog.cli import main
from mctsdialog.dialogue import ESCONV_ZH, inspect_dialogues, read_dialogues
from mctsdialog.export import save_html
from mctsdialog.figures import FontWarning
from mctsdialog.preferences import PreferenceConfig, PreferenceDataset, load_preferences, write_dataset
from mctsdialog.statistics import dataset_statistics, write_plots

pytestmark = pytest.mark.anyio

# short dialogues of our own; no person is meant
TALKS = [
    [
        ("求助者", "我最近总是睡不好，白天也没精神。", None),
        ("支持者", "这样多久了？", "提问"),
        ("支持者", "听起来你很疲惫，也有些担心，这一定不好受。", "情感反映"),
        ("求助者", "快一个月了。工作压力很大。", None),
        ("支持者", "能撑过这一个月，说明你很坚强。", "肯定与安慰"),
    ],
    [
        ("求助者", "我和室友吵架了，不知道怎么办。", None),
        ("支持者", "你们是因为什么吵起来的？", "提问"),
        ("求助者", "他总是很晚才回来，吵醒我。", None),
        ("支持者", "可以找个平静的时候，告诉他你的感受。", "提供建议"),
    ],
]
REPLIES = {
    "提问": "你愿意多说一点吗？",
    "复述或转述": "你是说，事情一直没有好转。",
    "情感反映": "听起来你很难过。",
    "自我表露": "我也有过类似的经历。",
    "肯定与安慰": "你已经做得很好了。",
    "提供建议": "也许可以先休息一天。",
    "提供信息": "很多人都会这样。",
    "其他": "我在这里陪着你。",
}


class Stub:
    """The four roles by rule, in Chinese."""

    async def reply(self, history, strategy=None, /):
        if strategy is not None:
            return f"{REPLIES[strategy]}第{len(history)}句。"
        return None if len(history) > 7 else f"嗯，我明白了，这是第{len(history)}次。"

    async def score(self, history, /):
        return {name: 3 + (place + len(history)) % 8 for place, name in enumerate(ESCONV_ZH.strategies.names)}

    async def judge(self, history, /):
        return dict.fromkeys(ESCONV_ZH.criteria, 4 if len(history[-1].text) % 3 else 1)


@pytest.fixture
def file(tmp_path):
    items = [
        {
            "problem_type": "情绪困扰",
            "situation": talk[0][1],
            "dialog": [
                {"speaker": who, "content": said, "annotation": {"strategy": label} if label else {}}
                for who, said, label in talk
            ],
        }
        for talk in TALKS
    ]
    path = tmp_path / "zh.json"
    path.write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture
async def trees(file):
    stub = Stub()
    roles = mctsdialog.Roles(stub, stub, stub, stub, domain=ESCONV_ZH)
    config = mctsdialog.SearchConfig(max_iterations=20, min_iterations=20, horizon=2)
    return [await mctsdialog.search(each, roles, config) for each in read_dialogues(file)]


def test_inspect(file):
    found = inspect_dialogues(file)
    assert (found.domain, found.dialogues, found.labelled, found.supporter_turns) == (ESCONV_ZH, 2, 4, 4)
    assert found.shown[0].turns[1].text == "这样多久了？听起来你很疲惫，也有些担心，这一定不好受。"
    assert found.shown[0].turns[1].strategy == "情感反映"


async def test_preferences_statistics_and_viewer(trees, tmp_path):
    config = PreferenceConfig(theta=0.0, min_visits=1)
    dataset = PreferenceDataset.from_trees(trees, config)
    assert list(dataset.pairs())
    write_dataset({"train": dataset}, tmp_path / "out")
    assert load_preferences(tmp_path / "out")["train"].records == dataset.records
    row = json.loads((tmp_path / "out/preference/train.jsonl").read_text("utf-8").splitlines()[0])
    assert re.fullmatch(r"\(\w+\) .*。", row["chosen"][0]["content"])
    found = dataset_statistics(dataset)
    assert found.sizes["seed"].utterance_words == pytest.approx(16.6, abs=5)
    assert found.diversity["chosen"].distinct[0] < found.diversity["chosen"].distinct[2] <= 1
    page = save_html(trees[0], tmp_path / "tree.html").read_text("utf-8")
    assert "听起来你很疲惫" in page


@pytest.mark.parametrize("form", ["png", "svg"])
async def test_figures(trees, tmp_path, form):
    pytest.importorskip("matplotlib")
    dataset = PreferenceDataset.from_trees(trees, PreferenceConfig(theta=0.0, min_visits=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FontWarning)  # a machine without a Chinese font
        files = write_plots(dataset_statistics(dataset), tmp_path, format=form)
    assert len(files) >= 5


def test_evaluation():
    gold = [("提问", "你愿意多说一点吗？"), ("情感反映", "听起来你很难过。")]
    replies = ["(提问) 你愿意多说一点吗？", "(情感反映) 听起来你很累。"]
    made = evaluate_replies(gold, replies, ESCONV_ZH.strategies, resamples=50)
    assert made.macro_f1.value > 0
    assert made.rouge_l.value == pytest.approx(100 * (1 + 2 * 5 / (7 + 6)) / 2)


def test_the_command(file, tmp_path, stub_server):
    tree = tmp_path / "out"
    model = ["--model", "stub", "--base-url", stub_server.url, "--max-iterations", "3", "--min-iterations", "1"]
    options = ["search", str(file), "--out", str(tree), *model]
    done = CliRunner().invoke(main, options, env={"OPENAI_API_KEY": "k"})
    assert done.exit_code == 0, done.output
    system = {request["messages"][0]["content"] for request in stub_server.requests}
    assert any("求助者的处境：我最近总是睡不好" in each for each in system)
    assert not any("You are" in each or "You play" in each for each in system)


def test_a_cut_reply_and_labels():
    from mctsdialog.roles import supporter_labels
    from mctsdialog.roles._utterance import read_utterance

    labels = supporter_labels(ESCONV_ZH)
    cut = read_utterance("我能理解你的感受。这真的很不容易！你愿意", labels, cut=True)
    assert cut.text == "我能理解你的感受。这真的很不容易！"
    for reply in (
        "支持者：你好。",
        "Supporter：你好。",
        "（提问）你好。",
        "【提问】你好。",
        "策略：提问\n你好。",
        "“你好。”",
    ):
        assert read_utterance(reply, labels).text == "你好。", reply
