"""The label that an alert reads, on a server that is busy."""

import json
import logging
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import prefect
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.alerts.messages import SUMMARY, label_run

NO_TOKENS = {"detail": "CSRF protection is disabled."}
RUN = "5c1d9c52-9f0c-4f0e-8f0b-3a9d6f0f6c11"


class Server(HTTPServer):
    """Refuses some requests, and keeps the labels of the next."""

    def __init__(self, *refusals: int) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.refusals = [*refusals]
        self.labels: list[dict[str, str]] = []


class Answers(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def answer(self, status: int, body: object = None) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"" if body is None else json.dumps(body).encode())

    def do_GET(self) -> None:
        is_version = self.path.endswith("/version")
        self.answer(200, prefect.__version__) if is_version else self.answer(422, NO_TOKENS)

    def do_PATCH(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refusals:
            self.answer(self.server.refusals.pop(0), {"exception_message": "refused"})
        else:
            self.server.labels.append(json.loads(sent))
            self.answer(204)


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = list[Server]()

    def start(*refusals: int) -> Server:
        servers.append(Server(*refusals))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("refusals", "is_labelled"),
    [((), True), ((503, 503), True), ((429, 502, 408), True), ((404,) * 6, False)],
)
def test_a_server_that_refuses_is_asked_again_and_one_that_goes_on_is_told(
    serve: Serve, caplog: pytest.LogCaptureFixture, refusals: tuple[int, ...], is_labelled: bool
) -> None:
    server = serve(*refusals)
    url = f"http://127.0.0.1:{server.server_port}/api"
    with temporary_settings({PREFECT_API_URL: url}), caplog.at_level(logging.WARNING):
        label_run(RUN, "pass: nothing")
    assert server.labels == ([{SUMMARY: "pass: nothing"}] if is_labelled else [])
    assert ("is not recorded" in caplog.text) is not is_labelled
    assert server.refusals == []
