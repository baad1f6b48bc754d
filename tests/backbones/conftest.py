"""How every test of pretrained backbones builds one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def build(checkpoint: Callable[[str], Path]) -> Callable[..., Any]:
    """``build(checkpoint's name or folder, backbone's name, **settings)``: the backbone in evaluation mode."""
    from unimm.encoders.pixels import Pixels
    from unimm.foundation.folder import Foundation
    from unimm.registry import backbones

    foundation, encoder = Foundation("scenes-nano"), Pixels(Pixels.Config(patch=2), side=8)

    def built(source: str | Path, name: str, seed: int = 0, **settings: Any) -> Any:
        folder = checkpoint(source) if isinstance(source, str) else source
        cls: Any = backbones.get(name)
        settings = ({"images": "encoder"} if name == "pretrained_lm" else {}) | {"queries": 4} | settings
        config = cls.Config(pretrained=str(folder), **settings)
        return cls.build(config, foundation, encoder, "language", seed).eval()

    return built
