"""What a study on several machines stands on, each real and on loopback: PostgreSQL, an S3 server, a Dask scheduler and its workers."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from tests.conftest import ROOT
from tests.tracking.servers import HOST, free_port, kill

KEYS = {"key": "testing", "secret": "testing"}
NOBODY = "nobody"  # PostgreSQL refuses to be run by root


def postgres_programs() -> Path:
    """Return where PostgreSQL's programs lie; skip the test where there are none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = debian[-1] if debian else shutil.which("initdb")
    if not found:
        pytest.skip("PostgreSQL is not installed: tests/install_postgresql.sh does so on Debian, by root")
    return Path(found).parent


@contextmanager
def postgres(folder: Path):
    """Run PostgreSQL on a new database in a folder; yield its URI for SQLAlchemy once it answers."""
    programs, port = postgres_programs(), free_port()
    user = {"user": NOBODY, "group": pwd.getpwnam(NOBODY).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    folder.mkdir()
    if user:
        shutil.chown(folder, NOBODY)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": folder, "start_new_session": True, **user}
    subprocess.run([programs / "initdb", "--pgdata=data", "--username=mlflow", "--auth=trust", "--no-sync"], check=True, **quiet)
    options = ["-D", "data", "-h", HOST, "-p", str(port), "-k", "", "-c", "fsync=off"]
    with _process([programs / "postgres", *options], **quiet):
        _wait_for(port)
        subprocess.run([programs / "createdb", "-h", HOST, "-p", str(port), "-U", "mlflow", "mlflow"], check=True, **quiet)
        yield f"postgresql://mlflow@{HOST}:{port}/mlflow"


@contextmanager
def s3(folder: Path):
    """Run moto's S3 server with a bucket ``unlearnable``; yield its URL once it answers."""
    port = free_port()
    with (
        (folder / "s3.log").open("ab") as log,
        _process([sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)], stdout=log, stderr=log),
    ):
        _wait_for(port)
        url = f"http://{HOST}:{port}"
        files(url).mkdir("unlearnable")
        yield url


def files(url: str):
    """Return the file system of the S3 server at ``url``."""
    return fsspec.filesystem("s3", **KEYS, client_kwargs={"endpoint_url": url}, use_listings_cache=False, skip_instance_cache=True)


@contextmanager
def dask_scheduler(folder: Path, sources: str = str(ROOT / "src")):
    """Run a Dask scheduler that finds modules in ``sources``; yield its address once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", HOST, "--port", str(port), "--no-dashboard", "--no-show"]
    with (
        (folder / "scheduler.log").open("ab") as log,
        _process(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, "PYTHONPATH": sources}),
    ):
        _wait_for(port)
        yield f"tcp://{HOST}:{port}"


@contextmanager
def dask_worker(project: Path, scheduler: str, **environment: str):
    """Run a Dask worker for one part at a time, started in a project's folder as on a machine of its own; yield its process."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--nthreads=1", "--no-nanny", "--no-dashboard"]
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1", **environment}
    with (project / "worker.log").open("ab") as log, _process(command, stdout=log, stderr=log, cwd=project, env=environment) as process:
        yield process


@contextmanager
def _process(command: list, **options):
    process = subprocess.Popen(command, **{"start_new_session": True, **options})
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                kill(process)


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection((HOST, port), 5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(port)
