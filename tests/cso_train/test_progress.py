"""What the libraries say of themselves while we work."""

import sys

import pytest

from cso_train._progress import quiet_libraries

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
