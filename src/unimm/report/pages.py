"""Writes the page of whatever a folder holds: a run, a study, a tuning, or a study of runs made elsewhere."""

from pathlib import Path

from unimm.report import page as run_page
from unimm.report.imported import page as imported_page
from unimm.report.imported.plan import KIND as IMPORT
from unimm.report.study import page as study_page
from unimm.report.study import tuning
from unimm.report.study.folder import TUNING, kind_of
from unimm.runs.record import PLAN

OF_KIND = {TUNING: tuning.write, IMPORT: imported_page.write}


def write(folder: Path) -> Path:
    """Write the page of a run, or of what has a plan, and return its path."""
    return write_study(folder) if (folder / PLAN).exists() else run_page.write(folder)


def write_study(folder: Path) -> Path:
    """Write the page of what a plan is of; ValueError where there is none."""
    kind = kind_of(folder) if (folder / PLAN).exists() else ""
    return OF_KIND.get(kind, study_page.write)(folder)
