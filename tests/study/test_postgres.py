"""The queue in a PostgreSQL server that the test starts; skipped where the server or its driver is missing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psycopg2")


def binary(name: str) -> str:
    found = shutil.which(name) or next(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


@pytest.fixture
def server() -> Iterator[str]:
    """URL of an empty database; the server listens on a socket in its own folder and refuses to run as root."""
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="unimm-postgres-"))
    if user:
        shutil.chown(folder, user)
    initdb = [binary("initdb"), "-D", str(folder / "data"), "-U", "study", "--auth=trust", "--no-sync"]
    subprocess.run(initdb, user=user, check=True, capture_output=True)
    command = [binary("postgres"), "-D", str(folder / "data"), "-k", str(folder), "-h", "", "-F"]
    process = subprocess.Popen(command, user=user, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (folder / ".s.PGSQL.5432").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield f"postgresql+psycopg2://study@/postgres?host={folder}"
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    shutil.rmtree(folder)


def test_workers_share_a_queue_in_postgresql(server, tmp_path, make_plan, processes, check_complete) -> None:
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=2)
    killed = processes.start("work", tmp_path, server)
    time.sleep(2)
    killed.kill()
    killed.wait()
    workers = [processes.start("work", tmp_path, server) for _ in range(2)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    check_complete(tmp_path, plan, kills=1)
    assert not (tmp_path / "queue.db").exists()
