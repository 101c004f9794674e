"""A small HTTP server on 127.0.0.1 that misbehaves on order. It runs in threads of its own."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

HANG, RESET, DRIP, CLOSE = "hang", "reset", "drip", "close"


def response(
    status: int, body: bytes | str | dict[str, Any] = b"", *, length: int | None = None, **headers: str
) -> bytes:
    raw = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    fields = {"content-type": "application/json", "content-length": str(len(raw) if length is None else length)}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + raw


def completion(text: str = "fine", **fields: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    return response(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage, **fields})


class FaultServer:
    """Answers request i with step i of a script, and the last step from then on.

    A step is raw bytes, one of the words above, or a function from (headers, body) to a step.
    """

    def __init__(self, script: Sequence[Any]) -> None:
        self.script = script
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.in_flight = 0
        self.peak = 0
        self.connections = 0
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def count(self) -> int:
        return len(self.requests)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.add(connection)
                self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        file = connection.makefile("rb")
        try:
            while (read := self._read(file)) is not None:
                with self._lock:
                    self.requests.append(read)
                    step = self.script[min(len(self.requests), len(self.script)) - 1]
                    self.in_flight += 1
                    self.peak = max(self.peak, self.in_flight)
                try:
                    if not self._answer(connection, step, read):
                        return
                finally:
                    with self._lock:
                        self.in_flight -= 1
        except (OSError, ValueError):  # a client that went away in the middle of its request
            pass
        finally:
            file.close()
            with self._lock:
                self._sockets.discard(connection)
            connection.close()

    @staticmethod
    def _read(file: Any) -> tuple[str, dict[str, Any]] | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            if not line:
                return None
            head += line
        text = head.decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in text.split("\r\n")[1:] if line)
        return text, json.loads(file.read(int(fields["content-length"])))

    def _answer(self, connection: socket.socket, step: Any, read: tuple[str, dict[str, Any]]) -> bool:
        """Carry a step out; whether the connection lives on."""
        if isinstance(step, Callable):  # type: ignore[arg-type]
            step = step(*read)
        if step == HANG:
            self.stopping.wait(20)
        elif step == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif step == DRIP:
            connection.sendall(b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n")
            while not self.stopping.wait(0.05):
                connection.sendall(b" ")
        elif step != CLOSE:
            connection.sendall(step)
            head, _, body = step.partition(b"\r\n\r\n")
            return f"content-length: {len(body)}".encode() in head
        return False

    def close(self) -> None:
        self.stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
