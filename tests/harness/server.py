"""A real MLflow server, and a proxy before it that can turn away, fall silent or fail."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.error import URLError
from urllib.request import urlopen

from harness.forked import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    Mode = Literal["pass", "refuse", "hang", "fail"]

START_WITHIN_S = 180.0
SERVER_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # five more processes, for what we do not use
}
HOP_HEADERS = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


def free_port() -> int:
    """Returns a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`mlflow server` in a process group of its own, ready once it is made.

    Args:
        folder: Gets its database, its artifacts and its log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        with (folder / "server.log").open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=clean_environment() | SERVER_SETTINGS,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the server and its workers."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def client(self) -> Any:
        """Returns MLflow's own client, straight to the server."""
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def runs(self, experiment: str) -> list[Any]:
        """Returns all runs of an experiment; none where there is no such experiment."""
        found = self.client().get_experiment_by_name(experiment)
        return list(self.client().search_runs([found.experiment_id])) if found else []

    def _wait(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while not self._healthy():
            said = (self.folder / "server.log").read_text()[-2000:]
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.2)

    def _healthy(self) -> bool:
        try:
            with urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


class Proxy:
    """Stands before a server at an address of its own, and is in one of four modes.

    'pass' hands requests on, 'refuse' does not listen, 'hang' takes requests and never answers,
    'fail' answers 500.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port, self._port = target_port, free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self.requests: list[str] = []
        self._lose: str | None = None
        self._changed = threading.Event()
        self._http: ThreadingHTTPServer | None = None
        self._mode: Mode = "refuse"
        self.switch("pass")

    def switch(self, mode: Mode) -> None:
        """Changes what happens to requests from now on; those that hang are dropped."""
        self._mode = mode
        self._changed.set()
        self._changed = threading.Event()
        if mode == "refuse" and self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        if mode != "refuse" and self._http is None:
            self._http = _Listener(("127.0.0.1", self._port), self._handler())
            threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def lose_answer(self, path: str) -> None:
        """Hands the next request to a path on, and drops what the server answers."""
        self._lose = path

    def stop(self) -> None:
        """Ends the listening."""
        self.switch("refuse")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                proxy._answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - so it is called
                """Says nothing."""

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        mode, changed = self._mode, self._changed
        self.requests.append(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if mode == "hang":
            changed.wait()
        elif mode == "fail":
            _send(request, 500, [], b"the database is on fire")
        elif mode == "pass":
            status, headers, content = self._ask(request, body)
            if self._lose is not None and self._lose in request.path:
                self._lose = None
            else:
                _send(request, status, headers, content)

    def _ask(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._target_port, timeout=60)
        try:
            headers = {
                key: value for key, value in request.headers.items() if key.lower() != "connection"
            }
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: a client that was kept waiting has left."""


def _send(
    request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], content: bytes
) -> None:
    request.send_response(status)
    for key, value in headers:
        if key.lower() not in HOP_HEADERS:
            request.send_header(key, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)
