"""What a tuning could tell apart: of the values that were not chosen, how many scored the same as the one that was.

A tie is shown as a tie, and a difference smaller than its standard error as not resolved, since either looks like a
finding in a table of chosen values. Which value lost against which is read off the trials' evaluations
(`unimm.runs.choice`), so that records of versions that did not say it are read as well; of those that took no standard
errors, only ties are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import hypot

from unimm.report.rendering import PlainTable
from unimm.report.study.numbers import signed
from unimm.report.table import number
from unimm.runs.choice import Lost, best_of, lost_in_turn
from unimm.runs.trial_record import TrialRecord

NONE = "-"
FIRST_OF_EQUALS = "first of {} equal"
UNRESOLVED = "not resolved"


def lost(record: TrialRecord) -> list[Lost]:
    """Every value that the trial looked at and did not choose."""
    return lost_in_turn(record.evaluations, list(record.settings.by_sampling))


def remark(record: TrialRecord, key: str) -> str:
    """What to say beside the value that a trial chose for a setting; nothing where it won by more than its error."""
    others = [other for other in lost(record) if other.key == key]
    ties = sum(other.is_tie for other in others)
    if ties:
        return f" ({FIRST_OF_EQUALS.format(ties + 1)})"
    return f" ({UNRESOLVED})" if any(other.is_unresolved for other in others) else ""


def gain(best: TrialRecord, first: TrialRecord) -> str:
    """What the best trial gained over the arm as it stands (`first`), with its error where both scores have one.

    Errors of two trials are added as if their prompts were different ones: too large rather than too small.
    """
    if best.value is None or first.untuned is None:
        return NONE
    found = best.value - first.untuned
    tuned, untuned = best_of(best.evaluations).stderr, first.evaluations[0].stderr
    if tuned is None or untuned is None:
        return signed(found)
    error = hypot(tuned, untuned)
    return f"{signed(found)} ± {number(error)}" + (f" ({UNRESOLVED})" if found < error else "")


def told_apart(arms: Mapping[str, Sequence[TrialRecord]], keys: Sequence[str]) -> PlainTable:
    """One row an arm and one for all: for each setting chosen by sampling, how many losers tied or were too close.

    Args:
        arms: every arm's finished trials.
        keys: the settings that were chosen by sampling.
    """
    found = {arm: [other for record in records for other in lost(record)] for arm, records in arms.items()}
    everything = [other for others in found.values() for other in others]
    rows = [(arm, *(_cell(others, key) for key in keys)) for arm, others in [*found.items(), ("all arms", everything)]]
    without = [other for other in everything if other.behind and other.evaluation.behind_stderr is None]
    note = (
        "Of the values that a trial tried and did not choose: how many scored exactly the same as the chosen one, and "
        "how many lay behind by less than the standard error of that difference over prompts. Of equal values the "
        "first is kept, which is the arm's own; where all are equal, the setting was not tuned."
    )
    if without:
        note += " These trials took no such errors, so that only ties are known."
    return PlainTable("told_apart", "What the looks could tell apart", ("arm", *keys), tuple(rows), note)


def _cell(others: Iterable[Lost], key: str) -> str:
    mine = [other for other in others if other.key == key]
    if not mine:
        return NONE
    ties, close = sum(other.is_tie for other in mine), sum(other.is_unresolved for other in mine)
    words = [f"{ties} of {len(mine)} equal"]
    return "; ".join([*words, *([f"{close} {UNRESOLVED}"] if close else [])])
