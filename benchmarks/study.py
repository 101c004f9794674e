"""The paper's claims at small scale: search quality and training in simulated worlds, and a run on real text.

A simulated world is a test bed, not people. Every finished part is kept in the output folder, so that the same command
goes on where it was stopped. Writes report.md, study.json and figures.
Run: python benchmarks/study.py --preset small [--out FOLDER] [--parts PART...] [--esconv FILE]
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

from study_parts import report, searching
from study_parts.presets import PRESETS
from study_parts.store import Store

PARTS = ("search", "training", "losses", "rounds", "real")
ESCONV = Path(__file__).resolve().parents[2] / "shared" / "data" / "esconv" / "FailedESConv.json"


def quiet():
    """No progress bars of the libraries: the parts tell when they are finished."""
    os.environ.update(TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
    warnings.simplefilter("ignore")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="small", help="sizes (default: small)")
    parser.add_argument("--out", type=Path, default=Path("study"), help="folder (default: study)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="only these (default: all)")
    parser.add_argument("--esconv", type=Path, default=ESCONV, help="ESConv's dialogues, for the run on real text")
    arguments = parser.parse_args()
    quiet()
    preset = PRESETS[arguments.preset]
    store = Store(arguments.out, preset)
    wanted = arguments.parts or PARTS
    parts, numbers = [], {}
    if "search" in wanted:
        ways, gold = searching.compared(store, preset), searching.gold_effect(store, preset)
        text, numbers["search"] = report.search_part(preset, ways, searching.effects(store, preset), gold, store.folder)
        parts += text
    if "training" in wanted:
        from study_parts.training import LARGER_ARMS, Training

        training = Training(store, preset)
        text, numbers["training"] = report.training_part(training, *training.run(), store.folder)
        parts += text
        if preset.larger:
            training = Training(store, preset, larger=True)
            text, numbers["larger"] = report.larger_part(training, training.arms(LARGER_ARMS))
            parts += text
            training = Training(store, preset, larger=True, by_wavering=True)
            text, numbers["wavering"] = report.wavering_part(training, training.arms(LARGER_ARMS))
            parts += text
    if "losses" in wanted:
        from study_parts import loss_report
        from study_parts.losses import Losses

        for by_wavering in preset.losses.golds:
            losses = Losses(store, preset, by_wavering=by_wavering)
            text, found = loss_report.losses_part(losses, loss_report.run(losses))
            parts += text
            numbers["losses" if by_wavering else "losses, best policy's gold"] = found
    if "rounds" in wanted and preset.losses.round_seeds:
        from study_parts import loss_report
        from study_parts.losses import Losses
        from study_parts.rounds import Rounds

        rounds = Rounds(Losses(store, preset))
        text, numbers["rounds"] = loss_report.rounds_part(rounds, rounds.run())
        parts += text
    if "real" in wanted:
        from study_parts.real_text import real_part

        text, numbers["real"] = real_part(store, preset, arguments.esconv)
        parts += text
    print(report.write(arguments.out, arguments.preset, parts, numbers))
    print(f"{arguments.out / 'report.md'}", file=sys.stderr)


if __name__ == "__main__":
    main()
