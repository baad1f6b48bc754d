"""The table of what others have published on the contrasts that a study's claims are about."""

from collections.abc import Sequence

from unimm.analysis.claims import Invariant
from unimm.analysis.outside import Comparison, Side, about, contrast_of, outside_evidence
from unimm.analysis.verdicts import Outcome
from unimm.config import flatten
from unimm.report.rendering import PlainTable
from unimm.report.study.answers import Answer
from unimm.report.study.folder import Study

RESOLVED = (Outcome.SUPPORTED, Outcome.CONTRADICTED)


def outside_table(study: Study, found: Sequence[Answer]) -> PlainTable | None:
    """One row for every claim and published comparison of its contrast; None where there is none."""
    settings = {arm: flatten(planned.config) for arm, planned in study.plan.arms.items()}
    evidence = outside_evidence()
    rows = []
    for answer in found:
        claim = answer.claim
        if isinstance(claim, Invariant) or (match := contrast_of(claim, settings, evidence.contrasts)) is None:
            continue
        name, favours_first = match
        side, says = _side(study, answer, favours_first), evidence.contrasts[name].says
        rows += [
            (claim.id, says, answer.effect or "-", *_told(each), _same(answer, side, each.side))
            for each in evidence.comparisons
            if each.contrast == name and each.about == about(claim)
        ]
    if not rows:
        return None
    headers = ("claim", "contrast", "this study", "work", "measure", "numbers", "scale", "runs", "source", "same sign?")
    note = (
        "What others have published on the same contrasts, first side against second; no verdict depends on it. Nearly "
        "all of it is one run an arm, so that a sign there may be chance, and scale, data and measure are others than "
        "here. Read in: code (tables of the repository), page (the authors' own), abstract, figure (digitised)."
    )
    return PlainTable("outside", "Outside evidence", headers, tuple(rows), note, text_columns=10)


def _told(each: Comparison) -> tuple[str, ...]:
    differs = f" ({each.differs})" if each.differs else ""
    return (
        f"{each.work} ({each.date}){differs}",
        each.measure,
        each.numbers,
        each.scale,
        each.runs,
        f"{each.source}; {each.read}",
    )


def _side(study: Study, answer: Answer, favours_first: bool) -> Side | None:
    """Which side of the contrast is ahead in this study; None where nothing was measured."""
    claim, estimate = answer.claim, answer.verdict.estimate
    assert not isinstance(claim, Invariant), "facts have no contrast"
    if estimate is None:
        return None
    ahead = estimate - (1.0 if claim.is_ratio else 0.0)
    if claim.direction != study.words[claim.metric].better:
        ahead = -ahead
    if ahead == 0:
        return "neither"
    return "first" if (ahead > 0) == favours_first else "second"


def _same(answer: Answer, ours: Side | None, theirs: Side) -> str:
    if ours is None:
        return "not tested here"
    same = "yes" if ours == theirs else "no"
    return same if answer.verdict.outcome in RESOLVED else f"{same}, but open here"
