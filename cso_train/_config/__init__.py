"""What a training run is made from: its settings, where they come from, the paper's presets, its batch.

Settings come in layers: defaults < preset < YAML file < command line (:func:`resolve_config`).
"""

from cso_train._config.batching import accumulation_steps, device_batch
from cso_train._config.layers import Resolved, resolve_config
from cso_train._config.presets import Preset, load_preset, our_preset_names, preset_names
from cso_train._config.settings import SECTIONS, TrainConfig, section_of

__all__ = [
    "SECTIONS",
    "Preset",
    "Resolved",
    "TrainConfig",
    "accumulation_steps",
    "device_batch",
    "load_preset",
    "our_preset_names",
    "preset_names",
    "resolve_config",
    "section_of",
]
