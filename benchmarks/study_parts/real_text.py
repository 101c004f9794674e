"""The same pipeline on real text: ESConv dialogues, SmolLM2 in all four roles and as the model that is trained.

Figures are given as they are: a 135M model judges badly, and a handful of dialogues decides nothing.
"""

import shutil
from functools import partial

import anyio
import common

import mctsdialog
from cso_train.evaluation import build_test_set
from mctsdialog.algorithms._rules import mean
from study_parts.training import scores, trained

TEXT = """
## Real text

{dialogues} ESConv dialogues of at most {most} utterances, {iterations} iterations each with H = {horizon}, at
turns without a rejected sibling one probe; SmolLM2-135M-Instruct in all four roles. The same model trained by
DPO with LoRA for {steps} steps, then asked in {contexts} contexts of other dialogues. The paper's settings
else. With so few contexts, the figures show that the pipeline runs on real text, and no more.
"""

COLUMNS = {
    "model": ("name", "s"),
    "Q": ("Q", ".1f"),
    "B": ("B", ".2f"),
    "Q_W": ("QW", ".1f"),
    "R-L": ("RL", ".1f"),
    "without a strategy": ("failed", "d"),
}


def real_part(store, preset, file):
    """Text and numbers; where the data or the model is not there, the reason."""
    sizes = preset.real
    reason = missing(sizes, file)
    if reason:
        return ["", "## Real text", "", f"Left out: {reason}."], {"skipped": reason}
    dialogues, others = chosen_dialogues(file, sizes)
    folder = store.folder / "real"
    data = store.kept("real/data", partial(grow, dialogues, sizes, folder))
    cases = build_test_set(others, dialogues[0][1], limit=sizes.contexts)
    rows = []
    for name in ("SmolLM2", "CSO"):
        said = store.kept(f"real/replies/{name}", partial(replies, name, cases, sizes, folder))
        found = scores(cases, said, dialogues[0][1])
        rows.append({"name": name, "Q": found.macro_f1.value, "B": found.bias.value, "QW": found.weighted_f1.value})
        rows[-1] |= {"RL": found.rouge_l.value, "failed": found.failed}
    given = {name: getattr(sizes, name) for name in ("iterations", "horizon", "steps", "most")}
    text = TEXT.format(dialogues=len(dialogues), contexts=len(cases), **given)
    told = f"Mean Q of the judged nodes {data['mean_q']:.2f}.\n\n```text\n{data['report']}\n```\n"
    return [text, told, common.table(rows, COLUMNS)], {"data": data, "rows": rows}


def missing(sizes, file):
    """Why the part cannot run; None where it can."""
    if not sizes.dialogues:
        return "this preset has no run on real text"
    if not file.is_file():
        return "ESConv's dialogues are not there; name the file with --esconv"
    try:
        mctsdialog.LocalChat()
    except mctsdialog.errors.ModelNotFoundError as error:
        return f"the embedded model is not there ({error})"
    return None


def chosen_dialogues(file, sizes):
    """Short dialogues to grow, each with the domain, and others for the test."""
    found = mctsdialog.read_dialogues(file)
    short = [each for each in found if len(each.turns) <= sizes.most]
    grown = {each.id for each in short[: sizes.dialogues]}
    return [(each, found.domain) for each in short[: sizes.dialogues]], [each for each in found if each.id not in grown]


def grow(dialogues, sizes, folder):
    """Trees of the dialogues, and their pairs in a folder; what is in them. A search that was stopped goes on."""
    folder.mkdir(parents=True, exist_ok=True)

    async def make():
        async with mctsdialog.LocalChat() as model:
            return [await grown(*each, model) for each in dialogues]

    async def grown(dialogue, domain, model):
        roles = mctsdialog.Roles.from_model(model, domain=domain)
        limits = dict.fromkeys(("max_iterations", "min_iterations"), sizes.iterations)
        config = mctsdialog.SearchConfig(horizon=sizes.horizon, parallelism=4, **limits)
        tree = await mctsdialog.search(dialogue, roles, config, journal=folder / f"{dialogue.id}.jsonl")
        probes = folder / f"{dialogue.id}-probes.jsonl"
        await mctsdialog.preferences.probe_siblings(tree, roles, max_per_turn=1, horizon=0, journal=probes)
        return tree

    trees = anyio.run(make)
    dataset = mctsdialog.PreferenceDataset.from_trees(trees)
    shutil.rmtree(folder / "esc-pro", ignore_errors=True)
    mctsdialog.write_dataset({"train": dataset}, folder / "esc-pro", license="cc-by-nc-4.0")
    values = [node.value for tree in trees for node in tree if node.type in ("expanded", "end") and not node.gold]
    return {"report": str(dataset.report), "pairs": len(list(dataset.pairs())), "mean_q": mean(values)}


def replies(name, cases, sizes, folder):
    """What the model says, as it is or trained on the pairs."""
    import torch

    from cso_train._models import ModelSource, load_model, load_tokenizer
    from cso_train.evaluation import TransformersReplies

    source = ModelSource.of("smollm2")
    model = load_model(source, dtype=torch.float32)
    if name != "SmolLM2":
        from peft import PeftModel

        settings = {"max_steps": sizes.steps, "batch_size": 2, "learning_rate": 1e-4, "lr_scheduler": "constant"}
        settings |= {"per_device_batch_size": 1, "lora": True}
        adapter = trained(folder / "run", "smollm2", folder / "esc-pro", "dpo", **settings)
        model = PeftModel.from_pretrained(model, str(adapter))
    model.config.use_cache = True
    model.eval()
    asked = TransformersReplies(model, load_tokenizer(source), batch_size=4, max_tokens=sizes.longest_reply)
    return anyio.run(asked.answer, [list(case.prompt) for case in cases])
