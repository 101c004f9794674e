"""Files of dialogues, written for one test."""

import json

import pytest


@pytest.fixture
def write(tmp_path):
    """Write ``value`` to a file (text as it is, a list of lines as JSON lines, else JSON) and return its path."""

    def writer(value, name="d.json"):
        path = tmp_path / name
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif isinstance(value, str):
            path.write_text(value, encoding="utf-8")
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(line) + "\n" for line in value), encoding="utf-8")
        else:
            path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return writer
