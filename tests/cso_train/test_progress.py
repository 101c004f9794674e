"""What the libraries say of themselves while we work."""

import io
import re
import sys

import pytest
from rich.console import Console

from cso_train._progress import progress_bar, quiet_libraries

pytestmark = pytest.mark.timeout(120)


def test_libraries_are_quieted_also_where_a_gguf_file_was_read_before(monkeypatch):
    transformers = pytest.importorskip("transformers")
    with quiet_libraries():
        pass
    monkeypatch.delattr(transformers, "modeling_gguf_pytorch_utils", raising=False)  # as after a model was loaded
    gguf = sys.modules["transformers.modeling_gguf_pytorch_utils"]
    bar = gguf.tqdm
    with quiet_libraries():
        assert gguf.tqdm is not bar
    assert gguf.tqdm is bar


def test_the_bar_fits_into_sixty_columns(monkeypatch):
    console = Console(width=60, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr("cso_train._progress.Console", lambda stderr: console)
    with progress_bar("a-model-with-a-very-long-name@http://localhost:8000/v1") as show:
        show(1234, 5678)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue()).replace("\r", "\n").splitlines()
    shown = next(line for line in lines if "1234/5678" in line)
    assert len(shown.rstrip()) <= 60
    assert shown.startswith("a-model-with-a-very")
    assert "-:--:--" in shown or re.search(r"\d:\d\d:\d\d", shown)
