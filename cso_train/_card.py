"""The card of a trained model."""

from __future__ import annotations

from cso_train._config import TrainConfig
from cso_train._data import TrainingData
from cso_train._models import ModelSource
from cso_train.methods import METHODS
from mctsdialog.text import markdown_line, yaml_text

_USE = """\
Research. A language model that speaks with people in distress can be wrong or harmful; this one is no substitute for
professional care and is not fit for use with people without review. The terms of the base model and of the training
data hold here too."""


def model_card(config: TrainConfig, source: ModelSource, data: TrainingData) -> str:
    """The card as Markdown with the metadata that hubs read."""
    base = source.gguf or source.location
    kind = "LoRA adapters" if config.lora else "all parameters"
    tags = ["trl", config.method, *(["lora", "peft"] if config.lora else [])]
    library = "peft" if config.lora else "transformers"
    head = ["---", f"tags: [{', '.join(map(yaml_text, tags))}]", f"library_name: {library}"]
    if source.gguf is None and "/" in source.location and not source.location.startswith("/"):
        head.append(f"base_model: {yaml_text(source.location)}")
    settings = [
        f"| {markdown_line(name)} | {markdown_line(str(value))} |"
        for name, value in config.model_dump().items()
        if value is not None and name not in ("output_dir", "data", "eval_data", "model")
    ]
    name = markdown_line(base.rsplit("/", 1)[-1])
    what = f"{kind} of {name}, trained with cso_train on {len(data.rows)} {data.kind} rows."
    strategies = "".join(f"- {markdown_line(name)}\n" for name in data.strategies)
    return "\n".join(
        [
            *head,
            "---",
            f"\n# {config.method.upper()} on turn-level preferences\n",
            what,
            f"\nThe loss: `{METHODS[config.method].formula}`.",
            "\nReplies begin with a strategy in brackets: `(Strategy) text`. The strategies:\n",
            strategies,
            "## Settings\n\n| setting | value |\n|---|---|",
            *settings,
            f"\n## Intended use\n\n{_USE}\n",
        ]
    )
