"""What training and evaluation read: settings, sheets, replies, test sets, evaluations, and models' replies."""

import csv
import io
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anyio
import httpx

import mctsdialog
from cso_train import resolve_config
from cso_train.cli._judge import pairwise_command, rate_command
from cso_train.evaluation import ServerReplies, read_test_set
from cso_train.evaluation._evaluate import evaluate, join_tables, write_report, write_tables
from cso_train.evaluation._pairwise import (
    HUMAN_CRITERIA,
    PairToJudge,
    PairwiseJudge,
    compare_replies,
)
from cso_train.evaluation._ratings import (
    RatingJudge,
    ReplyToRate,
    rate_replies,
)
from cso_train.evaluation._sheets import SheetKey
from fuzz_parts import mutate
from fuzz_parts.guard import BrokenPromiseError
from fuzz_parts.kinds import Kind
from fuzz_parts.seeds import scripted

# -- settings ------------------------------------------------------------------------------------------------------

_VALUES = (
    "null", "~", "true", "no", "off", "0", "-1", "1e400", ".inf", ".nan", "-.inf", "0x10", "0o17", "1_000",
    "12:30:45", "2001-01-01", "2001-99-99", "99999-01-01", "[]", "[1, [2]]", "{}", "{a: b}", "'a", '"\\x00"',
    '"\\ud800"', "!!python/object/apply:os.system ['touch x']", "!!binary x", "!!binary aGk=", "!!int x", "!!float x",
    "!!timestamp x", "!!set {a}", "!!omap [a: 1]", "!!merge x", "!nosuch x", "&a x", "*a", "*nosuch",
    "|\n  text\n  more", ">\n  folded", "? a", "- a", "@x", "`x", "%x", "5e-7", "dpo", "kto", "sft", "1" * 500,
    "1" * 5000, "\"\\e[2J\"", "'\u202e'", "a: b: c", "<<: *a", "[" * 3000, "[" * 30_000 + "]" * 30_000, "{" * 3000,
    "{a: " * 3000, "q_proj,v_proj", "[a, b, ]", "auto", "none", "../outside/important.txt", "# x", "\t", "''", "1.0",
    "2", "3", "4.5", "1e-5", "=", "y", "0b1", "0.1e", "._", "-", "+", "1__0", "0x", "190:20:30", "!!null x",
    "!!bool x", "!!str [a]", "!!seq x", "!!map x", "2001-12-14t21:59:43.10-05:00", "2001-02-30 25:61:61",
    "0001-01-01 00:00:00 +99:99",
)  # fmt: skip
_LINES = (
    "---", "...", "--- a", "%YAML 1.1", "%YAML 9.9", "%TAG ! tag:x", "<<: {a: 1}", "? [a, b]\n: c", "? {a: b}",
    "1: 2", "null: 1", "- a", "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b]", "x: &x [*x]", "\ufeff", "\x85", "\x00",
    "\x1b[2J: 1", "  indented: 1", "\ttab: 1", "preset: nosuch", "preset: [a]", "preset: qwen2.5-7b-lora-dpo",
    "model: x", "model: y", "!!str model: z", '"model": w',
)  # fmt: skip


def write_yaml(draw, seeds):
    name = draw.choice(("settings.yaml", "short.yaml", "preset.yaml", "short.yaml"))
    if draw.random() < 0.25:
        data = mutate.mutate_bytes(draw, seeds[name], [seeds["settings.yaml"]])
    else:
        data = mutate.mutate_lines(draw, seeds.lines(name), _setting)
    Path("settings.yaml").write_bytes(data)
    return {}


def _setting(draw, line):
    key, gap, _ = line.decode("utf-8", "replace").partition(": ")
    kind = draw.randrange(8)
    if kind == 0:
        return mutate.encoded(draw.choice(_LINES))
    if kind == 1:
        return mutate.encoded(f"{mutate.string(draw, key)}{gap}{draw.choice(_VALUES)}")
    if kind == 2:
        return mutate.mutate_bytes(draw, line)
    return mutate.encoded(f"{key}: {draw.choice(_VALUES)}")


def read_yaml(seeds, how):
    resolved = resolve_config(None, "settings.yaml")
    text = resolved.to_yaml()
    Path("again.yaml").write_bytes(text.encode("utf-8"))
    if resolve_config(None, "again.yaml").config != resolved.config:
        raise BrokenPromiseError("settings change when they are written and read")


def yaml_words(draw, seeds, how):
    return "cso_train", ["config", "show", "--config", "settings.yaml"]


# -- sheets --------------------------------------------------------------------------------------------------------

_CELLS = (
    "", " ", "A", "B", "tie", "TIE", "a ", "1", "5", "6", "0", "-1", "1.0", "1,0", "1e0", "nan", "inf", "infinity",
    "1e400", "٣", "五", "²", "1_0", "9" * 5000, "x" * 200_000, "=1+1", "a\nb", "a,b", 'a"b', "\x00", "\x1b[2J",
    "\u202e", "'", ";", "\t", "b7de5e-1", "item",
)  # fmt: skip


def write_sheet(draw, seeds):
    kind = draw.choice(("pairs", "ratings"))
    sheet, key = seeds[f"{kind}/sheet.csv"], seeds[f"{kind}/key.json"]
    if draw.random() < 0.5:
        sheet = mutate.mutate_bytes(draw, sheet, [key]) if draw.random() < 0.4 else _cells(draw, sheet)
    if draw.random() < 0.6:
        fields = (
            "place", "swapped", "items", "about", "criteria", "groups", "strategies", "code", "schema", "first",
            "second",
        )  # fmt: skip
        changed = mutate.encoded(mutate.mutate_json(draw, json.loads(key), fields))
        key = mutate.mutate_bytes(draw, key) if draw.random() < 0.15 else changed
    Path("sheet.csv").write_bytes(sheet)
    Path("key.json").write_bytes(key)
    return {"kind": kind}


def _cells(draw, sheet):
    rows = list(csv.reader(io.StringIO(sheet.decode("utf-8-sig"))))
    for _ in range(draw.choice((1, 2, 8))):
        row = draw.choice(rows)
        change = draw.randrange(7)
        if change < 4 and row:
            row[draw.randrange(len(row))] = draw.choice(_CELLS)
        elif change == 4:
            row.insert(draw.randrange(len(row) + 1), draw.choice(_CELLS))
        elif change == 5 and row:
            del row[draw.randrange(len(row))]
        else:
            rows.insert(draw.randrange(len(rows) + 1), list(row))
    text = io.StringIO(newline="")
    try:
        csv.writer(text, delimiter=draw.choice(",,,;\t|"), quotechar=draw.choice('"""\'')).writerows(rows)
    except csv.Error:
        return sheet
    return mutate.encoded(text.getvalue()) if draw.random() < 0.9 else text.getvalue().encode("utf-16", "surrogatepass")


def read_sheet(seeds, how):
    command, *words = _sheet_words(how)
    {"pairwise": pairwise_command, "rate": rate_command}[command].main(words, standalone_mode=False)


def _sheet_words(how):
    words = ["--sheets", "sheet.csv", "--key", "key.json", "--resamples", "5"]
    return ["pairwise" if how["kind"] == "pairs" else "rate", *words]


def sheet_words(draw, seeds, how):
    return "cso_train", _sheet_words(how)


# -- replies, test sets, evaluations -------------------------------------------------------------------------------


def _json_line(draw, line):
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return mutate.mutate_bytes(draw, line)
    fields = ("prompt", "role", "content", "replies", "gold", "strategy", "text", "id", "stub", "completion")
    return mutate.encoded(mutate.mutate_json(draw, value, fields))


def _write_lines(draw, seeds, name, file):
    lines = seeds.lines(name)
    if draw.random() < 0.2:
        data = mutate.mutate_bytes(draw, seeds[name], [seeds["dataset/sft/train.jsonl"]])
    else:
        data = mutate.mutate_lines(draw, lines, _json_line)
    Path(file).write_bytes(data)


def write_replies(draw, seeds):
    _write_lines(draw, seeds, "evaluation/replies.jsonl", "replies.jsonl")
    return {"command": draw.choice(("pairwise", "rate"))}


def _reply_words(how):
    names = ["--first", "stub", "--second", "other"] if how["command"] == "pairwise" else []
    return ["--replies", "replies.jsonl", *names, "--sheet", "sheet"]


def read_replies(seeds, how):
    command = pairwise_command if how["command"] == "pairwise" else rate_command
    command.main(_reply_words(how), standalone_mode=False)
    SheetKey.read("sheet/key.json", "pairwise" if how["command"] == "pairwise" else "rate")


def replies_words(draw, seeds, how):
    return "cso_train", [how["command"], *_reply_words(how)]


def write_test(draw, seeds):
    _write_lines(draw, seeds, "test.jsonl", "test.jsonl")
    return {"baseline": draw.choice(("none", "example", "self-refine", "direct-refine"))}


def read_test(seeds, how):
    domain = mctsdialog.get_domain("esc")
    cases = read_test_set("test.jsonl", domain)
    options = {"baseline": how["baseline"], "examples": cases, "resamples": 3}
    evaluation, said = anyio.run(partial(evaluate, ServerReplies(scripted()), cases[:20], domain, **options))
    write_report("out", {"a": evaluation}, {"a": said}, cases[:20])


def test_words(draw, seeds, how):
    words = [
        "--test",
        "test.jsonl",
        "--model",
        "stub",
        "--server",
        seeds.url,
        "--no-figures",
        "--resamples",
        "3",
        "--limit",
        "3",
    ]
    more = [] if how["baseline"] == "none" else ["--baseline", how["baseline"], "--examples", "test.jsonl"]
    return "cso_train", ["evaluate", *words, *more]


def write_evaluation(draw, seeds):
    data = seeds["evaluation/evaluation.json"]
    fields = (
        "value", "low", "high", "strategies", "strategy", "support", "confusion", "count", "preferences",
        "strategy_f1", "bias",
    )  # fmt: skip
    changed = partial(mutate.mutate_json, draw, json.loads(data), fields)
    data = mutate.mutate_bytes(draw, data) if draw.random() < 0.2 else mutate.encoded(changed())
    Path("evaluation.json").write_bytes(data)
    return {}


def read_evaluation(seeds, how):
    write_tables("out", join_tables(["evaluation.json"]))
    join_tables(["out/evaluation.json"])


def evaluation_words(draw, seeds, how):
    return "cso_train", ["table", "evaluation.json", "--no-figures"]


# -- what models and servers say -----------------------------------------------------------------------------------


def write_reply(draw, seeds):
    scores = {name: draw.randrange(5) for name in mctsdialog.get_domain("esc").criteria}
    ratings = {name: draw.randrange(11) for name in mctsdialog.get_domain("esc").strategies.names}
    verdicts = dict.fromkeys(HUMAN_CRITERIA, "A")
    value = draw.choice(
        (scores, ratings, verdicts, {"acceptance": 3, "effectiveness": 3, "sensitivity": 3, "alignment": 2})
    )
    text = mutate.mutate_json(draw, value, tuple(value))
    kind = draw.randrange(8)
    if kind == 0:
        text = f"```json\n{text}\n```"
    elif kind == 1:
        text = mutate.string(draw, text)
    elif kind == 2:
        text = mutate.encoded(text).decode("utf-8", "replace")
        text = mutate.mutate_bytes(draw, text.encode()).decode("utf-8", "replace")
    elif kind == 3:
        text = draw.choice(_NOISE) * draw.choice((1, 30, 4000, 20_000))
    elif kind == 4:
        text = draw.choice(_NOISE) * draw.choice((1, 30, 4000)) + text
    Path("reply.txt").write_bytes(mutate.encoded(text[:100_000]))
    return {"who": draw.choice(("role", "role", "pairwise", "rate", "server"))}


_NOISE = (
    "{", "[", '{"', '{"a":', "[[", "}", "]", "(", "Seeker: ", "\n", "```", '"', "'", ",", ":", "\\", "#", "/*", "//",
    " ", "...", "“", "{'", "\\u", '[{"a":', "</end/>", "**", "Affirmation", "1", "-", "\n\n", '{"a":1}', "{}", "a.",
    "! ", "<think>", "\u200b",
)  # fmt: skip


def read_reply(seeds, how):
    text = Path("reply.txt").read_bytes().decode("utf-8", "surrogatepass")
    model = mctsdialog.ScriptedModel(lambda request: text, name="stub")
    if how["who"] == "pairwise":
        pair = PairToJudge(("Seeker: a",), "b", "c")
        anyio.run(partial(compare_replies, {"one": PairwiseJudge(model, HUMAN_CRITERIA)}, [pair]))
    elif how["who"] == "rate":
        anyio.run(
            partial(rate_replies, {"one": RatingJudge(model)}, [ReplyToRate("a", ("Seeker: a",), "b", "Affirmation")])
        )
    elif how["who"] == "server":
        anyio.run(_ask_server, text)
    else:
        anyio.run(_ask_roles, mctsdialog.Roles.from_model(model))


async def _ask_roles(roles):
    history = [mctsdialog.Turn("seeker", "Hello."), mctsdialog.Turn("supporter", "Yes?", "Affirmation")]
    for ask in (
        lambda: roles.seeker.reply(history),
        lambda: roles.supporter.reply(history[:1], "Affirmation"),
        lambda: roles.strategist.score(history[:1]),
        lambda: roles.judge.judge(history),
    ):
        try:
            await ask()
        except mctsdialog.ReplyError as error:
            str(error)


async def _ask_server(text):
    """The text as a server's whole answer, and as an answer's content."""
    for status, body in ((200, text.encode("utf-8", "surrogatepass")), (400, text.encode("utf-8", "surrogatepass"))):
        transport = httpx.MockTransport(lambda request, status=status, body=body: httpx.Response(status, content=body))
        model = mctsdialog.OpenAIChat("stub", base_url="http://127.0.0.1/v1", api_key="k", transport=transport)
        try:
            await model.complete(mctsdialog.llm.ChatRequest((mctsdialog.llm.Message("user", "x"),)))
        except mctsdialog.ModelError as error:
            str(error)
        finally:
            await model.aclose()


def write_answer(draw, seeds):
    value = {
        "id": "x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}},
        "error": {"message": "no", "type": "x"},
    }
    fields = (
        "choices", "message", "content", "finish_reason", "usage", "prompt_tokens", "error", "prompt_tokens_details",
    )  # fmt: skip
    body = mutate.encoded(mutate.mutate_json(draw, value, fields))
    if draw.random() < 0.2:
        body = mutate.mutate_bytes(draw, body)
    Path("reply.txt").write_bytes(body)
    return {}


def read_answer(seeds, how):
    anyio.run(
        _ask_server,
        Path("reply.txt").read_bytes().decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode(),
    )


# -- the folder of a training run ----------------------------------------------------------------------------------

_IDENTITY = {"config": {"model": "smollm2", "method": "dpo", "seed": 0}, "data": "0" * 64, "world_size": 1}
_MANIFEST = {"steps": 4, "loss": 0.5, "versions": {"torch": "2"}, "rows": 8}
_METRICS = [{"step": step, "epoch": step / 4, "loss": 0.7 - step / 10, "rewards/margins": 0.1} for step in range(1, 5)]


def write_run(draw, seeds):
    out = Path("out")
    out.mkdir()
    texts = {"run.json": _IDENTITY, "manifest.json": _MANIFEST, "config.yaml": {"model": "smollm2"}}
    files = {name: json.dumps(value).encode() for name, value in texts.items()}
    files["metrics.jsonl"] = "".join(json.dumps(line) + "\n" for line in _METRICS).encode()
    for step in (2, draw.choice((4, 4, "x", "", "4 ", "٤", "-1", "1" * 5000, "4" * 200))):
        files[f"checkpoints/checkpoint-{str(step)[:200]}/trainer_state.json"] = b'{"global_step": 2}'
    for name in draw.sample(sorted(files), draw.choice((1, 1, 2, 3))):
        files[name] = _run_file(draw, name, files[name])
    if draw.random() < 0.4:
        del files["manifest.json"]
    for name, data in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if draw.random() < 0.15:
        path = out / draw.choice(("model", "merged", "link", ".model.part", "curves.png", "checkpoints/checkpoint-9"))
        path.symlink_to(Path("../outside").resolve() / draw.choice(("sub", "important.txt")))
    return {"restart": draw.random() < 0.3}


def _run_file(draw, name, data):
    if name == "metrics.jsonl":
        return mutate.mutate_lines(draw, data.splitlines(), _json_line)
    if draw.random() < 0.2 or name == "config.yaml":
        return mutate.mutate_bytes(draw, data)
    return mutate.encoded(mutate.mutate_json(draw, json.loads(data), ("steps", "loss")))


def read_run(seeds, how):
    """What a training command does with the folder before and after the model trains."""
    from cso_train._callbacks import MetricsLog
    from cso_train._curves import read_metrics
    from cso_train._run import folder

    out = Path("out")
    folder.claim(out, _IDENTITY, resolve_config(), restart=how["restart"])
    done = folder.finished_run(out, _IDENTITY)
    if done is not None:
        str(done)  # as the command tells it
    folder.last_checkpoint(out)
    metrics = out / "metrics.jsonl"
    state = SimpleNamespace(is_world_process_zero=True, global_step=3)
    MetricsLog(metrics).on_train_begin(None, state, None)
    if metrics.is_file():
        read_metrics(metrics)


KINDS = (
    Kind("settings", write_yaml, read_yaml, yaml_words),
    Kind("sheets", write_sheet, read_sheet, sheet_words),
    Kind("replies", write_replies, read_replies, replies_words),
    Kind("testset", write_test, read_test, test_words),
    Kind("evaluation", write_evaluation, read_evaluation, evaluation_words),
    Kind("model-reply", write_reply, read_reply),
    Kind("server-answer", write_answer, read_answer),
    Kind("training-run", write_run, read_run, needs="cso_train._callbacks"),
)
