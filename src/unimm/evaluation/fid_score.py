"""FID as a metric, by name only: ``unimm score IMAGES --prompts FILE --metrics fid --reference FOLDER``.

The user supplies the Inception network (`unimm.evaluation.inception` says which file) in the folder that
``$UNIMM_INCEPTION`` names, else in ``inception/`` of the cache.
"""

from __future__ import annotations

import os
from pathlib import Path

from unimm.component_config import ComponentConfig
from unimm.data.examples import cache_folder
from unimm.evaluation.images import fingerprint
from unimm.evaluation.inception import SHA256, fid, inception_features, load_inception
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.foundation.load import Foundation


class FidScore(Metric):
    """FID with clean-fid's resizing; needs the Inception network from the user."""

    class Config(ComponentConfig):
        """Nothing to set: the protocol is fixed."""

    needs = frozenset({"images", "reference"})

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
        }
        return [Score("fid", found.value, found.n, protocol)]
