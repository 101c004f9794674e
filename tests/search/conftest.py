import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("search_reference", Path(__file__).with_name("reference.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["search_reference"] = _module
_spec.loader.exec_module(_module)


@pytest.fixture
def reference():
    """The class of the slow reference search."""
    return _module.Reference
