"""The queue's database: inside its folder whatever the folder is called, and one line where it cannot be used."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from unimm.study.database import database_url, open_storage
from unimm.study.layout import PlannedRun
from unimm.study.processes import StudyError
from unimm.study.queue import RunQueue, State

NAMES = ["a b", "x%2Fy", "x%20y", "a?mode=ro", "a#b", "a{SCHEMA_VERSION}b", "a:b@c", "日本", "a&b;c", "a+b", "50%", "%"]


@pytest.mark.parametrize("name", NAMES)
def test_a_database_lies_in_its_folder_whatever_that_is_called(name: str, tmp_path: Path, make_plan) -> None:
    folder = tmp_path / "root" / name
    folder.mkdir(parents=True)
    before = {path for path in tmp_path.rglob("*") if folder not in path.parents}
    queue = RunQueue(folder, make_plan(folder, {"a": 0}, seeds=1), None)
    assert queue.states() == {PlannedRun("a", 0): State.WAITING}
    with sqlite3.connect(folder / "queue.db") as database:
        assert database.execute("select study_name from studies").fetchone() == ("fakes 2026-12-01T00:00:00+00:00",)
    assert {path for path in tmp_path.rglob("*") if folder not in path.parents} == before
    assert RunQueue(folder, queue.plan, None).study._study_id == queue.study._study_id, "found again, not made anew"


def test_a_colleague_may_write_the_queue_where_the_umask_lets_them(tmp_path: Path) -> None:
    import os

    before = os.umask(0o002)
    try:
        open_storage(tmp_path / "queue.db", None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "queue.db").stat().st_mode) == 0o664


def aged(file: Path, version: str) -> None:
    RDBStorage(f"sqlite:///{file}")
    with sqlite3.connect(file) as database:
        database.execute("update alembic_version set version_num=?", (version,))


@pytest.mark.parametrize("kind", ["older", "newer", "garbage", "folder"])
def test_a_database_that_cannot_be_used_is_named_with_the_mend(kind: str, tmp_path: Path, make_plan) -> None:
    plan, file = make_plan(tmp_path, {"a": 0}, seeds=1), tmp_path / "queue.db"
    if kind == "folder":
        file.mkdir()
    elif kind == "garbage":
        file.write_text("this is no database" * 100)
    else:
        aged(file, {"older": "v3.0.0.d", "newer": "v9.9.9"}[kind])
    with pytest.raises(StudyError, match=r"queue\.db cannot be used as the queue \(.+\); .* move it away") as error:
        RunQueue(tmp_path, plan, None)
    assert "\n" not in str(error.value)
    file.rename(tmp_path / "moved")
    assert RunQueue(tmp_path, plan, None).states() == {PlannedRun("a", 0): State.WAITING}


def test_a_database_that_somebody_holds_is_not_to_be_moved_away(tmp_path: Path, make_plan, monkeypatch) -> None:
    plan = make_plan(tmp_path, {"a": 0}, seeds=1)
    monkeypatch.setattr("unimm.study.database.SQLITE_WAIT_SECONDS", 0.1)
    queue = RunQueue(tmp_path, plan, None)
    database = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    database.execute("begin exclusive")
    with pytest.raises(StudyError, match=r"queue\.db .*is locked.*another process holds it"):
        queue.states()
    database.close()


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("notaurl", "--storage: no URL of a database"),
        ("", "--storage: no URL of a database"),
        ("postgres://me:secret@host/db", "no URL of a database"),
        ("sqlite://", "in memory"),
        ("sqlite:////nonexistent/q.db", "no folder /nonexistent: make it"),
        ("postgresql://me:secret@localhost:1/db", "cannot be used|no driver for postgresql"),
    ],
)
def test_a_bad_storage_is_one_line_without_the_password(storage: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message) as error:
        open_storage(tmp_path / "queue.db", storage)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)
    assert not (tmp_path / "queue.db").exists()


def test_postgresql_means_the_driver_that_unimm_installs(tmp_path: Path) -> None:
    url = database_url(tmp_path / "queue.db", "postgresql://me@host/db")
    assert url.get_dialect().driver == "psycopg2"
    assert database_url(tmp_path, "postgresql+psycopg://me@host/db").get_dialect().driver == "psycopg"
