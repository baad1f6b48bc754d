"""What others have measured of the same contrasts: facts beside a study's verdicts, none of which depends on them.

`outside_evidence.yaml` has the contrasts, each two sides of one setting, and the published comparisons, each with the
scale, the runs and the source of its numbers. A claim is about a contrast if its arms on one side have values of one
side of the setting, those on the other side values of the other, and nothing else that a contrast is about differs
between them. A setting that only one side has (how many blocks of a tower are summed, beside a VAE) is no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import as_file, files
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unimm.analysis.claims import Difference, Measured, NonInferiority, Reach
from unimm.strict_yaml import read_yaml

Side = Literal["first", "second", "neither"]
About = Literal["alignment", "quality", "understanding", "speed"]
Settings = Mapping[str, Mapping[str, Any]]

# First parts of the names of scores -> what a comparison says that it is about.
ABOUT: Mapping[str, About] = {
    **dict.fromkeys(("geneval", "geneval_long", "atoms", "atoms_long", "clip_score", "r_precision"), "alignment"),
    **dict.fromkeys(("frechet_distance", "kernel_distance", "fid"), "quality"),
    **dict.fromkeys(("understanding", "descriptions"), "understanding"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Contrast(_Strict):
    """Two sides of the dotted key `setting` of a configuration, each with the values that stand on it."""

    says: str = Field(min_length=1)
    setting: str
    first: tuple[str | int, ...] = Field(min_length=1)
    second: tuple[str | int, ...] = Field(min_length=1)


class Comparison(_Strict):
    """One published result: scores of both sides, or how many `times` as much the second needs, or who is `ahead`."""

    work: str
    date: str
    contrast: str
    about: About
    measure: str
    better: Literal["higher", "lower"] = "higher"
    first: float | None = None
    second: float | None = None
    times: float | None = Field(default=None, gt=0)
    ahead: Side | None = None
    scale: str = Field(min_length=1)
    runs: str = Field(min_length=1)
    read: Literal["code", "paper", "page", "abstract", "figure"]
    source: str = Field(pattern=r"arXiv \d{4}\.\d{5}")
    differs: str = ""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        said = [self.first is not None and self.second is not None, self.times is not None, self.ahead is not None]
        if sum(said) != 1 or (self.first is None) != (self.second is None):
            raise ValueError(f"{self.work}, {self.measure}: give first and second, or times, or ahead")
        return self

    @property
    def side(self) -> Side:
        """Which side is ahead."""
        if self.ahead is not None:
            return self.ahead
        lead = self.times - 1 if self.times is not None else self._difference
        return "neither" if lead == 0 else "first" if lead > 0 else "second"

    @property
    def _difference(self) -> float:
        assert self.first is not None and self.second is not None, "one of the three is there"
        return {"higher": 1, "lower": -1}[self.better] * (self.first - self.second)

    @property
    def numbers(self) -> str:
        """As its source has them."""
        if self.times is not None:
            return f"{self.times:g} times as many"
        return "no number" if self.first is None else f"{self.first:g} against {self.second:g}"


class Evidence(_Strict):
    """The file."""

    contrasts: dict[str, Contrast]
    comparisons: tuple[Comparison, ...]

    @model_validator(mode="after")
    def _contrasts_are_known(self) -> Self:
        unknown = sorted({each.contrast for each in self.comparisons} - self.contrasts.keys())
        if unknown:
            raise ValueError(f"no contrast is called {', '.join(unknown)}")
        return self


@cache
def outside_evidence() -> Evidence:
    """All of it, as the package ships it."""
    with as_file(files("unimm.analysis") / "outside_evidence.yaml") as path:
        return Evidence.model_validate(read_yaml(path))


def contrast_of(claim: Measured, settings: Settings, known: Mapping[str, Contrast]) -> tuple[str, bool] | None:
    """The contrast that a claim is about, and whether the claim's favoured side is its `first`; None for none.

    Args:
        claim: of one side of arms against another; "best of all" is not.
        settings: flat configuration by arm.
        known: the contrasts.
    """
    sides = _sides(claim)
    if sides is None:
        return None
    ours, theirs = ([settings[arm] for arm in side] for side in sides)
    keys = {contrast.setting for contrast in known.values()}
    shared = {key for key in keys if all(key in arm for arm in (*ours, *theirs))}
    unequal = {key for key in shared if _values(ours, key) != _values(theirs, key)}
    for name, contrast in known.items():
        if unequal == {contrast.setting}:
            values = set(_values(ours, contrast.setting)), set(_values(theirs, contrast.setting))
            first, second = set(contrast.first), set(contrast.second)
            if values[0] <= first and values[1] <= second:
                return name, True
            if values[0] <= second and values[1] <= first:
                return name, False
    return None


def about(claim: Measured) -> About | None:
    """What a claim says something of; None where no comparison does."""
    of_score = ABOUT.get(claim.metric.partition("/")[0])
    return "speed" if isinstance(claim, Reach) and of_score == "alignment" else of_score


def _sides(claim: Measured) -> tuple[list[str], list[str]] | None:
    """The arms that a claim favours, and the others."""
    if isinstance(claim, Difference | NonInferiority):
        return tuple([arm for arm, w in claim.contrast.items() if sign * w > 0] for sign in (1, -1))  # type: ignore[return-value]
    return ([claim.faster], [claim.slower]) if isinstance(claim, Reach) else None


def _values(arms: list[Mapping[str, Any]], key: str) -> Counter[Any]:
    return Counter(arm[key] for arm in arms)
