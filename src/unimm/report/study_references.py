"""What a score could be at worst and at best: the floors and ceilings that runs measured beside it."""

from collections.abc import Mapping

from unimm.report.schema import NamedScores
from unimm.report.study_folder import Study, StudyRun


def reference(run: StudyRun, kind: str, metric: str) -> float | None:
    """The run's floor (`floors`) or lowest ceiling (`ceilings`) of a score: what its own parts allow, if measured."""
    tables: Mapping[str, NamedScores] = getattr(run.result, kind)
    values = [value for scores in tables.values() if (value := scores.get(metric)) is not None]
    return min(values) if values else None


def mean_reference(study: Study, arm: str, kind: str, metric: str) -> float | None:
    """Mean over seeds of an arm's floor or ceiling, or None where none was measured."""
    values = [value for run in study.finished(arm) if (value := reference(run, kind, metric)) is not None]
    return sum(values) / len(values) if values else None
