"""An OpenAI-compatible endpoint that answers at once, always with the same vector: ``python stub.py DIMENSIONS``.

Prints its port, and ends when standard input does. A process of its own, so that what asks it has its interpreter to
itself. Vectors go as base64 or as lists of numbers, as the request wants them.
"""

import base64
import json
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Endpoint(ThreadingHTTPServer):
    """Answers with one vector of unit length."""

    daemon_threads = True

    def __init__(self, dimensions: int) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        numbers = [dimensions**-0.5] * dimensions
        self.embeddings = {
            "base64": json.dumps(base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()),
            "float": json.dumps(numbers),
        }


class Answering(BaseHTTPRequestHandler):
    """One request after another on a connection that stays open."""

    protocol_version = "HTTP/1.1"
    server: Endpoint

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        """Whatever is asked."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        vector = self.server.embeddings[asked.get("encoding_format", "float")]
        data = ",".join(f'{{"object":"embedding","index":{place},"embedding":{vector}}}' for place in range(len(texts)))
        tokens = 8 * len(texts)
        body = (
            f'{{"object":"list","model":{json.dumps(asked["model"])},"data":[{data}],'
            f'"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}'
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


def main() -> None:
    endpoint = Endpoint(int(sys.argv[1]))
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    print(endpoint.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
