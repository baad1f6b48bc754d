"""Load a foundation's parts, with hashes checked first."""

from __future__ import annotations

import copy
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from unimm.backbones.causal_lm import CausalLM
from unimm.data.examples import cache_folder
from unimm.decoders.diffusion import DiffusionDecoder
from unimm.decoders.vae import VaeDecoder
from unimm.encoders.clip import Clip, load_clip
from unimm.encoders.sides import check_drawn
from unimm.encoders.statistics import Statistics
from unimm.encoders.vae import Vae, VaeCore
from unimm.foundation.card import CARD, verify
from unimm.foundation.features import FeatureExtractor
from unimm.heads.dit import DiffusionTransformer
from unimm.objectives.flow_matching import FlowMatching
from unimm.scenes.world import World, world

SHIPPED = Path(__file__).parent / "shipped"


def built() -> Path:
    """Where foundations that were built on this machine lie."""
    return cache_folder() / "foundations"


def is_there(name: str) -> bool:
    """Whether a foundation of that name ships, was built on this machine, or is a folder."""
    return any((folder / CARD).exists() for folder in _places(name))


def find(name: str) -> Path:
    """The folder of a shipped or built foundation by name, or the folder that ``name`` is a path to."""
    for folder in _places(name):
        if folder.is_dir():
            return folder
    known = sorted(p.name for p in SHIPPED.iterdir() if p.is_dir()) if SHIPPED.exists() else []
    raise ValueError(
        f"no foundation {name!r}: shipped are {', '.join(known) or 'none'}; build one with "
        "`unimm foundation build NAME --profile PROFILE`, or give the folder of one"
    )


def _places(name: str) -> tuple[Path, ...]:
    return SHIPPED / name, built() / name, Path(name)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """A safetensors file as float32."""
    return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}


def build_language_model(config: dict[str, Any], vocabulary: int) -> nn.Module:
    """A Qwen3 causal language model with fresh weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**config, vocab_size=vocabulary, use_cache=False))


class Foundation:
    """A verified foundation folder; parts are loaded when asked for.

    ``resolution`` is the side in pixels of the images that a run encodes, draws and compares with, ``trained_at`` the
    side of those that the parts were trained on; they differ where a run's source says so.
    """

    def __init__(self, name: str, resolution: int | None = None) -> None:
        self.folder = find(name)
        self.card = verify(self.folder)
        self.world: World = world(self.card["world"])
        self.trained_at: int = self.card["resolution"]
        self.resolution: int = resolution or self.trained_at

    def at(self, resolution: int) -> Foundation:
        """The same parts for images of another side."""
        other = copy.copy(self)
        other.resolution = resolution
        return other

    def _json(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text())  # type: ignore[no-any-return]

    def fingerprint(self, part: str) -> str:
        """A short hash over a part's files."""
        own = [h for f, h in self.card["files"].items() if f.startswith(f"{part}/")]
        import hashlib

        return hashlib.sha256("".join(sorted(own)).encode()).hexdigest()[:16]

    def statistics(self, part: str) -> Statistics:
        """Stored latent statistics of ``clip`` or ``vae``."""
        values = load_file(self.folder / part / "statistics.safetensors")
        return Statistics(values["mean"], values["std"])

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, from its saved files."""
        return PreTrainedTokenizerFast.from_pretrained(self.folder / "tokenizer")  # type: ignore[no-any-return]

    def clip(self, config: Clip.Config) -> Clip:
        """The target CLIP; statistics were measured for one grid, which the configuration must name."""
        if config.grid != self.card["grid"]:
            raise ValueError(
                f"encoder.grid={config.grid}, but this foundation's statistics and decoder are for grid "
                f"{self.card['grid']}; build a foundation with another grid to change it"
            )
        return Clip(config, load_clip(self.folder / "clip"), self.statistics("clip"), self.fingerprint("clip"))

    @cached_property
    def vae_core(self) -> VaeCore:
        """The VAE without patching."""
        from diffusers import AutoencoderKL

        model: Any = AutoencoderKL(**self._json("vae/config.json"))
        model.load_state_dict(load_weights(self.folder / "vae" / "diffusion_pytorch_model.safetensors"))
        core = VaeCore(model, self.card["unshuffle"]).eval().requires_grad_(False)
        return core.to(memory_format=torch.channels_last)

    def vae(self, config: Vae.Config) -> Vae:
        """The VAE as an encoder; its statistics are shipped for the side it was trained at, and unknown for others."""
        if config.patch != self.card["patch"]:
            raise ValueError(
                f"encoder.patch={config.patch}, but this foundation's statistics are for patch {self.card['patch']}"
            )
        shipped = self.statistics("vae") if self.resolution == self.trained_at else None
        return Vae(config, self.vae_core, shipped, self.resolution, self.fingerprint("vae"))

    def vae_decoder(self, statistics: Statistics | None) -> VaeDecoder:
        """The VAE as a decoder of latents that were standardised by ``statistics``, or of raw ones."""
        return VaeDecoder(self.vae_core, statistics, self.card["patch"])

    def diffusion_decoder(self, standardised: bool, steps: int) -> DiffusionDecoder:
        """CLIP tokens to images; ``standardised`` says what the incoming tokens are.

        Raises:
            ValueError: the run's images are larger than those that the decoder was trained to draw.
        """
        fix = f"source.resolution={self.trained_at}, or train a decoder for larger images: `unimm decoder train`"
        check_drawn(self.trained_at, self.resolution, f"the decoder of {self.folder.name}", fix)
        settings = self._json("decoder/config.json")
        head = build_decoder_head(settings)
        head.load_state_dict(load_weights(self.folder / "decoder" / "model.safetensors"))
        shape = (settings["grid"] ** 2, settings["channels"])
        raw = None if standardised else self.statistics("clip")
        vae = self.vae_decoder(self.statistics("vae"))
        return DiffusionDecoder(head, decoder_flow(steps), shape, vae, raw, self.resolution)

    def backbone(self, config: CausalLM.Config, start: str, seed: int) -> CausalLM:
        """The backbone after the ``language`` or the ``understanding`` stage, with fresh queries."""
        settings = self._json("language/config.json")
        model = build_language_model(settings, len(self.tokenizer))
        channels = self.statistics("clip").mean.numel()
        backbone = CausalLM(config, model, self.tokenizer, channels, seed)
        weights = load_weights(self.folder / start / "model.safetensors")
        missing, unexpected = backbone.load_state_dict(weights, strict=False)
        backbone.reset_queries(seed)
        assert not unexpected and all(k.startswith(("queries", "projector", "model.lm_head")) for k in missing)
        return backbone

    def evaluator(self, index: int) -> Any:
        """One of the independent CLIPs."""
        return load_clip(self.folder / f"evaluator_{index}")

    def features(self) -> FeatureExtractor:
        """The extractor of Fréchet distances."""
        model = FeatureExtractor(**self._json("features/config.json"))
        model.load_state_dict(load_weights(self.folder / "features" / "model.safetensors"))
        return model.eval().requires_grad_(False)


def build_decoder_head(settings: dict[str, Any]) -> DiffusionTransformer:
    """The diffusion decoder's network from its ``config.json``."""
    return DiffusionTransformer(
        DiffusionTransformer.Config(**settings["head"]),
        settings["channels"],
        (settings["grid"], settings["grid"]),
        settings["condition_channels"],
        aligned_channels=settings["condition_channels"],
    )


def decoder_flow(steps: int) -> FlowMatching:
    """The decoder's objective: uniform times, no shift, no guidance; Euler with ``steps`` steps."""
    config = FlowMatching.Config(time_sampling="uniform", shift=1.0, condition_dropout=0.0, guidance=1.0, steps=steps)
    return FlowMatching(config)
