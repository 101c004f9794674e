"""A server on loopback in a process of its own that answers every chat request alike, after a fixed time.

It speaks as much HTTP/1.1 as a client on a kept connection needs, in a tenth of a millisecond a call, so that a
benchmark on the same machine measures the client. Replies are a function of the request: scores for every key of a
schema, else a line of text. On order it fails: answers 429 or 500, cuts or hangs a connection, or sends bad JSON.
Run: python benchmarks/stub_server.py [--latency 0.2] [--port 0] [--faults]
"""

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
import urllib.request
import zlib
from pathlib import Path

USAGE = {"prompt_tokens": 600, "completion_tokens": 30}


def answer(body):
    """What a well-behaved model says: a pure function of the request."""
    request = json.loads(body)
    text = "".join(message["content"] for message in request["messages"])
    key = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    schema = request.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return f"This is what I think of it, number {key}."
    values = {}
    for index, (name, of) in enumerate(schema["properties"].items()):
        choices = of["enum"] if "enum" in of else range(of["maximum"] + 1)
        values[name] = choices[(key >> (3 * index % 29)) % len(choices)]
    return json.dumps(values)


def response(status, content, **headers):
    body = json.dumps(content).encode()
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{fields}\r\n"
    return head.encode() + body


def completion(text):
    message = {"role": "assistant", "content": text}
    return response(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE})


def nonsense(body):
    """Bad JSON: in place of the scores that were asked for, else of the whole reply."""
    if b'"response_format"' in body:
        return completion("I would rather not say.")
    return response(200, {"choices": []}).replace(b"[]}", b"[{]")


class Totals:
    """What the server counts, for all connections together."""

    def __init__(self, latency, faults, seed):
        self.latency, self.faults = latency, faults
        self.draw = random.Random(seed)
        self.calls = self.open = self.peak = self.completed = self.repeated = 0
        self.kinds = {}
        self.seen = set()

    def fault(self):
        """What goes wrong with a call: 5 % 429, 2 % 500, 1 % resets, 1 % hangs, 2 % nonsense."""
        if not self.faults:
            return None
        at = self.draw.random()
        for kind, share in (("429", 0.05), ("500", 0.02), ("reset", 0.01), ("hang", 0.01), ("nonsense", 0.02)):
            if at < share:
                self.kinds[kind] = self.kinds.get(kind, 0) + 1
                return kind
            at -= share
        return None

    def complete(self, body):
        self.completed += 1
        if self.faults:
            key = zlib.crc32(body), len(body)
            self.repeated += key in self.seen
            self.seen.add(key)

    def as_json(self):
        names = ("calls", "peak", "completed", "repeated", "kinds")
        return {name: getattr(self, name) for name in names}


class Connection(asyncio.Protocol):
    def __init__(self, totals):
        self.totals, self.buffer = totals, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while True:
            head, gap, rest = self.buffer.partition(b"\r\n\r\n")
            if not gap:
                return
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = 0 if at < 0 else int(lower[at + 15 :].split(b"\r\n", 1)[0])
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.serve(head, rest[:length])

    def serve(self, head, body):
        totals = self.totals
        if head.startswith(b"GET"):
            self.transport.write(response(200, totals.as_json()))
            return
        totals.calls += 1
        totals.open += 1
        totals.peak = max(totals.peak, totals.open)
        asyncio.get_running_loop().call_later(totals.latency, self.finish, body, totals.fault())

    def finish(self, body, fault):
        totals = self.totals
        totals.open -= 1
        if self.transport.is_closing():
            return
        if fault == "429":
            self.transport.write(response(429, {"error": {"message": "slow down"}}, retry_after="0.05"))
        elif fault == "500":
            self.transport.write(response(500, {"error": {"message": "oops"}}))
        elif fault == "reset":
            self.transport.abort()
        elif fault == "nonsense":
            self.transport.write(nonsense(body))
        elif fault != "hang":
            totals.complete(body)
            self.transport.write(completion(answer(body)))


@contextlib.contextmanager
def running(latency=0.2, *, faults=False):
    """The address of a server that runs as long as the block."""
    command = [sys.executable, str(Path(__file__)), "--latency", str(latency), *(["--faults"] if faults else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def totals_of(url):
    """What the server at ``url`` has counted."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/totals", timeout=10) as reply:
        return json.load(reply)


async def serve(arguments):
    totals = Totals(arguments.latency, arguments.faults, arguments.seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(totals), "127.0.0.1", arguments.port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    ends = time.monotonic() + arguments.most_seconds
    while time.monotonic() < ends:
        await asyncio.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds from a request to its reply")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one; the address is printed")
    parser.add_argument("--faults", action="store_true", help="fail now and then, in every way")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--most-seconds", type=float, default=3600, help="ends by itself after so long")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
