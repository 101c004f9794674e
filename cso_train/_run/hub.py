"""A trained model on the hub, with its card."""

from __future__ import annotations

import re
from pathlib import Path

from cso_train.errors import RunError, TrainConfigError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_hub(name: str) -> None:
    """See that a model could be pushed, before it is trained.

    :raises TrainConfigError: for what is no ``owner/name``, and where nobody is logged in.
    """
    from huggingface_hub import get_token  # noqa: PLC0415  # heavy

    if not _REPOSITORY.fullmatch(name):
        raise TrainConfigError(f"push_to_hub: {name!r} is no OWNER/NAME of a model on the hub", field="push_to_hub")
    if get_token() is None:
        message = "push_to_hub: nobody is logged in to the hub; run 'hf auth login' or set HF_TOKEN"
        raise TrainConfigError(message, field="push_to_hub")


def push(folder: Path, name: str) -> str:
    """Upload a run's model, private until you make it public, and return its address.

    :raises RunError: if the hub refuses; the model stays in the folder.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415  # heavy
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    api = HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=str(folder / "model"))
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        message = f"the model is saved, but cannot be pushed to {name}: {reason}; 'hf upload {name} {folder / 'model'}'"
        raise RunError(message, folder=folder) from error
    return f"https://huggingface.co/{name}"
