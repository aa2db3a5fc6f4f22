"""An OpenAI-compatible server of the tests' own on loopback: real HTTP, any embedder behind it, faults on demand."""

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np

from embedmig.embedders.hashing import HashingEmbedder
from embedmig.types import Floats

Json = dict[str, Any]
Embed = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as it came."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: Json

    @property
    def texts(self) -> list[str]:
        return list(self.body["input"])


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to answer instead of vectors."""

    status: int = 200
    body: Json = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class HangUp:
    """Closes the connection in the middle of the answer."""


class Silence:
    """Answers nothing until the client has gone."""


Spoil = Callable[[Json], Json]
"""Makes a wrong answer of a right one."""
Fault = Reply | HangUp | Silence | Spoil


def refusal(
    status: int, *, code: str | None = None, param: str | None = None, said: str = "no", **headers: str
) -> Reply:
    """An error as OpenAI words it; ``headers`` with underscores."""
    error = {"message": said, "type": "some_error", "param": param, "code": code}
    return Reply(
        status=status, body={"error": error}, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


def hashing(dimensions: int = 16, seed: int = 0) -> Embed:
    """The vectors that the provider ``hashing`` gives."""
    return HashingEmbedder(options={"dimensions": dimensions, "seed": seed}).embed_documents


class EmbeddingServer:
    """Attributes may be changed while it runs."""

    def __init__(self, embed: Embed | None = None) -> None:
        self.embed: Embed = embed or hashing()
        self.faults: deque[Fault] = deque()
        """For the next requests, one each."""
        self.rule: Callable[[Received], Fault | None] = lambda request: None
        """For every request that no fault was set aside for."""
        self.names_model: str | None = None
        """The model that answers name; None: the one that was asked for."""
        self.capacity: int | None = None
        """Requests at once beyond this are answered 429."""
        self.delay_s = 0.0
        self.received: list[Received] = []
        self.most_at_once = 0
        self._at_once, self._lock = 0, threading.Lock()
        self.closing = threading.Event()
        self._http = _HTTPServer(("127.0.0.1", 0), _Handler)
        self._http.owner = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def texts_received(self) -> list[str]:
        return [text for request in self.received for text in request.texts]

    def answer(self, request: Received) -> Fault | Json:
        with self._lock:
            self.received.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            busy = self.capacity is not None and self._at_once > self.capacity
            fault = self.faults.popleft() if self.faults else self.rule(request)
        try:
            if not busy:
                time.sleep(self.delay_s)
            if isinstance(fault, Reply | HangUp | Silence):
                return fault
            if busy:
                return refusal(429)
            right = self._right_answer(request)
            return right if fault is None else fault(right)
        finally:
            with self._lock:
                self._at_once -= 1

    def _right_answer(self, request: Received) -> Json:
        as_text = request.body.get("encoding_format") == "base64"
        vectors = self.embed(request.texts)[:, : request.body.get("dimensions")]
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector) if as_text else vector.tolist()}
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(len(text.split()) for text in request.texts)
        return {
            "object": "list",
            "data": data,
            "model": self.names_model or request.body["model"],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


def encode(vector: Floats) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: EmbeddingServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _HTTPServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        owner = self.server.owner
        request = Received(at=time.monotonic(), path=self.path, headers=dict(self.headers.items()), body=body)
        match owner.answer(request):
            case HangUp():
                self._send(200, b"x" * 1000, {}, cut=True)
            case Silence():
                owner.closing.wait(5)
                self.close_connection = True
            case Reply() as reply:
                self._send(reply.status, json.dumps(reply.body).encode(), reply.headers)
            case answer:
                self._send(200, json.dumps(answer).encode(), {})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()
        self.close_connection = self.close_connection or cut

    def log_message(self, *_: object) -> None:
        pass
