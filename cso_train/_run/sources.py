"""Check that the model and the data of a run exist before torch is imported, so that a typo is reported at once."""

from __future__ import annotations

from pathlib import Path

from cso_train._config import TrainConfig
from cso_train._data import data_paths
from cso_train._models import ModelSource
from cso_train.errors import TrainConfigError, TrainDataError, TrainModelError

_DATA = {".json", ".jsonl", ".parquet", ".gz"}
_SECONDS = 5.0  # for the hub's answer


def check_sources(config: TrainConfig) -> None:
    """See that the data and the model exist, and that the method can be trained as asked. Nothing is loaded.

    :raises TrainConfigError: if no data is named, or packing is off for a method that needs trees.
    :raises TrainDataError: if a file or folder of data does not exist, or a folder holds none.
    :raises TrainModelError: if there is no such model, in a folder or on the hub.
    """
    if config.data is None:
        raise TrainConfigError("there is no data to train on; give --data", field="data")
    alone = config.build_method().trees_alone
    if alone is not None and config.packing == "none":
        raise TrainConfigError(f"packing: {alone}; take packing tree", field="packing")
    for path in (*data_paths(config.data), *([] if config.eval_data is None else [config.eval_data])):
        _check_data(Path(path))
    source = ModelSource.of(config.model)
    if not Path(source.location).is_dir():
        _check_hub(source, config.revision)


def _check_data(path: Path) -> None:
    if not path.exists():
        raise TrainDataError("there is no such file or folder", file=path)
    if path.is_dir() and not any(each.suffix in _DATA for each in path.rglob("*")):
        raise TrainDataError("this folder holds no data; make some with: mctsdialog preferences TREES", file=path)


def _check_hub(source: ModelSource, revision: str | None) -> None:
    """Ask the hub once whether it has the model, unless it is cached. Other errors are reported when it is loaded."""
    import httpx  # noqa: PLC0415  # as the hub's client, which raises its errors
    from huggingface_hub import HfApi, try_to_load_from_cache  # noqa: PLC0415  # of the extra train
    from huggingface_hub.errors import (  # noqa: PLC0415
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        if isinstance(try_to_load_from_cache(source.location, "config.json", revision=revision), str):
            return
        HfApi().model_info(source.location, revision=revision, timeout=_SECONDS)
    except (RepositoryNotFoundError, HFValidationError) as error:
        reason = "there is no such folder, and no such model on the Hugging Face hub (private ones need HF_TOKEN)"
        raise TrainModelError(reason, model=source.name) from error
    except HfHubHTTPError:
        return
    except (OfflineModeIsEnabled, OSError, httpx.HTTPError) as error:
        reason = "there is no such folder, and the Hugging Face hub cannot be reached; check the name and the network"
        raise TrainModelError(reason, model=source.name) from error
