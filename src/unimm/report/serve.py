"""Serves a folder of pages on this machine alone, until Ctrl-C."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOCALHOST = "127.0.0.1"


class _Quiet(SimpleHTTPRequestHandler):
    """Files of one folder, without a line a request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        """Let no browser show the pages of a run that was scored again since."""
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of ``folder``, not yet running; port 0 takes a free one.

    Raises:
        ValueError: the port is taken, or needs rights that this user lacks.
    """
    try:
        return ThreadingHTTPServer((LOCALHOST, port), partial(_Quiet, directory=str(folder)))
    except OSError as error:
        raise ValueError(f"port {port} of {LOCALHOST}: {error.strerror}; give another --port, or 0 for any") from error


def address(running: ThreadingHTTPServer) -> str:
    """Where a browser finds it."""
    return f"http://{LOCALHOST}:{running.server_address[1]}/"
