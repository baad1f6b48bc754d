"""What a trial of tuning is told, and what it leaves behind: `trial.json`, written last. Imports no torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

FILE = "trial.json"
GIVEN_UP = "failed.json"  # in its place where a trial failed by itself three times
Value = str | bool | int | float | None


class TrialSettings(BaseModel):
    """One trial: the arm's resolved configuration, which settings were proposed, and what to choose by sampling.

    ``plan`` is the hash of the tuning's plan, ``number`` 0 the arm as it stands, ``params`` the proposed values (they
    stand in ``config``), ``by_sampling`` the values to try of each setting that needs no training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: str
    arm: str
    number: int
    config: dict[str, Any]
    params: dict[str, Value]
    by_sampling: dict[str, list[Value]]
    metric: str


class Evaluation(BaseModel):
    """The score of one set of sampling settings; null if it could not be measured."""

    model_config = ConfigDict(extra="allow", frozen=True)

    settings: dict[str, Value]
    value: float | None


class TrialRecord(BaseModel):
    """``trial.json``: every evaluation on the ``n`` validation images, the best one first chosen, and what it cost.

    ``untuned`` is the score with the arm's own sampling settings, ``value`` that with the ``chosen`` ones.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_version: int = 1
    settings: TrialSettings
    chosen: dict[str, Value]
    value: float | None
    untuned: float | None
    evaluations: list[Evaluation]
    n: int
    samples: int
    seconds: float
    device: str
    versions: dict[str, str]
