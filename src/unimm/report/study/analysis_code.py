"""Which code turned the runs into verdicts: a plan fixes the claims, not the guards and intervals that decide them.

Said is the last commit that changed what decides, not the one that is checked out: a page that is made again is then
the same page until the analysis itself has changed, and tables and figures may. Where nothing but the files of a
package is there, its version is all there is to say.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unimm.runs.code import git

PACKAGE = Path(__file__).parents[2]
# What reads the runs, says which of them count and what is compared, and decides.
DECIDES = (
    "analysis",
    *(f"report/study/{name}.py" for name in ("folder", "soundness", "every_claim", "evidence", "limits")),
    *(f"runs/{name}.py" for name in ("planned", "record")),
)


@cache
def analysis_code(package: Path = PACKAGE) -> str:
    """The package's version; in a git tree also the last commit that changed the analysis, and whether that is all."""
    name = f"unimm {_version()}"
    commit = git(package, "log", "-1", "--format=%h", "--abbrev=12", "--", *DECIDES)
    if not commit:
        return name
    changed = ", and changes that are in no commit" if git(package, "status", "--porcelain", "--", *DECIDES) else ""
    return f"{name}, commit {commit}{changed}"


def _version() -> str:
    try:
        return version("unimm")
    except PackageNotFoundError:
        return "without a version"
