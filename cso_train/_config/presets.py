"""The paper's hyperparameters: a preset for every row of Tables 13 and 14, and ours for newer models.

The numbers stand in ``cso_train/presets/paper.yaml``, once. A preset takes epochs, batch and learning rate from
Table 13 (row SFT for sft, row CSO for the preference methods, which Appendix G trains with the same) and beta, gamma
and the weights from Table 14.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cso_train.errors import PresetError
from mctsdialog._arguments import checked
from mctsdialog.files import parse_foreign_json, read_input


@dataclass(frozen=True)
class Preset:
    """One row of the paper's tables.

    :ivar name: ``MODEL-full-METHOD`` or ``MODEL-lora-METHOD``, such as ``llama3.1-8b-lora-dpo``.
    :ivar values: the settings that it gives, ``model``, ``method`` and ``lora`` among them.
    :ivar architecture: entries of the model's ``config.json`` that tell it from others.
    :ivar ours: whether it is not the paper's: the paper's values for another model, untuned.
    """

    name: str
    values: Mapping[str, Any]
    architecture: Mapping[str, Any]
    ours: bool = False

    def fits(self, model: str) -> bool:
        """Whether a model is the preset's own, as far as can be told without the hub.

        A folder is by its ``config.json``: its architecture and sizes. A hub name or a GGUF file is by its name:
        ``unsloth/Meta-Llama-3.1-8B-Instruct`` and ``Llama-3.1-8B-Instruct-Q4_K_M.gguf`` are Llama-3.1-8B-Instruct.
        """
        shape = _folder_shape(Path(model).expanduser())
        if shape is not None:
            return all(shape.get(name) == value for name, value in self.architecture.items())
        return _plain(self.values["model"]) in _plain(model)

    def check(self, values: Mapping[str, Any]) -> None:
        """See that settings laid over the preset leave its model, method and kind of training as they are.

        :raises PresetError: if one is another; the message says how to take the preset's values anyway.
        """
        anyway = (
            "; to take its values anyway, write them to a file (python -m cso_train config show "
            f"--preset {self.name} > run.yaml), change it there, and train with --config run.yaml"
        )
        own = self.values
        for field in ("method", "lora"):
            given = bool(values[field]) if field == "lora" else values[field]  # lora may be fields of peft's
            if given != own[field]:
                reason = f"preset {self.name} is of {field} {own[field]!r}, not {values[field]!r}"
                raise PresetError(reason + anyway, preset=self.name, field=field)
        if not isinstance(values["model"], str) or not self.fits(values["model"]):
            reason = f"preset {self.name} is of the model {own['model']}, not {values['model']!r}"
            raise PresetError(reason + anyway, preset=self.name, field="model")


def preset_names() -> tuple[str, ...]:
    """The paper's presets, in the order of its tables."""
    return tuple(name for name, each in _presets().items() if not each.ours)


def our_preset_names() -> tuple[str, ...]:
    """The presets for models newer than the paper: its values for the nearest of its models, not tuned."""
    return tuple(name for name, each in _presets().items() if each.ours)


@checked()
def load_preset(name: str) -> Preset:
    """The preset of that name.

    :raises PresetError: if there is none, with the nearest names.
    """
    presets = _presets()
    if name in presets:
        return presets[name]
    near = difflib.get_close_matches(str(name).lower(), presets, n=3) or list(presets)
    raise PresetError(f"no preset {name!r}; there are {', '.join(near)}, ...", preset=name)


@functools.cache
def _presets() -> dict[str, Preset]:
    import yaml  # noqa: PLC0415 - comes with the extra `train`; a plain import stays light

    tables = yaml.safe_load(resources.files("cso_train").joinpath("presets", "paper.yaml").read_text("utf-8"))
    presets = {}
    for model, about in tables["models"].items():
        for kind, losses in tables["table_14"][model].items():
            rows = tables["table_13"][model][kind]
            for method, loss in {"sft": {}, **losses}.items():
                values = {
                    "model": about["hub"],
                    "method": method,
                    "lora": kind == "lora",
                    **rows["sft" if method == "sft" else "cso"],
                    **loss,
                }
                name = f"{model}-{kind}-{method}"
                architecture = MappingProxyType(about["architecture"])
                presets[name] = Preset(name, MappingProxyType(values), architecture)
    newer = yaml.safe_load(resources.files("cso_train").joinpath("presets", "ours.yaml").read_text("utf-8"))
    for model, about in newer["models"].items():
        architecture = MappingProxyType(about["architecture"])
        for name, each in list(presets.items()):
            if name.startswith(f"{about['like']}-") and not each.ours:
                own = model + name.removeprefix(about["like"])
                given = MappingProxyType({**each.values, "model": about["hub"]})
                presets[own] = Preset(own, given, architecture, ours=True)
    return presets


def _folder_shape(folder: Path) -> dict[str, Any] | None:
    try:
        content = parse_foreign_json(read_input(folder / "config.json").decode())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _plain(model: str) -> str:
    """A model's own name, without its owner, case and marks."""
    return re.sub(r"[^a-z0-9]", "", model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower())
