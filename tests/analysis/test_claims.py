"""Claims files: the shipped one is valid, and every mistake is named with its claim, key and nearest choice."""

from __future__ import annotations

from collections import Counter
from math import log
from pathlib import Path
from typing import Any

import pytest
import yaml

from unimm.analysis.claims import Claims, Invariant, Vocabulary, linear_distances, read_claims
from unimm.analysis.factorial import ARMS, effect_weights

SHIPPED = Path(__file__).parents[2] / "ablations" / "studies" / "claims.yaml"
KNOWN = Vocabulary(
    arms=ARMS,
    metrics=(
        "geneval/overall",
        "atoms/overall",
        "frechet_distance",
        "understanding/overall",
        "diversity/latents/place_entropy",
    ),
    guards=("complete", "budgets_match", "judge_passes", "evaluator_independent", "within_range"),
    facts=(
        "backbone_unchanged",
        "tokens_fixed_over_resolution",
        "tokens_grow_with_resolution",
        "cost_grows_with_resolution",
    ),
)


def difference(**changes: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "text": "CLIP is better.",
        "kind": "difference",
        "role": "primary",
        "metric": "geneval/overall",
        "direction": "higher",
        "budget": "flops",
        "contrast": {"clip_fm": 1, "vae_fm": -1},
        "smallest_effect": 0.02,
    } | changes


def message(tmp_path: Path, *claims: Any, **top: Any) -> str:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"alpha": 0.05, "claims": list(claims)} | top))
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the caller matches the text)
        read_claims(path, KNOWN)
    assert all(line.startswith(f"{path}: ") for line in str(error.value).splitlines())
    return str(error.value)


def test_the_shipped_claims_are_valid() -> None:
    claims = read_claims(SHIPPED, KNOWN)
    assert Counter(claim.kind for claim in claims.claims) == {
        "difference": 7,
        "non-inferiority": 2,
        "best-cell": 2,
        "reach": 2,
        "invariant": 2,
    }
    shared = [claim.contrast for claim in claims.claims if len(getattr(claim, "contrast", ())) == 8]
    assert shared == [effect_weights(["strategy"])] * 3


def test_a_valid_claim_reads(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"alpha": 0.1, "claims": [difference()]}))
    claims = read_claims(path, KNOWN)
    assert isinstance(claims, Claims) and claims.claims[0].id == "c" and claims.alpha == 0.1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"metric": "geneval/overal"},
            "claim 'c': metric: no 'geneval/overal' in metrics; did you mean 'geneval/overall'?",
        ),
        ({"contrast": {"clip_fm": 1, "vaefm": -1}}, "claim 'c': contrast: no 'vaefm' in arms; did you mean 'vae_fm'?"),
        ({"guards": ["judge_pass"]}, "claim 'c': guards: no 'judge_pass' in guards; did you mean 'judge_passes'?"),
        ({"kind": "diference"}, "claim 'c': kind: no 'diference'; did you mean 'difference'?"),
        ({"direction": "hihger"}, "claim 'c': direction: expected 'higher' or 'lower'; did you mean 'higher'?"),
        ({"smalest_effect": 1}, "claim 'c': smalest_effect: nothing reads this key; did you mean 'smallest_effect'?"),
        ({"smallest_effect": 0}, "claim 'c': smallest_effect: Input should be greater than 0 (given: 0)"),
        ({"contrast": {"clip_fm": 1}}, "claim 'c': contrast: positive weights sum to 1 and negative ones to -0"),
        ({"id": ""}, "claim number 1: id: "),
        ({"scale": "logarithmic"}, "claim 'c': scale: expected 'linear' or 'log'"),
        ({"scale": "log"}, "claim 'c': smallest_effect: with scale: log nothing reads this key; give smallest_ratio"),
        (
            {"scale": "log", "smallest_effect": None},
            "claim 'c': smallest_ratio: is required with scale: log",
        ),
        ({"smallest_effect": None}, "claim 'c': smallest_effect: is required with scale: linear"),
        ({"smallest_ratio": 1.1}, "claim 'c': smallest_ratio: with scale: linear nothing reads this key"),
        (
            {"scale": "log", "smallest_effect": None, "smallest_ratio": 1.0},
            "claim 'c': smallest_ratio: Input should be greater than 1 (given: 1.0)",
        ),
    ],
)
def test_mistakes_name_claim_key_and_choice(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in message(tmp_path, difference(**changes))


@pytest.mark.parametrize("kind", ["difference", "non-inferiority", "best-cell"])
def test_logarithms_take_a_smallest_ratio_as_costs_do(kind: str) -> None:
    own = {"best": "a", "others": ["b"]} if kind == "best-cell" else {"contrast": {"a": 1, "b": -1}}
    entry = {key: value for key, value in difference(kind=kind).items() if key not in ("contrast", "smallest_effect")}
    [claim] = Claims.model_validate(
        {"alpha": 0.05, "claims": [entry | own | {"scale": "log", "smallest_ratio": 1.25}]}
    ).claims
    assert not isinstance(claim, Invariant) and claim.is_ratio
    assert claim.margin == pytest.approx(log(1.25)) and claim.in_units(claim.margin) == pytest.approx(1.25)
    assert claim.null == (-claim.margin if kind == "non-inferiority" else 0)


def test_distances_compared_as_they_are_are_named() -> None:
    """By the end of the metric's name, on the linear scale only; the shipped claims of before do so."""
    assert linear_distances(read_claims(SHIPPED, KNOWN)) == ["fm_over_mse_quality", "vae_fm_best_distance"]
    entry = {key: value for key, value in difference(metric="kernel_distance").items() if key != "smallest_effect"}
    log_claims = {"alpha": 0.05, "claims": [entry | {"scale": "log", "smallest_ratio": 1.25}, difference(id="d")]}
    assert linear_distances(Claims.model_validate(log_claims)) == []


def test_missing_keys_are_named(tmp_path: Path) -> None:
    claim = difference()
    del claim["metric"]
    assert "claim 'c': metric: is required" in message(tmp_path, claim)
    del claim["kind"]
    assert "claim 'c': kind: is required; choices: difference, non-inferiority" in message(tmp_path, claim)
    assert "claim number 1: " in message(tmp_path, "clip wins")


def test_facts_and_their_arms_are_known(tmp_path: Path) -> None:
    invariant = {"id": "i", "text": "Fixed.", "kind": "invariant", "holds": {"backbone_unchange": ["clip_f"]}}
    text = message(tmp_path, invariant)
    assert "claim 'i': holds: no 'backbone_unchange' in facts; did you mean 'backbone_unchanged'?" in text
    assert "claim 'i': holds.backbone_unchange: no 'clip_f' in arms; did you mean 'clip_fm'?" in text


def test_the_file_itself_is_checked(tmp_path: Path) -> None:
    assert "the id c is given to several claims" in message(tmp_path, difference(), difference())
    assert "alfa: nothing reads this key; did you mean 'alpha'?" in message(tmp_path, difference(), alfa=1)
    assert "alpha: " in message(tmp_path, difference(), alpha=2)
    assert "claims: " in message(tmp_path)
