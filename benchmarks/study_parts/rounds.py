"""Two rounds of search and training against one round with twice the data, at equal calls and optimiser steps.

Both begin with the seed's base. In one, all gold dialogues are searched with the base as supporter, and it is trained
on the trees; in the other, half of them are, and the model so trained searches the other half and is trained on.
"""

from cso_train.rounds import RoundsConfig, run_rounds
from mctsdialog.dialogue import write_dialogues

CHECKED = 700_000
"""Number of the first scenario that the rounds check themselves in; models are compared in others."""

ARMS = {"base": (1, 0), "one round, half the data": (2, 1), "one round": (1, 1), "two rounds": (2, 2)}
"""Rounds of the run, and the round whose model it is."""


class Rounds:
    """What the models of each run say in the test contexts, and the dialogues that they hold.

    :param losses: the comparison of losses, whose bases, gold dialogues and measures are taken.
    """

    def __init__(self, losses):
        self.losses, self.own = losses, losses.own

    def config(self, rounds, seed):
        """The run's settings."""
        losses = self.losses
        folder = losses.store.folder / "models" / f"{losses.kind.replace('/', '-')}rounds-{rounds}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        checked = [losses.world.dialogue(scenario) for scenario in losses.world.scenarios(self.own.checked, CHECKED)]
        write_dialogues(folder / "gold.jsonl", [*losses.gold(seed), *checked])
        training = {"method": "distill", "max_steps": self.own.steps // rounds, "learning_rate": 1e-3, "seed": seed}
        training |= {"batch_size": losses.sizes.batch_size, "per_device_batch_size": losses.sizes.batch_size}
        training |= {"warmup_ratio": 0.05, "epochs": 10**4, "lora": False, "gradient_checkpointing": False}
        training |= {"max_length": 1024, "max_completion_tokens": 128, "save_steps": 10**6}
        return RoundsConfig(
            model=str(losses.model("base", seed)),
            dialogues=str(folder / "gold.jsonl"),
            partners=f"world:{losses.world.seed}",
            rounds=rounds,
            held=self.own.checked,
            held_turns=losses.world.rounds,
            max_tokens=losses.sizes.longest_reply,
            search={"algorithm": "calibrated", "max_iterations": self.own.calls // 4},
            preferences={"theta": losses.sizes.theta},
            train=training,
            output_dir=str(folder),
        )

    def found(self, arm, seed):
        """What is found of one model, kept."""
        rounds, number = ARMS[arm]
        if not number:
            return self.losses.found("base", seed)

        def make():
            done = run_rounds(self.config(rounds, seed), say=lambda line: None).rounds
            return self.losses.measured(done[min(number, len(done) - 1)].model)

        return self.losses.store.kept(f"rounds/{arm}/{seed}", make)

    def run(self):
        """By arm what was found at each seed."""
        found = {arm: [] for arm in ARMS}
        for seed in self.own.round_seeds:
            for arm in ARMS:
                found[arm].append(self.found(arm, seed))
        return found
