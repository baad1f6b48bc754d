"""Mixtures: exact shares, epochs of their own, and no dependence on how they are asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unimm.config import ConfigError, load
from unimm.data.mixture import BLOCK, Mixture, quotas
from unimm.data.scenes import Scenes
from unimm.data.shards import Shards
from unimm.schema import RunConfig

from .conftest import CONTEXT, sample, write_tar


@pytest.fixture
def mixture(tars: Path, tmp_path: Path) -> Mixture:
    """Thirty samples (three of them bad) at 3 : 1 against five."""
    write_tar(tmp_path / "small" / "a.tar", {k: v for n in range(5) for k, v in sample(100 + n).items()})
    parts = [
        {"weight": 3, "source": {"name": "shards", "path": str(tars)}},
        {"weight": 1, "source": {"name": "shards", "path": str(tmp_path / "small")}},
    ]
    return Mixture.build(Mixture.Config(parts=parts), CONTEXT)  # type: ignore[arg-type]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=6))
def test_quotas_are_the_nearest_whole_shares(weights):
    found = quotas(weights)
    assert found.sum() == BLOCK
    assert np.abs(found - np.array(weights) / sum(weights) * BLOCK).max() < 1


def test_a_weight_that_gets_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"parts\.1: its weight"):
        quotas([10_000, 1])


def test_every_block_has_its_shares_and_every_part_its_epochs(mixture: Mixture) -> None:
    indices = mixture.order(5, 0, 4 * BLOCK)
    for begin in range(0, 4 * BLOCK, BLOCK):
        assert Counter(mixture.part(i) for i in indices[begin : begin + BLOCK].tolist()) == {0: 750, 1: 250}
    for part, size in ((0, 30), (1, 5)):
        own = [i for i in indices.tolist() if mixture.part(i) == part]
        for begin in range(0, len(own) - size + 1, size):
            assert len(set(own[begin : begin + size])) == size


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    begin=st.integers(0, 3 * BLOCK),
    length=st.integers(1, BLOCK + 500),
    cut=st.integers(0, 1500),
    seed=st.integers(0, 9),
)
def test_order_is_a_function_of_seed_and_position(mixture: Mixture, begin, length, cut, seed):
    end = begin + length
    cut = min(begin + cut, end)
    whole = mixture.order(seed, begin, end)
    assert np.array_equal(whole, np.concatenate([mixture.order(seed, begin, cut), mixture.order(seed, cut, end)]))


def test_stand_ins_come_from_the_same_part(mixture: Mixture) -> None:
    visits = mixture.visits(0, 0, BLOCK, mixture.image, None)
    assert Counter(visit.part for visit in visits) == {0: 750, 1: 250}
    replaced = [visit for visit in visits if visit.refused]
    assert len(replaced) == 75, "3 of 30 samples, 25 epochs"
    assert {visit.key.partition(":")[0] for visit in replaced} == {"0"}
    for visit in visits:
        assert visit.key.startswith(f"{visit.part}:")


def test_the_card_names_parts_and_shares(mixture: Mixture) -> None:
    assert [part["share"] for part in mixture.parts()] == [0.75, 0.25]
    assert [part["samples"] for part in mixture.parts()] == [30, 5]


def test_scenes_can_be_a_part(tars: Path) -> None:
    parts = [
        {"weight": 1, "source": "scenes"},
        {"weight": 1, "source": {"name": "shards", "path": str(tars), "questions": "qa"}},
    ]
    mixture = Mixture.build(Mixture.Config(parts=parts), CONTEXT)  # type: ignore[arg-type]
    assert isinstance(mixture.members[0], Scenes)
    assert isinstance(mixture.members[1], Shards)
    assert mixture.understanding == "questions"
    assert len(mixture) == CONTEXT.train_scenes + 30


def test_parts_that_a_mixture_cannot_use_are_errors(tars: Path) -> None:
    shards = {"name": "shards", "path": str(tars)}
    parts = [{"weight": 1, "source": shards}, {"weight": 1, "source": {**shards, "latents": "cache"}}]
    with pytest.raises(ValueError, match=r"parts\.1: latents are the whole mixture's"):
        Mixture.build(Mixture.Config(parts=parts), CONTEXT)  # type: ignore[arg-type]
    parts = [{"weight": 1, "source": shards}, {"weight": 1, "source": {**shards, "resolution": 32}}]
    with pytest.raises(ValueError, match=r"all parts have the resolution of the mixture; set source\.resolution"):
        Mixture.Config(parts=parts)  # type: ignore[arg-type]


def test_a_mixture_is_no_part_of_a_mixture(tars: Path) -> None:
    shards = {"weight": 1, "source": {"name": "shards", "path": str(tars)}}
    inner = {"weight": 2, "source": {"name": "mixture", "parts": [shards, shards]}}
    with pytest.raises(ValueError, match="multiply the weights and list its parts instead"):
        Mixture.Config(parts=[shards, inner])  # type: ignore[arg-type]


def test_a_mistake_within_a_part_names_the_source_that_it_is_in(tmp_path: Path) -> None:
    file = tmp_path / "arm.yaml"
    part = "{weight: 1, source: {name: shards, path: x, captoin: y}}"
    file.write_text(f"defaults: [base, _self_]\nname: a\nsource: {{name: mixture, parts: [{part}, {part}]}}\n")
    with pytest.raises(ConfigError, match=r"source\.parts\.1\.source\.captoin: source shards .* mean 'caption'"):
        load(file)


def test_a_mixture_is_a_setting_that_dumps_and_reads_back(tars: Path) -> None:
    source = {
        "name": "mixture",
        "parts": [
            {"weight": 9, "source": {"name": "shards", "path": str(tars)}},
            {"weight": 1, "source": {"name": "folder", "path": "x"}},
        ],
    }
    base = {
        "name": "a",
        "profile": "tiny",
        "seed": 0,
        "settings": "controlled",
        "foundation": "scenes-nano",
        "training": {"samples": 640, "batch_size": 1, "learning_rate": 1e-3},
        **{"encoder": "clip", "backbone": "causal_lm", "head": "dit", "objective": "mse", "strategy": "sequential"},
    }
    config = RunConfig.model_validate({**base, "source": source})
    dumped = config.model_dump(mode="json")
    assert dumped["source"]["parts"][1]["source"]["image"] == "file"
    assert RunConfig.model_validate(dumped) == config
    assert RunConfig.model_validate(base).model_dump(mode="json")["source"] == {"name": "scenes", "resolution": None}
    with pytest.raises(ValueError, match=r"source\.parts\.0\.source\.pth"):
        RunConfig.model_validate(
            {
                **base,
                "source": {**source, "parts": [{"weight": 1, "source": {"name": "shards", "path": "x", "pth": 1}}] * 2},
            }
        )
