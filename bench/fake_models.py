"""Fake language model providers on loopback, correct or faulty, with real sockets.

    with FakeProvider("alpha") as good, FakeProvider("beta", FAULTS["429"]) as bad:
        ModelsFile(models=[good.models_file_entry(), bad.models_file_entry()])

A reply consists of the provider's name with numbers, "alpha1 alpha2 ... alpha12", so that a mix of
two replies is detected.
"""

import contextlib
import datetime
import ipaddress
import itertools
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

REPLY_WORDS = 12  # in a complete reply
INPUT_TOKENS, OUTPUT_TOKENS = 7, 12  # usage that a provider reports
DRIP_SECONDS = 0.05  # between two bytes


@dataclass(slots=True)
class Exchange:
    """Request that a provider has received, and the methods to answer it."""

    socket: socket.socket
    name: str
    number: int  # of this request, from 0
    path: str
    body: dict[str, Any]

    @property
    def is_streaming(self) -> bool:
        """Return whether the request asks for a stream."""
        return bool(self.body.get("stream"))

    @property
    def uses_messages_api(self) -> bool:
        """Return whether the request is for the Messages API, not chat completions."""
        return self.path.endswith("/messages")

    def send_head(self, status: str = "200 OK", kind: str = "", extra: str = "") -> None:
        """Send the status and the headers; a chunked body follows."""
        kind = kind or ("text/event-stream" if self.is_streaming else "application/json")
        lines = (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: "
            f"chunked\r\n{extra}\r\n"
        )
        self.socket.sendall(lines.encode())

    def send_chunk(self, data: bytes | str) -> None:
        """Send one chunk of the body."""
        data = data.encode() if isinstance(data, str) else data
        self.socket.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end_chunks(self) -> None:
        """Send the end of the body."""
        self.socket.sendall(b"0\r\n\r\n")

    def send_words(self, first: int, last: int) -> None:
        """Send the words with the numbers `first` to `last`, one event each."""
        for number in range(first, last + 1):
            self.send_chunk(self.format_text_event(f"{self.name}{number} "))

    def format_text_event(self, text: str) -> str:
        """Return a server-sent event with a piece of text."""
        if self.uses_messages_api:
            return _format_event(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": text},
                }
            )
        return _format_event(
            {
                "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
                "usage": None,
            }
        )

    def format_opening(self) -> str:
        """Return the events before the text."""
        if self.uses_messages_api:
            return _format_event(
                {
                    "type": "message_start",
                    "message": {"usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1}},
                }
            )
        return _format_event(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"role": "assistant", "content": ""},
                        "finish_reason": None,
                    }
                ]
            }
        )

    def format_closing(self) -> str:
        """Return the events that complete a reply and report its usage."""
        if self.uses_messages_api:
            stop = {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": OUTPUT_TOKENS},
            }
            return _format_event(stop) + _format_event({"type": "message_stop"})
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        return (
            _format_event(last)
            + _format_event({"choices": [], "usage": _usage_fields()})
            + "data: [DONE]\n\n"
        )

    def format_reply(self, text: str | None = None) -> str:
        """Return a complete reply without streaming, as JSON."""
        text = (
            "".join(f"{self.name}{number} " for number in range(1, REPLY_WORDS + 1))
            if text is None
            else text
        )
        if self.uses_messages_api:
            usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
            return json.dumps(
                {
                    "content": [{"type": "text", "text": text}],
                    "stop_reason": "end_turn",
                    "usage": usage,
                }
            )
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        return json.dumps(
            {"id": "1", "object": "chat.completion", "choices": [choice], "usage": _usage_fields()}
        )


Behaviour = Callable[[Exchange], None]


def answer_well(exchange: Exchange) -> None:
    """Answer correctly."""
    exchange.send_head()
    if exchange.is_streaming:
        exchange.send_chunk(exchange.format_opening())
        exchange.send_words(1, REPLY_WORDS)
        exchange.send_chunk(exchange.format_closing())
    else:
        exchange.send_chunk(exchange.format_reply())
    exchange.end_chunks()


def hang_silently(exchange: Exchange) -> None:
    """Read the request and send nothing."""
    _wait_for_disconnect(exchange)


def fail_with_429(exchange: Exchange) -> None:
    """Answer with status 429; every second reply has a Retry-After of one second."""
    exchange.send_head(
        "429 Too Many Requests",
        "application/json",
        "Retry-After: 1\r\n" if exchange.number % 2 else "",
    )
    exchange.send_chunk('{"error": {"message": "slow down"}}')
    exchange.end_chunks()


def fail_with_500(exchange: Exchange) -> None:
    """Answer with status 500."""
    exchange.send_head("500 Internal Server Error", "application/json")
    exchange.send_chunk('{"error": {"message": "oops"}}')
    exchange.end_chunks()


def drip_bytes(exchange: Exchange) -> None:
    """Send two words, then single bytes, each well within any socket timeout."""
    exchange.send_head()
    if exchange.is_streaming:
        exchange.send_words(1, 2)
    pause = threading.Event()
    for byte in itertools.cycle(exchange.format_text_event("drip").encode()[:-2]):
        exchange.send_chunk(bytes((byte,)))
        pause.wait(DRIP_SECONDS)


def cut_reply(exchange: Exchange) -> None:
    """Hang up after a part of the words: none, some or all."""
    exchange.send_head()
    kept = exchange.number % (REPLY_WORDS + 1)
    if exchange.is_streaming:
        exchange.send_words(1, kept)
    else:
        exchange.send_chunk(exchange.format_reply()[: kept * 8])


def send_broken_json(exchange: Exchange) -> None:
    """Send two words, then incomplete JSON."""
    exchange.send_head()
    if exchange.is_streaming:
        exchange.send_words(1, 2)
        exchange.send_chunk('data: {"choices": [{"del\n\n')
    else:
        exchange.send_chunk(exchange.format_reply()[:60])
    exchange.end_chunks()


def omit_reply_end(exchange: Exchange) -> None:
    """Send all words and end the response, but without the mark of a complete reply."""
    exchange.send_head()
    if exchange.is_streaming:
        exchange.send_words(1, REPLY_WORDS)
    else:
        exchange.send_chunk(
            exchange.format_reply().replace('"stop"', "null").replace('"end_turn"', "null")
        )
    exchange.end_chunks()


def send_html_page(exchange: Exchange) -> None:
    """Send an HTML page instead of a reply, as a portal or proxy does."""
    exchange.send_head(kind="text/html; charset=utf-8")
    exchange.send_chunk("<html><body>Please sign in.</body></html>")
    exchange.end_chunks()


def send_endlessly(exchange: Exchange) -> None:
    """Never end: send endless words or, every second time, an endless line."""
    exchange.send_head()
    words = exchange.is_streaming and exchange.number % 2
    piece = exchange.format_text_event(f"{exchange.name} ") if words else "x" * 65536
    while True:
        exchange.send_chunk(piece)


def send_empty_reply(exchange: Exchange) -> None:
    """Send a valid reply without text."""
    exchange.send_head()
    exchange.send_chunk(
        exchange.format_opening() + exchange.format_closing()
        if exchange.is_streaming
        else exchange.format_reply("")
    )
    exchange.end_chunks()


def fail_alternately(exchange: Exchange) -> None:
    """Refuse five requests, answer the next five, and so on."""
    (answer_well if exchange.number // 5 % 2 else fail_with_500)(exchange)


FAULTS: dict[str, Behaviour] = {
    "hanging": hang_silently,
    "429": fail_with_429,
    "500": fail_with_500,
    "slow drip": drip_bytes,
    "cut at a token": cut_reply,
    "broken JSON": send_broken_json,
    "missing end": omit_reply_end,
    "wrong content type": send_html_page,
    "huge": send_endlessly,
    "empty": send_empty_reply,
    "flapping": fail_alternately,
}
CONNECTION_FAULTS = ("refused", "TLS", "DNS")  # of the connection, not of the reply


class FakeProvider:
    """Endpoint that answers each request with `behave`.

    `connections` and `calls` count connections and requests, `disconnections` the early hang-ups.
    """

    def __init__(self, name: str, behave: Behaviour = answer_well, *, tls: bool = False) -> None:
        self.name, self._behave = name, behave
        self._context = _self_signed_context() if tls else None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._scheme = "https" if tls else "http"
        self._numbers, self._lock = itertools.count(), threading.Lock()
        self._open: set[socket.socket] = set()
        self.calls = self.disconnections = self.connections = 0
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def address(self) -> str:
        """Return the base URL for chat completions."""
        return f"{self._scheme}://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def models_file_entry(self, **fields: Any) -> dict[str, Any]:
        """Return its entry in a models file."""
        return model_entry(self.name, self.address, **fields)

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "FakeProvider":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            self.connections += 1
        try:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            for path, body in _read_requests(connection):
                with self._lock:
                    number, self.calls = next(self._numbers), self.calls + 1
                self._behave(Exchange(connection, self.name, number, path, body))
                if self._behave is cut_reply:
                    return
        except (OSError, ValueError):
            with self._lock:
                self.disconnections += 1
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def model_entry(name: str, address: str, **fields: Any) -> dict[str, Any]:
    """Return an entry of a models file, without cost or restrictions."""
    return {
        "name": name,
        "provider": "openai",
        "base_url": address,
        "model": name,
        "tier": "balanced",
        "context": 8192,
        "input_price": 0,
        "output_price": 0,
        "residency": "here",
        "risks": ["public", "internal"],
        **fields,
    }


@contextlib.contextmanager
def open_faulty_endpoint(name: str, kind: str) -> Iterator[tuple[FakeProvider | None, str]]:
    """Start an endpoint with a fault of FAULTS or CONNECTION_FAULTS; yield it and its URL."""
    if kind == "DNS":
        yield None, "http://no-such-host.invalid:8081/v1"
    elif kind == "refused":
        with socket.socket() as bound:  # reserves the port without listening
            bound.bind(("127.0.0.1", 0))
            yield None, f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
    else:
        with FakeProvider(name, FAULTS.get(kind, answer_well), tls=kind == "TLS") as fake:
            yield fake, fake.address


def _read_requests(connection: socket.socket) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield path and body of each request on a connection."""
    file = connection.makefile("rb")
    while line := file.readline():
        path, length = line.split()[1].decode(), 0
        while (header := file.readline().strip()) != b"":
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        yield path, json.loads(file.read(length))


def _wait_for_disconnect(exchange: Exchange) -> None:
    while exchange.socket.recv(1024):
        pass
    raise ConnectionError("the client hung up")


def _format_event(event: dict[str, Any]) -> str:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n"


def _usage_fields() -> dict[str, int]:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }


def _self_signed_context() -> ssl.SSLContext:
    """Return a TLS context with a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "both.pem"
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(file)
    return context
