"""Judges' cards by hand, and Krippendorff's alpha against the values that he published."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.analysis.judging import FactCard, KindRead, failures, krippendorff_alpha, read_kinds


def rows(*texts: str) -> list[list[str | None]]:
    return [[None if rating == "." else rating for rating in text.split()] for text in texts]


@pytest.mark.parametrize(
    ("ratings", "alpha"),
    [
        (rows("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), 0.095),
        (rows("a a b b d c c c e d d a", "b a b b b c c c e d d d"), 0.692),
        (
            rows(
                "1 2 3 3 2 1 4 1 2 . . .",
                "1 2 3 3 2 2 4 1 2 5 . 3",
                ". 3 3 3 2 3 4 2 2 5 1 .",
                "1 2 3 3 2 4 4 1 2 5 1 .",
            ),
            0.743,
        ),
    ],
    ids=["binary, two judges", "nominal, two judges", "nominal, four judges, missing ratings"],
)
def test_alpha_is_the_one_published(ratings: list[list[str | None]], alpha: float) -> None:
    """Krippendorff 2011, examples A, B and C."""
    assert krippendorff_alpha(ratings) == pytest.approx(alpha, abs=5e-4)


def test_alpha_is_1_for_equal_judges_and_about_0_for_unrelated_ones() -> None:
    one, other = np.random.default_rng(0).integers(0, 2, (2, 20_000)).tolist()
    assert krippendorff_alpha([one, one]) == 1
    assert krippendorff_alpha([one, other]) == pytest.approx(0, abs=0.03)
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None, "without variation there is no agreement beyond chance"
    with pytest.raises(ValueError, match="different numbers of units"):
        krippendorff_alpha([[1], [1, 2]])


def card(**kinds: tuple[int, int, int, int]) -> FactCard:
    read = {kind: KindRead(true=t, accepted=a, false=f, found=w) for kind, (t, a, f, w) in kinds.items()}
    return FactCard(source="by hand", pictures=9, kinds=read, needed=["object", "colour"])


def test_accuracy_is_the_mean_of_both_sides() -> None:
    read = KindRead(true=20, accepted=15, false=10, found=1)
    assert (read.missed, read.false_finds, read.accuracy) == (0.25, 0.1, pytest.approx(0.825))
    decided = [("object", True, True), ("object", True, False), ("object", False, True), ("count", False, False)]
    assert read_kinds(decided) == {
        "object": KindRead(true=2, accepted=1, false=1, found=1),
        "count": KindRead(true=0, accepted=0, false=1, found=0),
    }


def test_a_card_is_passed_by_every_kind_that_prompts_ask_about() -> None:
    good, weak = (20, 19, 20, 1), (20, 20, 20, 20)
    assert failures(card(object=good, colour=good, relation=weak)) == [], "no prompt asks for relations"
    assert failures(card(object=good, colour=weak)) == ["colour 0.50"]
    assert failures(card(object=good)) == ["not tried on colour"]
    assert failures(card(object=good, colour=(9, 9, 20, 0))) == [
        "tried on 9 true and 20 false facts of kind colour, fewer than 10"
    ]
    assert failures(card(prompt=good)) == [], "people decided whole prompts, of whatever kind"
    assert failures(card(prompt=weak)) == ["prompt 0.50"]
