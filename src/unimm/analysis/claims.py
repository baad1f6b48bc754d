"""Claims fixed before a study: what is said, on which metric, by which contrast, and what would be too small to care.

Effects are in the metric's unit and positive in the claimed direction. Under `scale: log` the scores' logarithms are
compared, run by run, and the effect is a ratio (of geometric means): distances are positive and skewed, so that the one
of seed 0 may be four times that of seed 2, and a t interval holds for their logarithms only. What is too small to care
is `smallest_effect` on the linear scale, `smallest_ratio` on the logarithmic one, as for `reach`. Five kinds, each with
its own file keys:

    difference       a weighted sum of arms is above 0 (a pair of arms has weights 1 and -1)
    non-inferiority  the same sum is above minus the smallest effect of interest
    best-cell        one arm is ahead of every other named one (intersection-union)
    reach            one arm reaches a preset score at a smaller cost than another; the effect is the ratio of costs
    invariant        facts that hold by construction and are checked in every run, never given a p-value

A claim with `paired: true` compares its arms seed by seed (`unimm.analysis.contrast`), which is decided here, before
the first run; arms that share their first stage are compared so in any case, and more than two always are.

`read_claims` reads them from YAML; what is wrong is a ValueError that names the claim, the key and the nearest valid
choice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import exp, inf, log
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator, model_validator

from unimm.analysis.claim_map import ClaimMap
from unimm.analysis.power import Room
from unimm.config_errors import problems
from unimm.registry import nearest
from unimm.strict_yaml import read_yaml

Budget = Literal["generation_samples", "flops"]
Reference = tuple[str, str, str]
SHOWN = 20  # names in one message
ArmNames = Annotated[tuple[str, ...], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Claim(_Strict):
    """What every kind has; `guards` name conditions without which the claim is untestable."""

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    guards: tuple[str, ...] = ()

    def references(self) -> Iterator[Reference]:
        """Every name that the study has to know, as (key, vocabulary, name)."""
        yield from (("guards", "guards", guard) for guard in self.guards)


class _Measured(_Claim):
    """A claim with a number; arms are compared at an equal `budget`, primary ones with Holm's correction.

    `paired` compares them seed by seed.
    """

    role: Literal["primary", "secondary"]
    metric: str
    direction: Literal["higher", "lower"]
    budget: Budget
    paired: bool = False

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two arms that are compared with each other alone."""
        raise NotImplementedError

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return {"higher": 1, "lower": -1}[self.direction]

    @property
    def null(self) -> float:
        """The effect must exceed this to be supported, and stay below it to be contradicted."""
        return 0.0

    @property
    def margin(self) -> float:
        """Smallest effect of interest, on the scale on which the effect is estimated."""
        raise NotImplementedError

    @property
    def is_ratio(self) -> bool:
        """Whether the effect is the logarithm of a ratio, which a reader wants as that ratio."""
        return False

    @property
    def negligible_within(self) -> float:
        """An interval inside plus or minus this says that the effect is too small to matter; 0 for never."""
        return self.margin

    def room_to_decide(self, estimate: float) -> Room:
        """How far below and above `estimate` an interval has to end to support or contradict; inf on a free side.

        An estimate on the very border would ask for endless seeds; a hundredth of the margin bounds them.
        """
        distance = max(abs(estimate - self.null), self.margin / 100)
        return (distance, inf) if estimate > self.null else (inf, distance)

    def room_to_be_negligible(self, estimate: float) -> Room:
        """The same for "too small to matter"; 0 or less where the estimate itself is not."""
        return self.negligible_within + estimate, self.negligible_within - estimate

    def in_units(self, effect: float) -> float:
        """An effect as a reader wants it: in the metric's unit, or as a ratio."""
        return exp(effect) if self.is_ratio else effect

    def references(self) -> Iterator[Reference]:
        """The metric and the guards; kinds add their arms."""
        yield from super().references()
        yield "metric", "metrics", self.metric


class _Scaled(_Measured):
    """Compares scores of arms on either `scale`, and says on it which effect would be too small to matter."""

    scale: Literal["linear", "log"] = "linear"
    smallest_effect: PositiveFloat | None = None
    smallest_ratio: Annotated[float, Field(gt=1)] | None = None

    @model_validator(mode="after")
    def _margin_is_on_the_scale(self) -> Self:
        wanted, other = ("smallest_ratio", "smallest_effect")[:: 1 if self.is_ratio else -1]
        if getattr(self, other) is not None:
            raise ValueError(f"{other}: with scale: {self.scale} nothing reads this key; give {wanted}")
        if getattr(self, wanted) is None:
            raise ValueError(f"{wanted}: is required with scale: {self.scale}")
        return self

    @property
    def is_ratio(self) -> bool:
        """On the logarithmic scale."""
        return self.scale == "log"

    @property
    def margin(self) -> float:
        """In the metric's unit, or the logarithm of a ratio."""
        if self.smallest_ratio is not None:
            return log(self.smallest_ratio)
        assert self.smallest_effect is not None, "one of the two is there"
        return self.smallest_effect


class WithContrast(_Scaled):
    """`contrast` maps arms to weights, which sum to 0, the positive ones to 1."""

    contrast: dict[str, float]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The two arms, if there are no more."""
        arms = [arm for arm, weight in self.contrast.items() if weight]
        return [(arms[0], arms[1])] if len(arms) == 2 else []

    @field_validator("contrast")
    @classmethod
    def _compares_means(cls, weights: dict[str, float]) -> dict[str, float]:
        ups, downs = (sum(max(sign * weight, 0.0) for weight in weights.values()) for sign in (1, -1))
        if abs(ups - 1) > 1e-6 or abs(downs - 1) > 1e-6:
            raise ValueError(
                f"positive weights sum to {ups:g} and negative ones to {-downs:g}; make them 1 and -1, "
                "so that the effect is a difference of means"
            )
        return weights

    def references(self) -> Iterator[Reference]:
        """The arms of the contrast besides."""
        yield from super().references()
        yield from (("contrast", "arms", arm) for arm in self.contrast)


class Difference(WithContrast):
    """The contrast is positive."""

    kind: Literal["difference"]


class NonInferiority(WithContrast):
    """The contrast is not below minus the smallest effect of interest."""

    kind: Literal["non-inferiority"]

    @property
    def null(self) -> float:
        """Being worse by less than the margin still supports the claim."""
        return -self.margin

    @property
    def negligible_within(self) -> float:
        """Never: a negligible difference is what this kind claims."""
        return 0.0


class BestCell(_Scaled):
    """The arm `best` is ahead of each of `others`."""

    kind: Literal["best-cell"]
    best: str
    others: ArmNames

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The best arm with each of the others."""
        return [(self.best, other) for other in self.others]

    def references(self) -> Iterator[Reference]:
        """The arms besides."""
        yield from super().references()
        yield "best", "arms", self.best
        yield from (("others", "arms", arm) for arm in self.others)


class Reach(_Measured):
    """`faster` reaches the score `target` with less of `budget` than `slower`: by `smallest_ratio` to matter."""

    kind: Literal["reach"]
    target: float
    faster: str
    slower: str
    smallest_ratio: float = Field(gt=1)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The two arms."""
        return [(self.faster, self.slower)]

    @property
    def margin(self) -> float:
        """The effect is the logarithm of a ratio."""
        return log(self.smallest_ratio)

    @property
    def is_ratio(self) -> bool:
        """Of costs."""
        return True

    def references(self) -> Iterator[Reference]:
        """The arms besides."""
        yield from super().references()
        yield from (("faster", "arms", self.faster), ("slower", "arms", self.slower))


class Invariant(_Claim):
    """`holds` maps each fact to the arms in whose every run it is true."""

    kind: Literal["invariant"]
    holds: dict[str, ArmNames] = Field(min_length=1)

    def references(self) -> Iterator[Reference]:
        """The facts and their arms besides."""
        yield from super().references()
        for fact, arms in self.holds.items():
            yield "holds", "facts", fact
            yield from ((f"holds.{fact}", "arms", arm) for arm in arms)


Measured = Difference | NonInferiority | BestCell | Reach
Claim = Measured | Invariant


class Claims(_Strict):
    """A claims file: one `alpha` for the family of primary claims, and one for the secondary ones.

    `map` says which claims a picture shows as one question's answers under other circumstances.
    """

    alpha: float = Field(gt=0, lt=1)
    claims: tuple[Annotated[Claim, Field(discriminator="kind")], ...] = Field(min_length=1)
    map: ClaimMap | None = None

    def paired_by_seed(self) -> Claims:
        """The same claims, all of whose arms are compared seed by seed."""
        paired = (c if isinstance(c, Invariant) else c.model_copy(update={"paired": True}) for c in self.claims)
        return self.model_copy(update={"claims": tuple(paired)})

    @model_validator(mode="after")
    def _ids_differ(self) -> Claims:
        ids = [claim.id for claim in self.claims]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"the id {', '.join(twice)} is given to several claims; give each its own")
        return self

    @model_validator(mode="after")
    def _map_shows_differences(self) -> Claims:
        known = {claim.id: claim for claim in self.claims}
        for name in self.map.references() if self.map else ():
            if name not in known:
                raise ValueError(f"map: no claim {name!r}; {_choices(name, known)}")
            claim = known[name]
            if not isinstance(claim, WithContrast) or claim.is_ratio:
                raise ValueError(f"map: claim {name!r} has no contrast on the linear scale; leave it out of the map")
        return self


def linear_distances(claims: Claims) -> list[str]:
    """Ids of claims that compare distances as they are: one run in three may be several times as far as the others.

    They are still read and decided, as plans of before have them.
    """
    scaled = [claim for claim in claims.claims if isinstance(claim, _Scaled)]
    return [claim.id for claim in scaled if claim.metric.endswith("distance") and not claim.is_ratio]


# Kind as written in the file -> its model.
_KINDS = {get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(Claim)}


@dataclass(frozen=True)
class Vocabulary:
    """The names that a study knows."""

    arms: Collection[str]
    metrics: Collection[str]
    guards: Collection[str]
    facts: Collection[str]


def read_claims(path: Path, known: Vocabulary | None = None) -> Claims:
    """The claims in a YAML file, all their names known to the study, if there is one yet.

    Raises:
        ValueError: one line for each problem, with the claim, the key and the nearest valid choice.
    """
    content = read_yaml(path)
    try:
        claims = Claims.model_validate(content)
    except ValidationError as error:
        lines = [_line(problem["loc"], problem, content) for problem in problems(error)]
    else:
        lines = unknown_names(claims, known) if known else []
    if lines:
        raise ValueError("\n".join(f"{path}: {line}" for line in lines))
    return claims


def unknown_names(claims: Claims, known: Vocabulary) -> list[str]:
    """One line for every name of a claim that the study does not have, with the nearest that it has."""
    problems = []
    for claim in claims.claims:
        for key, kind, name in claim.references():
            names = getattr(known, kind)
            if name not in names:
                problems.append(f"claim {claim.id!r}: {key}: no {name!r} in {kind}; {_choices(name, names)}")
    return problems


def _line(loc: tuple[int | str, ...], problem: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """One problem of pydantic's in words; `loc` is ("claims", position, kind, key, ...) inside a claim."""
    if len(loc) < 2 or loc[0] != "claims":
        return _explain(".".join(map(str, loc)), problem, Claims.model_fields)
    claim = content["claims"][loc[1]]
    name = claim.get("id") if isinstance(claim, Mapping) else None
    owner = f"claim {name!r}" if name else f"claim number {int(loc[1]) + 1}"
    key = ".".join(map(str, loc[3:])) or ("" if len(loc) > 2 else "kind")
    fields = _KINDS[str(loc[2])].model_fields if len(loc) > 2 else _KINDS
    return f"{owner}: {_explain(key, problem, fields)}"


def _explain(key: str, problem: Mapping[str, Any], fields: Collection[str]) -> str:
    """What is wrong with `key`, whose owner reads `fields`."""
    kind, context = problem["type"], problem.get("ctx", {})
    given = f" (given: {problem['input']!r})" if isinstance(problem["input"], str | int | float) else ""
    explained = {
        "extra_forbidden": f"{key}: nothing reads this key; {_choices(key, fields)}",
        "missing": f"{key}: is required",
        "union_tag_invalid": f"{key}: no {context.get('tag')!r}; {_choices(str(context.get('tag')), fields)}",
        "union_tag_not_found": f"{key}: is required; choices: {', '.join(fields)}",
        "literal_error": f"{key}: expected {context.get('expected')}{_guess(problem)}{given}",
        "value_error": f"{key}: {context.get('error')}".removeprefix(": "),
    }
    return explained.get(kind, f"{key}: {problem['msg']}{given}")


def _guess(problem: Mapping[str, Any]) -> str:
    choices = str(problem.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    guess = nearest(str(problem["input"]), choices)
    return f"; did you mean {guess!r}?" if guess else ""


def _choices(word: str, options: Collection[str]) -> str:
    guess = nearest(word, options)
    hint = f"did you mean {guess!r}? " if guess else ""
    shown = list(options)[:SHOWN]
    more = f" and {len(options) - SHOWN} more" if len(options) > SHOWN else ""
    return f"{hint}choices: {', '.join(shown)}{more}"
