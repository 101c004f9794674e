"""Dialogues in every form, domains, prompt templates, trees."""

import json
from functools import partial
from pathlib import Path

import anyio

import mctsdialog
from fuzz_parts import mutate, templates
from fuzz_parts.guard import SECRET, BrokenPromiseError
from fuzz_parts.kinds import Kind, command
from fuzz_parts.seeds import PAIRS, scripted, search_words
from mctsdialog.preferences import FORMATS

SHORT = mctsdialog.SearchConfig(max_iterations=1, min_iterations=1, horizon=0)


def no_secret(text):
    """See that nothing came in that stands outside."""
    if SECRET in text:
        raise BrokenPromiseError("it holds what stands outside")


def search_once(start, domain):
    """One iteration, so that the prompts of all roles are rendered."""
    model = scripted()
    tree = anyio.run(partial(mctsdialog.search, start, mctsdialog.Roles.from_model(model, domain=domain), SHORT))
    no_secret("".join(message.content for request in model.requests for message in request.messages))
    return tree


# -- dialogues -----------------------------------------------------------------------------------------------------


def write_dialogues(draw, seeds, form):
    name = draw.choice(
        {"extes": ("extes.json",), "esconv": ("esconv.json",), "chat": ("chat.jsonl", "messages.jsonl")}[form]
    )
    others = [seeds[each] for each in ("extes.json", "esconv.json", "chat.jsonl", "messages.jsonl")]
    if draw.random() < 0.25:
        data = mutate.mutate_bytes(draw, seeds[name], others)
    elif name.endswith(".jsonl"):
        data = mutate.mutate_lines(draw, seeds.lines(name), _line)
    else:
        data = mutate.encoded(mutate.mutate_json(draw, seeds.json(name), _FIELDS))
    as_lines = name.endswith(".jsonl") != (draw.random() < 0.1)
    file = draw.choice(("in", "in", "in", "a b", "-x", "é")) + (".jsonl" if as_lines else ".json")
    Path(file).write_bytes(data)
    given = draw.choice(("auto", "auto", form, form, draw.choice(("extes", "esconv", "chat"))))
    return {
        "file": file,
        "format": given,
        "lenient": draw.random() < 0.5,
        "stream": draw.random() < 0.5,
        "search": draw.random() < 0.5,
    }


_FIELDS = (
    "content", "dialog", "speaker", "annotation", "strategy", "AI Strategy", "scene", "description", "id", "User",
    "AI",
)  # fmt: skip


def _line(draw, line):
    return (
        mutate.encoded(mutate.mutate_json(draw, json.loads(line), _FIELDS))
        if _is_json(line)
        else mutate.mutate_bytes(draw, line)
    )


def _is_json(line):
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def read_dialogues(seeds, how):
    options = {"format": how["format"], "lenient": how["lenient"]}
    if how["stream"]:
        stream = mctsdialog.dialogue.stream_dialogues(how["file"], **options)
        found, domain, report = list(stream), stream.domain, stream.report
    else:
        found = mctsdialog.read_dialogues(how["file"], **options)
        domain, report = found.domain, found.report
    str(report)
    json.dumps(report.to_dict())
    if not found:
        return
    mctsdialog.dialogue.write_dialogues("again.jsonl", found)
    again = mctsdialog.read_dialogues("again.jsonl", domain=domain)
    if len(again) != len(found):
        raise BrokenPromiseError(f"{len(found)} dialogues are {len(again)} when they are written and read again")
    if how["search"]:
        search_once(found[0], domain)


def dialogue_words(draw, seeds, how):
    options = ["--format", how["format"], *(["--lenient"] if how["lenient"] else [])]
    if draw.random() < 0.4:
        return command("cso_train testset --out test.jsonl --least 1", *options, "--", how["file"])
    line = "mctsdialog search --out out --limit 2"
    return command(line, *options, *search_words(seeds.url), "--max-iterations", "1", "--", how["file"])


# -- domains and templates -----------------------------------------------------------------------------------------


def write_domain(draw, seeds):
    name = draw.choice(("domain-esc.json", "domain-persuasion.json"))
    if draw.random() < 0.2:
        data = mutate.mutate_bytes(draw, seeds[name], [seeds["trees/tree-0.json"]])
    else:
        value = seeds.json(name)
        if draw.random() < 0.3:
            value["strategies"]["strategies"] = value["strategies"]["strategies"][:2]
        data = mutate.encoded(
            mutate.mutate_json(draw, value, ("name", "weights", "rubric", "levels", "aliases", "strategies"))
        )
    Path("domain.json").write_bytes(data)
    return {}


def write_template(draw, seeds):
    value = seeds.json("domain-esc.json")
    role = draw.choice(("seeker", "supporter", "strategist", "judge"))
    value["templates"] = {role: templates.template(draw, role)}
    Path("domain.json").write_text(json.dumps(value), "utf-8")
    return {}


def read_domain(seeds, how):
    domain = mctsdialog.load_domain("domain.json")
    start = mctsdialog.Scenario(scene="Work", description="Too much.", id="x")
    tree = search_once(start, domain)
    mctsdialog.save_tree(tree, "tree.json")
    mctsdialog.load_tree("tree.json")
    mctsdialog.export.to_graphml(tree)
    mctsdialog.export.to_html(tree)
    mctsdialog.preferences.tree_record(tree, PAIRS)


def domain_words(draw, seeds, how):
    Path("start.jsonl").write_bytes(seeds["scenario.jsonl"])
    if draw.random() < 0.3:
        Path("chat.jsonl").write_bytes(seeds["chat.jsonl"])
        return command("cso_train testset chat.jsonl --out test.jsonl --least 1 --domain ./domain.json")
    return command("mctsdialog search start.jsonl --domain ./domain.json --out out", *search_words(seeds.url))


# -- trees ---------------------------------------------------------------------------------------------------------

_TREE_FIELDS = (
    "id", "parent", "type", "strategy", "score", "prior", "value", "visits", "turns", "rollout", "judgements",
    "supporter", "seeker", "config", "stop_reason", "templates", "bias", "weights", "speaker", "scene", "gold",
)  # fmt: skip


def write_tree(draw, seeds):
    name = draw.choice(("trees/tree-0.json", "trees/tree-1.json", "run/trees/one.json"))
    kind = draw.random()
    if kind < 0.2:
        data = mutate.mutate_bytes(draw, seeds[name], [seeds["domain-esc.json"], seeds["trees/tree-1.json"]])
    elif kind < 0.3:
        data = mutate.mutate_lines(draw, seeds.lines(name), mutate.mutate_bytes)
    else:
        value = seeds.json(name)
        inner = draw.choice((value["nodes"], value["nodes"], value["nodes"], value["domain"], value["config"], value))
        if kind < 0.35:
            value["domain"]["templates"] = {role: templates.template(draw, role) for role in ("supporter",)}
            text = json.dumps(value)
        elif inner is value:
            text = mutate.mutate_json(draw, value, _TREE_FIELDS)
        else:
            part = mutate.mutate_json(draw, inner, _TREE_FIELDS)
            key = next(key for key, each in value.items() if each is inner)
            text = mutate.to_text(value | {key: mutate.Raw(part)})
        data = mutate.encoded(text)
    Path("tree.json").write_bytes(data)
    return {"use": draw.choice(("export", "html", "pairs", "random", "lines"))}


def read_tree(seeds, how):
    tree = mctsdialog.load_tree("tree.json")
    if how["use"] == "export":
        mctsdialog.save_tree(tree, "again.json")
        if mctsdialog.load_tree("again.json").counts() != tree.counts():
            raise BrokenPromiseError("a tree changes when it is written and read")
        mctsdialog.export.save_graphml(tree, "tree.graphml")
        mctsdialog.export.to_dot(tree)
    elif how["use"] == "html":
        mctsdialog.export.save_html(tree, "tree.html")
    elif how["use"] == "pairs":
        data = mctsdialog.preferences.read_trees("tree.json", PAIRS)
        for form in FORMATS.values():
            list(form.rows(data))
        str(data.report)
        if any(record.nodes for record in data.records):
            mctsdialog.write_dataset({"train": data}, "data")
            mctsdialog.preferences.load_preferences("data")
            str(mctsdialog.statistics.dataset_statistics(data))
    elif how["use"] == "random":
        roles = mctsdialog.Roles.from_model(scripted(), domain=tree.domain)
        record, _ = anyio.run(partial(mctsdialog.preferences.random_record, tree, roles, PAIRS, journal="random.jsonl"))
        no_secret(json.dumps(record.to_dict()))
        anyio.run(partial(mctsdialog.preferences.probe_siblings, tree, roles, PAIRS, max_per_turn=1, horizon=0))
        tree.check()
    else:
        tree.best_path()
        tree.check()
        str(tree)
        tree._repr_html_()


def tree_words(draw, seeds, how):
    lines = ["show tree.json --unexpanded", "show tree.json --full", "show tree.json --best", "view tree.json"]
    lines += [f"export tree.json --out out --format {form}" for form in ("json", "graphml", "dot")]
    lines += ["stats tree.json --no-figures --theta 0.3 --min-visits 1"] * 2
    lines += ["preferences tree.json --theta 0.3 --min-visits 1"] * 2
    asking = "preferences tree.json --theta 0.3 --min-visits 1"
    if draw.random() < 0.2:
        way = draw.choice(("--random", "--siblings 1 --horizon 0"))
        return command(f"mctsdialog {asking} {way}", *search_words(seeds.url)[:8])
    line = draw.choice(lines)
    lenient = line.startswith(("stats", "preferences")) and draw.random() < 0.3
    return command(f"mctsdialog {line}", *(["--lenient"] if lenient else []))


KINDS = (
    *(
        Kind(f"dialogues-{form}", partial(write_dialogues, form=form), read_dialogues, dialogue_words)
        for form in ("extes", "esconv", "chat")
    ),
    Kind("domain", write_domain, read_domain, domain_words),
    Kind("template", write_template, read_domain, domain_words),
    Kind("tree", write_tree, read_tree, tree_words),
)
