"""Latents from the cache and at every step are the same; reading ahead changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Decoder, Encoder, LatentSpec
from unimm.data import latents as module
from unimm.data.latents import Cached, Encoded, Visits, latents_of
from unimm.data.scenes import Scenes
from unimm.data.shards import Shards

from .conftest import CONTEXT, encoded

CPU = torch.device("cpu")


class Pooled(Encoder):
    """Means over a 2 x 2 grid."""

    Config = ComponentConfig

    def __init__(self) -> None:
        super().__init__()
        self.images = 0

    @classmethod
    def build(cls, config: Any, foundation: Any) -> Encoder:
        return cls()

    def decoder(self, foundation: Any, steps: int) -> Decoder:
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        assert torch.isfinite(images).all()
        self.images += len(images)
        return F.adaptive_avg_pool2d(images, 2).flatten(2).transpose(1, 2)

    def latent_spec(self) -> LatentSpec:
        return LatentSpec(4, 3, (2, 2), "pooled")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


def opened(folder: Path, **settings: object) -> Shards:
    return Shards.build(Shards.Config(path=str(folder), **settings), CONTEXT)


def test_cached_and_encoded_latents_are_the_same_for_the_same_visits(tars: Path) -> None:
    cached, encoded_now = (
        Visits(source, 0, latents_of(Pooled(), source, 60, CPU))
        for source in (opened(tars, latents="cache"), opened(tars, latents="encode"))
    )
    assert isinstance(cached.latents, Cached)
    assert isinstance(encoded_now.latents, Encoded)
    for begin in range(0, 60, 12):
        ahead = [(begin + 12, begin + 24), (begin + 24, begin + 36)]
        a, b = cached.between(begin, begin + 12), encoded_now.between(begin, begin + 12, ahead)
        assert [visit._replace(value=None) for visit in a] == [visit._replace(value=None) for visit in b]
        assert torch.allclose(cached.finish(a), encoded_now.finish(b), atol=1e-6)
    assert encoded_now.waited > 0


def test_a_cache_is_made_once_for_each_content_and_limit(tars: Path) -> None:
    encoder = Pooled()
    for _ in range(2):
        latents_of(encoder, opened(tars), 60, CPU)
    assert encoder.images == 30
    latents_of(encoder, opened(tars, min_side=4), 60, CPU)
    assert encoder.images == 60


def test_auto_caches_what_is_small_and_visited_once_through(tars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert latents_of(Pooled(), opened(tars), 30, CPU).kind == "cache"
    assert latents_of(Pooled(), opened(tars), 29, CPU).kind == "encode"
    monkeypatch.setattr(module, "CACHE_BYTES", 30 * 4 * 3 * 4 - 1)
    assert latents_of(Pooled(), opened(tars), 30, CPU).kind == "encode"
    assert latents_of(Pooled(), opened(tars, latents="cache"), 1, CPU).kind == "cache"
    scenes = Scenes.build(Scenes.Config(), CONTEXT)
    assert latents_of(Pooled(), scenes, 1, CPU).kind == "cache"


def test_a_cache_that_lacks_a_sample_which_can_be_read_by_now_is_an_error(
    tars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(tars, latents="cache")
    cached = latents_of(Pooled(), source, 1, CPU)
    monkeypatch.setattr(source, "image_bytes", lambda index: encoded(index))
    with pytest.raises(ValueError, match="delete the latent cache"):
        cached.load(7)


def test_any_order_of_questions_gives_the_same_visits(tars: Path) -> None:
    source = opened(tars, latents="encode")
    visits = Visits(source, 0, latents_of(Pooled(), source, 1, CPU))
    forward = [visits.between(b, b + 4, [(b + 4, b + 8)]) for b in (0, 4, 8)]
    again = [visits.between(b, b + 4, [(b + 2, b + 6)]) for b in (8, 0, 4)]
    keys = [[visit.key for visit in step] for step in forward]
    assert [keys[2], keys[0], keys[1]] == [[visit.key for visit in step] for step in again]


def test_an_error_on_a_reading_thread_reaches_the_run(tars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(tars, latents="encode")
    visits = Visits(source, 0, latents_of(Pooled(), source, 1, CPU))
    monkeypatch.setattr(source, "image", lambda index: (_ for _ in ()).throw(OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone"):
        visits.between(0, 4)
