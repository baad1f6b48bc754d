"""`unimm view`. Imports what it needs when it runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from unimm.user_errors import user_errors


def view(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, of a study or of several runs.", metavar="FOLDER")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the page, or only write it.")] = True,
) -> None:
    """Look through all images of a run or of several, in a browser: FOLDER/viewer/index.html."""
    with user_errors():
        from unimm.report import serve as serving
        from unimm.report import viewer

        page = viewer.write(folder)
        if not serve:
            typer.echo(page)
            return
        with serving.server(page.parent, port) as running, suppress(KeyboardInterrupt):
            typer.echo(f"{serving.address(running)} shows {page}; Ctrl-C ends")
            running.serve_forever()
