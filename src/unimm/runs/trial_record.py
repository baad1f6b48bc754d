"""The records of a tuning's trials: what each is told (``settings/``), and what it found (``trial.json``)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from unimm.runs.code import Code

TRIAL = "trial.json"
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
    """The score of one set of sampling settings, with its standard error over prompts; null if it was not measured.

    ``behind_stderr`` is the standard error of how far it lies behind the one that was chosen over it, over the same
    prompts; null for the chosen one, and where it was not taken (as by versions that did not).
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    settings: dict[str, Value]
    value: float | None
    stderr: float | None = None
    behind_stderr: float | None = None


class TrialRecord(BaseModel):
    """``trial.json``: every evaluation on the ``n`` validation images, the best one first chosen, and what it cost.

    ``untuned`` is the score with the arm's own sampling settings, ``value`` that with the ``chosen`` ones, which are
    the first of equally good ones: ``equals`` are the settings of the others.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_version: int = 1
    settings: TrialSettings
    chosen: dict[str, Value]
    value: float | None
    untuned: float | None
    evaluations: list[Evaluation]
    equals: list[dict[str, Value]] = []
    n: int
    samples: int
    seconds: float
    device: str
    versions: dict[str, str]
    code: dict[str, Code] = {}
