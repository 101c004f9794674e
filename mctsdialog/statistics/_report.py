"""Statistics as text for the terminal, as Markdown and as HTML. Names and texts are data: escaped where they stand."""

from __future__ import annotations

import html as html_module
from collections.abc import Iterable, Sequence

from mctsdialog.statistics._data import Distribution, StatisticsData
from mctsdialog.text import markdown_line, visible_line

STAGE_NAMES = ("0-20 %", "20-40 %", "40-60 %", "60-80 %", "80-100 %", "last")
"""What the six stages are called: shares of the conversation, and its last utterance."""

Cell = str | int | float | None
Table = tuple[list[str], list[list[Cell]]]


def number(value: Cell, digits: int = 2) -> str:
    """A number as it is shown: whole ones with separators, others rounded, none as a dash."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else value


def size_table(statistics: StatisticsData) -> Table:
    """The paper's Table 5."""
    sizes = statistics.sizes
    rows: list[list[Cell]] = [
        ["Dialogues", *(size.dialogues for size in sizes.values())],
        ["Utterances", *(size.utterances for size in sizes.values())],
        ["Different utterances", *(size.different for size in sizes.values())],
        ["Utterances a dialogue", *(size.dialogue_length for size in sizes.values())],
        ["Words an utterance", *(size.utterance_words for size in sizes.values())],
    ]
    return ["", *sizes], rows


def distribution_table(statistics: StatisticsData) -> Table:
    """Q, N, margins and lengths in short."""
    named = {
        "Q of chosen replies": statistics.values["chosen"],
        "Q of rejected replies": statistics.values["rejected"],
        "Q(chosen) - Q(rejected)": statistics.margins,
        "N of chosen replies": statistics.visits["chosen"],
        "N of rejected replies": statistics.visits["rejected"],
        "supporter turns a dialogue": statistics.path_turns,
        "pairs a turn": statistics.pairs_per_turn,
        "pairs a tree": statistics.pairs_per_tree,
    }
    head = ["", "count", "mean", "deviation", "least", "quarter", "median", "three quarters", "most"]
    return head, [[name, *_short(each)] for name, each in named.items()]


def _short(each: Distribution) -> list[Cell]:
    quartiles: Sequence[Cell] = each.quartiles or (None, None, None)
    return [each.count, each.mean, each.deviation, each.minimum, *quartiles, each.maximum]


def strategy_table(statistics: StatisticsData) -> Table:
    """Utterances by strategy, with shares."""
    head = ["strategy"]
    for group in statistics.strategy_counts:
        head += [group, f"{group} %"]
    rows: list[list[Cell]] = []
    for place, name in enumerate(statistics.strategies):
        row: list[Cell] = [name]
        for counts in statistics.strategy_counts.values():
            row += [counts[place], 100 * counts[place] / sum(counts) if sum(counts) else None]
        rows.append(row)
    return head, rows


def stage_table(statistics: StatisticsData, group: str) -> Table:
    """Supporter utterances by strategy and stage, in percent of the stage."""
    stages = statistics.stages[group]
    rows: list[list[Cell]] = [
        [name, *(100 * stage[place] / sum(stage) if sum(stage) else None for stage in stages)]
        for place, name in enumerate(statistics.strategies)
    ]
    rows.append(["(utterances)", *(sum(stage) for stage in stages)])
    return ["strategy", *STAGE_NAMES], rows


def transition_table(statistics: StatisticsData, group: str) -> Table:
    """How often a strategy (row) was followed by another (column)."""
    rows: list[list[Cell]] = [
        [name, *counts] for name, counts in zip(statistics.strategies, statistics.transitions[group], strict=True)
    ]
    return ["then", *statistics.strategies], rows


def diversity_table(statistics: StatisticsData) -> Table:
    """Entropy and distinct-n by side."""
    head = ["", "entropy (bits)", "evenness", "distinct-1", "distinct-2", "distinct-3"]
    rows: list[list[Cell]] = [
        [group, each.entropy, each.evenness, *each.distinct] for group, each in statistics.diversity.items()
    ]
    return head, rows


def near_table(statistics: StatisticsData) -> Table:
    """Shares of near duplicates, in percent."""
    near = statistics.near_duplicates
    named = {
        "chosen replies like another": near.chosen,
        "rejected replies like another": near.rejected,
        "pairs whose replies are like each other": near.within_pair,
        "pairs like another pair": near.pairs,
    }
    rows: list[list[Cell]] = [[name, None if share is None else 100 * share] for name, share in named.items()]
    return ["", "%"], rows


def toxicity_rows(statistics: StatisticsData) -> Table:
    """Mean toxicity by group."""
    assert statistics.toxicity is not None
    table = statistics.toxicity
    rows: list[list[Cell]] = [
        [group, *(f"{means[name]:.4f}" for name in table.attributes)] for group, means in table.rows.items()
    ]
    return ["", *table.attributes], rows


def sections(statistics: StatisticsData) -> Iterable[tuple[str, str, Table]]:
    """All tables, each with a title and what it says."""
    near = statistics.near_duplicates
    counting = (
        "As in the paper's Table 5 an utterance counts once for every dialogue that it is in, a rejected one once for "
        "every dialogue that has its turn; different utterances count each once."
    )
    yield "Dialogues and utterances", counting, size_table(statistics)
    yield "Strategies", "Supporter utterances by strategy.", strategy_table(statistics)
    for group in statistics.stages:
        what = "Percent of the supporter's utterances in each stage of the conversation (section 4.3)."
        yield f"Strategies over six stages: {group}", what, stage_table(statistics, group)
    for group in statistics.transitions:
        yield f"Transitions: {group}", "Row: a strategy; column: the next one.", transition_table(statistics, group)
    what = (
        "Entropy of the strategies, its share of the most there can be, and different n-grams over all n-grams, of "
        "different utterances."
    )
    yield "Diversity", what, diversity_table(statistics)
    searched = f"{statistics.unscored_pairs} pairs have no margin: their rejected reply was not searched."
    yield "Values, visits, margins", searched if statistics.unscored_pairs else "", distribution_table(statistics)
    depths: list[list[Cell]] = [[depth, count] for depth, count in statistics.pairs_by_depth.items()]
    yield "Pairs by depth", "Depth in the tree; 1 is the first supporter turn.", (["depth", "pairs"], depths)
    like = f"Alike: a Jaccard similarity of word 3-grams of {near.threshold:g} or more."
    yield "Near duplicates", like, near_table(statistics)
    if statistics.toxicity is not None:
        rated = f"Mean by {markdown_line(statistics.toxicity.scorer)}, from 0 to 1 (section 4.4)."
        yield "Toxicity", rated, toxicity_rows(statistics)


def markdown(statistics: StatisticsData) -> str:
    """Everything as Markdown."""
    lines = [f"# Statistics: {markdown_line(statistics.domain)}", ""]
    lines += [f"{statistics.trees} trees, {statistics.pairs} pairs.", ""]
    for title, what, (head, rows) in sections(statistics):
        lines += [f"## {markdown_line(title)}", ""]
        lines += [what, ""] if what else []
        lines.append(f"| {' | '.join(map(markdown_line, head))} |")
        lines.append(f"|---|{'---:|' * (len(head) - 1)}")
        lines += [f"| {' | '.join(markdown_line(number(cell)) for cell in row)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def html(statistics: StatisticsData) -> str:
    """The main tables for a notebook."""
    parts = [f"<p>{statistics.trees} trees, {statistics.pairs} pairs</p>"]
    for title, _, table in sections(statistics):
        if title.startswith("Transitions"):
            continue
        head, rows = table
        cells = "".join(f"<th>{html_module.escape(name)}</th>" for name in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{html_module.escape(number(cell))}</td>" for cell in row) + "</tr>" for row in rows
        )
        opened = " open" if title == "Dialogues and utterances" else ""
        summary_line = f"<summary>{html_module.escape(title)}</summary>"
        parts.append(f"<details{opened}>{summary_line}<table><tr>{cells}</tr>{body}</table></details>")
    return "".join(parts)


def summary(statistics: StatisticsData) -> str:
    """The main numbers for a terminal."""
    head, rows = size_table(statistics)
    lines = [*_columns([head, *([number(cell) for cell in row] for row in rows)]), ""]
    head, rows = strategy_table(statistics)
    lines += [*_columns([head, *([number(cell, 1) for cell in row] for row in rows)]), ""]
    margins, near = statistics.margins, statistics.near_duplicates
    entropies = [statistics.diversity[name].entropy for name in ("seed supporter", "chosen", "rejected")]
    lines += [
        f"pairs: {statistics.pairs}, mean margin {number(margins.mean)}"
        + (f", {statistics.unscored_pairs} without a margin" if statistics.unscored_pairs else ""),
        "entropy of strategies in bits: seed {}, chosen {}, rejected {}".format(*map(number, entropies)),
        "near duplicates: chosen {}, rejected {}, pairs {}".format(
            *(_percent(share) for share in (near.chosen, near.rejected, near.pairs))
        ),
    ]
    if statistics.toxicity is not None:
        head, rows = toxicity_rows(statistics)
        lines += ["", *_columns([head, *([number(cell) for cell in row] for row in rows)])]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with the first column left and the others right, in line; control characters are escapes."""
    clean = [list(map(visible_line, row)) for row in rows]
    widths = [max(len(row[place]) for row in clean) for place in range(len(clean[0]))]
    return [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in clean)
    ]
