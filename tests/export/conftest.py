"""Finished runs without training: an assembled arm, its weights stirred, saved as a run saves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Makes the folder of a run of ``arm`` that claims the golden result's scores."""

    def make(arm: str, *overrides: str) -> Path:
        import torch
        from safetensors.torch import save_file

        from unimm.arm import assemble
        from unimm.components import weights_hash
        from unimm.config import dump, load

        config = load(ROOT / "ablations" / f"{arm}.yaml", ["profile=tiny", *overrides])
        parts = assemble(config)
        torch.manual_seed(0)
        for parameter in parts.head.parameters():
            parameter.data.add_(0.02 * torch.randn_like(parameter))
        weights = {f"head.{name}": value for name, value in parts.head.named_parameters()}
        weights["backbone.queries"] = parts.backbone.queries
        folder = tmp_path_factory.mktemp(arm) / "run"
        folder.mkdir()
        save_file(
            {name: value.detach().contiguous() for name, value in weights.items()}, folder / "weights.safetensors"
        )
        (folder / "config.yaml").write_text(dump(config))
        result = json.loads((ROOT / "tests" / "data" / "result_v1.json").read_text())
        hashes = {part: parts.foundation.fingerprint(part) for part in parts.foundation.card["costs"]}
        hashes |= {"head": weights_hash(parts.head)[:16], "backbone": weights_hash(parts.backbone)[:16]}
        result |= {"arm": config.name, "seed": config.seed, "hashes": hashes, "config": config.model_dump(mode="json")}
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return make


@pytest.fixture(scope="session")
def flow_run(make_run: MakeRun) -> Path:
    """A run with a sampler and a diffusion decoder."""
    return make_run("clip_fm")


@pytest.fixture(scope="session")
def regression_run(make_run: MakeRun) -> Path:
    """A run with neither."""
    return make_run("vae_mse")
