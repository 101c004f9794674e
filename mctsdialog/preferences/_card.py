"""The dataset card: what the data is, where it came from, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

from mctsdialog.preferences._dataset import PreferenceDataset
from mctsdialog.preferences._rows import ALL_FORMATS
from mctsdialog.text import markdown_line, yaml_text

_WHAT = """\
Pairs of replies to the same conversation, one preferred, extracted from conversation trees that a search grew
(Chain of Strategy Optimization, Zhao et al., Findings of EMNLP 2025, section 3.2).
"""

_USE = """\
Research on dialogue models. The replies were written by language models and rated by language models; they can be
wrong, biased or harmful. Neither this data nor a model trained on it is fit for use with people, least of all people
in distress, without review, and neither is a substitute for professional care. Texts may hold personal matters of the
people whose dialogues the trees grew from: the terms of the seed data hold here too."""


def dataset_card(
    splits: Mapping[str, PreferenceDataset],
    files: Mapping[str, int],
    license: str | None,
    left_out: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """The card as Markdown with the metadata that hubs read.

    :param splits: data by split.
    :param files: rows by file, relative to the card.
    :param license: identifier of the license; None for unknown.
    :param left_out: how many pairs were left out on writing, by reason.
    """
    first = next(iter(splits.values()))
    title = markdown_line(first.domain.title or first.domain.name)
    sections = [
        _metadata(files, license),
        f"# Turn-level preferences: {title}\n",
        _WHAT,
        _counts(splits, left_out),
        _files(files),
        _settings(first),
        *_reviews(first),
        *_health(first),
        "## Strategies\n\n" + "\n".join(f"- {markdown_line(name)}" for name in first.domain.strategies.names) + "\n",
        f"## Licence\n\n{markdown_line(license) if license else _NO_LICENSE}\n",
        f"## Intended use\n\n{_USE}\n",
    ]
    return "\n".join(sections)


_NO_LICENSE = (
    "Not stated. The seed dialogues have a licence of their own, and the models that wrote the replies have terms; "
    "settle both before you share this."
)


def _metadata(files: Mapping[str, int], license: str | None) -> str:
    """YAML for the hub; nothing in its strings is markup."""
    lines = ["---", f"license: {yaml_text(license or 'unknown')}", "configs:"]
    configs: dict[str, list[str]] = {}
    for file in files:
        configs.setdefault(PurePosixPath(file).parent.as_posix(), []).append(file)
    for config, paths in configs.items():
        lines += [f"- config_name: {yaml_text(config)}", "  data_files:"]
        for path in paths:
            lines += [f"  - split: {yaml_text(PurePosixPath(path).stem)}", f"    path: {yaml_text(path)}"]
    return "\n".join([*lines, "---", ""])


def _counts(splits: Mapping[str, PreferenceDataset], left_out: Mapping[str, int]) -> str:
    lines = ["## Contents\n", "| split | trees | seed dialogues | dialogues | pairs |", "|---|---:|---:|---:|---:|"]
    for name, data in splits.items():
        pairs = sum(len(record.pairs) for record in data.records)
        dialogues = sum(1 for _ in data.dialogues())
        lines.append(f"| {markdown_line(name)} | {len(data.records)} | {len(data.seeds())} | {dialogues} | {pairs} |")
    if left_out:
        lines += ["", "Left out: " + ", ".join(f"{count} {reason}" for reason, count in left_out.items()) + "."]
    return "\n".join([*lines, ""])


def _files(files: Mapping[str, int]) -> str:
    lines = ["## Files\n", "| file | rows | what |", "|---|---:|---|"]
    titles = {name: spec.title for name, spec in ALL_FORMATS.items()}
    for file, rows in files.items():
        name, _, size = PurePosixPath(file).parent.as_posix().partition("-")
        what = next(title for form, title in titles.items() if form == name)
        lines.append(f"| {markdown_line(file)} | {rows} | {what}{f', from {size} dialogues' if size else ''} |")
    lines += ["", "Every pair has a `provenance`: tree and node ids, turn, depth, strategies, Q and N of both sides."]
    return "\n".join([*lines, ""])


def _settings(data: PreferenceDataset) -> str:
    lines = ["## Extraction\n", "| setting | value | meaning |", "|---|---|---|"]
    for name, field in type(data.config).model_fields.items():
        cells = (name, str(getattr(data.config, name)), field.description or "")
        lines.append(f"| {' | '.join(map(markdown_line, cells))} |")
    return "\n".join([*lines, ""])


def _reviews(data: PreferenceDataset) -> list[str]:
    """What people decided about the pairs."""
    found = data.reviews
    if found is None:
        return []
    lines = [
        "## Review by people\n",
        f"{found.pairs} pairs were reviewed. Every such pair has a `review`: the verdict,",
    ]
    lines.append("who gave it, how many decided otherwise, and the original words of edited replies.\n")
    lines += ["| verdict | pairs |", "|---|---:|"]
    lines += [
        f"| {markdown_line(name)} | {count} |" for name, count in (*found.verdicts.items(), ("edited", found.edited))
    ]
    names = ", ".join(f"{markdown_line(name)} ({count})" for name, count in found.reviewers.items())
    lines += ["", f"Decisions by reviewer: {names or 'none'}."]
    if found.alpha is not None:
        kappa = "" if found.kappa is None else f" kappa {found.kappa:.2f},"
        lines.append(
            f"{found.twice} pairs were reviewed by several people:{kappa} Krippendorff's alpha {found.alpha:.2f}."
        )
    return ["\n".join([*lines, ""])]


def _health(data: PreferenceDataset) -> list[str]:
    """What the health check found wrong with the roles that the data comes from."""
    warnings = data.health.warnings
    if not warnings:
        return []
    return ["\n".join(["## Warnings\n", *(f"- {markdown_line(each)}" for each in warnings), ""])]
