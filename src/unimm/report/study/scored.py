"""What answers, tables and figures ask of a study, whoever ran it: arms, seeds, scores with their limits, claims.

`unimm.report.study.folder.Study` is one that unimm ran, `unimm.report.imported.study.ImportedStudy` one whose numbers
came as a table.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from unimm.analysis.claims import Claims
from unimm.evaluation.words import Glossary
from unimm.report.study.folder import Array
from unimm.runs.record import NamedScores, ScoreRecord


class ScoredArm(Protocol):
    """An arm."""

    def component(self, kind: str) -> str:
        """Name of its encoder, objective, strategy; empty where nobody said it."""


class RunScores(Protocol):
    """The scores of a run, and by the name of a floor or ceiling what each could be at worst or at best."""

    @property
    def scores(self) -> Sequence[ScoreRecord]:
        """Every score."""

    @property
    def floors(self) -> Mapping[str, NamedScores]:
        """Floor -> score -> value."""

    @property
    def ceilings(self) -> Mapping[str, NamedScores]:
        """Ceiling -> score -> value."""


class ScoredRun(Protocol):
    """A run that counts."""

    @property
    def result(self) -> RunScores:
        """Its scores."""

    def value(self, metric: str) -> float:
        """A score, NaN where it was not measured."""


class ScoredPlan(Protocol):
    """What was fixed beforehand."""

    @property
    def name(self) -> str:
        """The study's name."""

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds that every arm should have."""

    @property
    def arms(self) -> Mapping[str, ScoredArm]:
        """The arms by name."""

    @property
    def claims(self) -> Claims:
        """What is claimed."""


class ScoredStudy(Protocol):
    """Runs by arm and seed, and why each other one is missing."""

    @property
    def plan(self) -> ScoredPlan:
        """What was fixed beforehand."""

    @property
    def runs(self) -> Mapping[str, Mapping[int, ScoredRun]]:
        """Arm -> seed -> run."""

    @property
    def missing(self) -> Mapping[tuple[str, int], str]:
        """Why a run is missing."""

    @property
    def all_runs(self) -> Sequence[ScoredRun]:
        """Every run, arm by arm."""

    @property
    def metrics(self) -> set[str]:
        """Names of all scores."""

    @property
    def words(self) -> Glossary:
        """What they are called."""

    def finished(self, arm: str) -> Sequence[ScoredRun]:
        """The runs of an arm, in the order of seeds."""

    def draws(self, arm: str) -> Sequence[str]:
        """The draw of the foundation of every finished run; empty where runs of all seeds stand on one."""

    def values(self, arm: str, metric: str) -> Array:
        """One score of every run of an arm, `[seeds]`, NaN where it was not measured."""
