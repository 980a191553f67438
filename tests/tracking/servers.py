"""A real MLflow server in a process of its own, and a gate in front of it that can be shut, slow or broken."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return taken.getsockname()[1]


@contextmanager
def mlflow_server(folder: Path, port: int, database: str | None = None, artifacts: str | None = None, **environment: str):
    """Run ``mlflow server`` on a database, by default one in a folder; yield its process once it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", database or f"sqlite:///{folder / 'server.db'}"]
    stores += ["--artifacts-destination", artifacts or str(folder / "artifacts")]
    environment = {**os.environ, "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen([*command, *stores], stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait_for(f"http://{HOST}:{port}/health", process)
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen) -> None:
    """Kill a server and its worker, without a chance to say goodbye."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


class Gate:
    """A server that hands requests on to another one: after ``delay_s``, or not at all while ``status`` is set.

    It listens from ``open`` to ``shut``; in between, its port refuses connections.
    """

    def __init__(self, behind: int) -> None:
        self.port, self.behind = free_port(), behind
        self.delay_s, self.status, self.requests = 0.0, 0, 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def open(self) -> None:
        gate = self

        class Handler(_Handler):
            def handle_any(self) -> None:
                gate.requests += 1
                time.sleep(gate.delay_s)
                self.answer(gate.status, b"broken") if gate.status else self.hand_on(gate.behind)

            do_GET = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815

        self._server = ThreadingHTTPServer((HOST, self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def shut(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    def hand_on(self, port: int) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(HOST, port, timeout=60)
        connection.request(self.command, self.path, body, {name: value for name, value in self.headers.items() if name != "Host"})
        answer = connection.getresponse()
        self.answer(answer.status, answer.read(), answer.getheader("Content-Type", ""))
        connection.close()

    def answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass
