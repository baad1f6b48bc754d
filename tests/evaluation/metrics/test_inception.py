"""FID: the file that the user brings, the same features from tensors and folders, and clean-fid's own number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid import fid as cleanfid
from cleanfid.inception_torchscript import InceptionV3W
from fake_inception import FakeInception
from PIL import Image
from torch import Tensor

from unimm.evaluation.metric import Evidence
from unimm.evaluation.metrics import fid as module
from unimm.evaluation.metrics.fid import FILE, SHA256, fid, inception_features, load_inception
from unimm.evaluation.suite import build_metrics, score_all
from unimm.foundation.card import sha256


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InceptionV3W:
    torch.manual_seed(0)
    torch.jit.save(torch.jit.script(FakeInception()), tmp_path / FILE)
    monkeypatch.setattr(module, "SHA256", sha256(tmp_path / FILE))
    return load_inception(tmp_path)


def images(n: int, seed: int = 0, size: int = 24) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def save(batch: Tensor, folder: Path) -> Path:
    folder.mkdir()
    for number, image in enumerate(batch.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return folder


def test_a_missing_file_is_named_with_place_source_and_hash(tmp_path):
    with pytest.raises(ValueError, match="the file is missing, and unimm downloads nothing") as error:
        load_inception(tmp_path)
    for part in (str(tmp_path / FILE), "https://nvlabs-fi-cdn.nvidia.com/", SHA256):
        assert part in str(error.value)


def test_an_altered_file_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"half of a network")
    with pytest.raises(ValueError, match="truncated or altered") as error:
        load_inception(tmp_path)
    assert SHA256 in str(error.value)


def test_tensors_and_folders_give_the_same_features(network, tmp_path):
    batch = images(module.BATCH + 3)
    features = inception_features(network, batch)
    assert features.shape == (len(batch), 2048)
    assert features.dtype == np.float64
    np.testing.assert_allclose(
        inception_features(network, save(batch, tmp_path / "png")), features, rtol=1e-5, atol=1e-5
    )


class FirstFeatures(torch.nn.Module):
    """A network's first features: the square root of a matrix of all 2048 takes clean-fid half a minute."""

    def __init__(self, network: torch.nn.Module, number: int) -> None:
        super().__init__()
        self.network, self.number = network, number

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[:, : self.number]


def test_fid_is_clean_fids(network, tmp_path):
    one, two = images(12), images(14, seed=1) // 2
    few = FirstFeatures(network, 8)
    ours = fid(inception_features(few, one), inception_features(few, two))
    theirs = cleanfid.compute_fid(
        str(save(one, tmp_path / "one")),
        str(save(two, tmp_path / "two")),
        custom_feat_extractor=few,
        num_workers=0,
        device=torch.device("cpu"),
        verbose=False,
    )
    assert ours.value == pytest.approx(theirs, rel=1e-3)
    assert (ours.n, ours.m, ours.biased) == (12, 14, True)


def test_images_have_no_fid_from_themselves_and_repeat_to_the_bit(network):
    features = [inception_features(network, images(9)) for _ in range(2)]
    np.testing.assert_array_equal(*features)
    assert fid(*features).value == pytest.approx(0, abs=1e-9)


def test_a_folder_without_images_is_refused(network, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no images under .*empty"):
        inception_features(network, tmp_path / "empty")


def test_fid_is_a_metric_that_asks_for_its_file(network, tmp_path, monkeypatch):
    monkeypatch.setenv("UNIMM_INCEPTION", str(tmp_path))
    evidence = Evidence(images=images(6, 1), reference=images(8, 2))
    (score,) = score_all(build_metrics(["fid"], None), evidence)
    expected = fid(*(inception_features(network, batch) for batch in (images(6, 1), images(8, 2))))
    assert (score.name, score.n, score.protocol["biased"]) == ("fid", 6, True)
    assert score.protocol["expected bias"] > 0, "what chance alone gives never lacks beside it"
    assert score.value == pytest.approx(expected.value)
    monkeypatch.setenv("UNIMM_INCEPTION", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="the file is missing"):
        build_metrics(["fid"], None)
