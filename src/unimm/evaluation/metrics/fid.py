"""FID: the Fréchet distance of Inception features, with `clean-fid`'s resizing and network (Parmar et al. 2022).

Only this may be called FID. It runs by name only, as in ``unimm score IMAGES --prompts FILE --metrics fid --reference
FOLDER``. The network is a file that the user supplies (`load_inception` says which), in the folder that
``$UNIMM_INCEPTION`` names, else in ``inception/`` of the cache: nothing is downloaded, and its hash is checked, because
an interrupted transfer leaves a file that loads as something else. With 2048 features the distance is biased upwards
below some 20 000 images; the result says so, and what two sets of that size would give by chance alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from cleanfid.fid import get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from cleanfid.utils import EXTENSIONS
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.images import fingerprint
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.statistics import frechet_bias, frechet_distance, is_biased
from unimm.files import cache_folder
from unimm.foundation.card import sha256
from unimm.foundation.folder import Foundation
from unimm.progress import progress

FILE = "inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
SOURCE = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{FILE}"
BATCH = 32


class Fid(NamedTuple):
    """FID of n images against m reference images, and whether n is too small for it (n < 10 x 2048)."""

    value: float
    n: int
    m: int
    biased: bool


def load_inception(folder: Path) -> InceptionV3W:
    """The Inception network in ``folder``, on the CPU and frozen.

    Raises ValueError, which names the file, its place, source and hash, if it is missing or altered.
    """
    path = folder / FILE
    wanted = f"FID needs the Inception network as {path}: put there {SOURCE} (sha256 {SHA256})"
    if not path.is_file():
        raise ValueError(f"{wanted}; the file is missing, and unimm downloads nothing")
    found = sha256(path)
    if found != SHA256:
        raise ValueError(f"{wanted}; the file there is truncated or altered (sha256 {found})")
    return InceptionV3W(str(folder), download=False, resize_inside=False).eval().requires_grad_(False)


@torch.inference_mode()
def inception_features(network: InceptionV3W, images: UInt8[Tensor, "n 3 h w"] | Path) -> Float64[np.ndarray, "n 2048"]:
    """Inception features of uint8 images, or of all image files under a folder, resized by clean-fid to 299 x 299.

    Raises ValueError if the folder holds no images.
    """
    if isinstance(images, Path):
        features = _folder_features(network, images)
    else:
        resize = build_resizer("clean")
        batches = [
            network(torch.stack([torch.from_numpy(resize(image)) for image in part.numpy()]).permute(0, 3, 1, 2))
            for part in progress(images.permute(0, 2, 3, 1).split(BATCH), "Inception features", "batch")
        ]
        features = torch.cat(batches).numpy()
    return features.astype(np.float64)


def fid(features: Float64[np.ndarray, "n 2048"], reference: Float64[np.ndarray, "m 2048"]) -> Fid:
    """FID from the features of `inception_features`."""
    biased = is_biased(len(features), features.shape[1])
    return Fid(frechet_distance(features, reference), len(features), len(reference), biased)


def _folder_features(network: InceptionV3W, folder: Path) -> Float32[np.ndarray, "n 2048"]:
    if not any(path.suffix[1:] in EXTENSIONS for path in folder.rglob("*")):
        raise ValueError(f"no images under {folder}: FID reads files that end in {', '.join(sorted(EXTENSIONS))}")
    return get_folder_features(  # type: ignore[no-any-return]
        str(folder), network, num_workers=0, batch_size=BATCH, device=torch.device("cpu"), verbose=False
    )


class FidScore(Metric):
    """FID with clean-fid's resizing; needs the Inception network from the user."""

    class Config(ComponentConfig):
        """Nothing to set: the protocol is fixed."""

    needs = frozenset({"images", "reference"})
    families = frozenset({"fid"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config = config
        folder = os.environ.get("UNIMM_INCEPTION")
        self.network = load_inception(Path(folder) if folder else cache_folder() / "inception")

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.reference is not None
        features, reference = (inception_features(self.network, x) for x in (evidence.images, evidence.reference))
        found = fid(features, reference)
        protocol = {
            "extractor": SHA256,
            "resize": "clean-fid, bicubic, antialiased, to 299",
            "reference": f"{found.m} real images, sha256 {fingerprint(evidence.reference)}",
            "dtype": "features float32, distance float64",
            "biased": found.biased,
            "expected bias": frechet_bias(found.n, found.m, np.cov(reference.T)),
        }
        return [Score("fid", found.value, found.n, protocol)]
