"""The database behind a queue: SQLite in the study's folder, or one that `--storage` names.

The folders are the truth of a study, so a database that cannot be used is moved away and nothing is lost but how often
each run has failed. Whatever goes wrong with one is one line that says so, with the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from unimm.study.processes import StudyError

HEARTBEAT_SECONDS = 60
GRACE_SECONDS = 300
SQLITE_WAIT_SECONDS = 60
MOVE = (
    "where no worker runs, move it away and start again: the folders are the truth, and nothing is lost but how often "
    "each run has failed"
)
MENDS = {  # by SQLite's name of the error; whatever else there is, a new database mends
    "SQLITE_BUSY": "another process holds it: start again when that one is done",
    "SQLITE_FULL": "make room on its disk and start again",
    "SQLITE_READONLY": "make the file and its folder writable",
}
EXAMPLES = "postgresql://USER@HOST/NAME or sqlite:////absolute/path/queue.db"


def database_url(file: Path, storage: str | None) -> URL:
    """Where the queue lies: at the URL `storage`, or in SQLite in `file`, whatever characters its folder's name has.

    Raises:
        StudyError: `storage` is no URL of a database.
    """
    if storage is None:
        return URL.create("sqlite", database=str(file.resolve()))
    try:
        url = make_url(storage)
        url.get_dialect()
    except ArgumentError as error:  # what is no URL may hold a password all the same
        raise StudyError(f"--storage: no URL of a database ({_first(error)}); write {EXAMPLES}") from error
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StudyError(f"--storage: a database in memory is no queue for several processes; write {EXAMPLES}")
    if url.drivername == "postgresql":  # the driver that unimm[postgres] installs, whichever SQLAlchemy prefers
        url = url.set(drivername="postgresql+psycopg2")
    return url


def open_storage(file: Path, storage: str | None, heartbeat: bool = True) -> RDBStorage:
    """The database at the URL `storage`, or SQLite in `file`; StudyError where it cannot be used."""
    url = database_url(file, storage)
    sqlite = url.get_backend_name() == "sqlite"
    options: dict[str, Any] = {"connect_args": {"timeout": SQLITE_WAIT_SECONDS}} if sqlite else {}
    beat, grace = (HEARTBEAT_SECONDS, GRACE_SECONDS) if heartbeat else (None, None)
    if storage is None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()  # by Python, for the umask's mode: SQLite's own is 0644, and its journals take the file's
    # Optuna fills in what stands between braces.
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    with using(url), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            return RDBStorage(text, engine_kwargs=options, heartbeat_interval=beat, grace_period=grace)
        except ImportError as error:
            raise _no_driver(url) from error
        except RuntimeError as error:  # tables of an older or a newer Optuna
            raise _unusable(url, "it was written by another version of Optuna") from error


@contextmanager
def using(url: URL) -> Iterator[None]:
    """Whatever the database refuses as StudyError with its name."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        sent = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        cause = getattr(sent, "orig", None) or sent
        raise _unusable(url, _first(cause), MENDS.get(getattr(cause, "sqlite_errorname", ""))) from error


def _unusable(url: URL, why: str, mend: str | None = None) -> StudyError:
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        if not path.parent.is_dir():
            return StudyError(f"{path}: no folder {path.parent}: make it, or choose another --storage")
        return StudyError(f"{path} cannot be used as the queue ({why}); {mend or MOVE}")
    return StudyError(f"the database {url.render_as_string()} cannot be used ({why}); check --storage and the server")


def _no_driver(url: URL) -> StudyError:
    return StudyError(f"no driver for {url.get_backend_name()}: pip install 'unimm[postgres]'")


def _first(error: BaseException) -> str:
    """The first line of what a library says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
