"""Train a foundation's parts from scratch: ``unimm foundation build scenes-small --profile small``.

Every part is one function with its own folder, so that an interrupted build goes on where it stopped and two parts
can be built side by side (``--part``). `finish` writes the card with hashes once all parts are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from unimm.backbones.causal_lm import CausalLM, build_language_model
from unimm.data.scenes import SceneSet
from unimm.encoders.calibrated import Statistics, measure
from unimm.encoders.clip import load_clip, pooled_features
from unimm.encoders.token_decoder import build_decoder_head
from unimm.encoders.vae import VaeCore, patchify
from unimm.files import write_atomic, written
from unimm.foundation.card import built, is_there, write_card
from unimm.foundation.folder import load_weights
from unimm.pretraining.recipes import TrainingCost
from unimm.pretraining.sizes import SIZES, Sizes, sizes_of
from unimm.pretraining.tokenizer import build_tokenizer
from unimm.scenes.world import world


def scene_set(size: Sizes, half: int) -> SceneSet:
    """The first (0) or second (1) half of every run of 12 scenes: each half holds all six families."""
    return _scene_set(size.world, size.scenes, size.resolution, half)


@lru_cache(maxsize=2)
def _scene_set(name: str, scenes: int, resolution: int, half: int) -> SceneSet:
    return SceneSet(world(name), "train", scenes, resolution, half=half)


def save(
    folder: Path, weights: str, model: nn.Module, config: dict[str, Any], config_name: str, cost: TrainingCost
) -> None:
    """A module's weights, configuration and cost."""
    save_state(folder, weights, model.state_dict(), config, config_name, cost)


def save_state(
    folder: Path, weights: str, tensors: dict[str, Tensor], config: dict[str, Any], config_name: str, cost: TrainingCost
) -> None:
    """Weights (float16: half the size, exact to 3 digits), configuration and cost of one part."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in tensors.items()}
    with written(folder / weights) as temporary:
        save_file(state, temporary)
    write_atomic(folder / config_name, json.dumps(config, indent=1) + "\n")
    write_atomic(folder / "cost.json", json.dumps(cost._asdict(), indent=1) + "\n")


def build_vae(size: Sizes, out: Path, device: torch.device) -> None:
    from unimm.pretraining.recipes import train_vae

    core, cost = train_vae(size.vae, size.unshuffle, scene_set(size, 0), size.steps["vae"], device)
    save(out, "diffusion_pytorch_model.safetensors", core.model, size.vae, "config.json", cost)


def build_clip_part(size: Sizes, out: Path, device: torch.device) -> None:
    from unimm.pretraining.recipes import train_clip

    tokenizer = build_tokenizer()
    model, cost = train_clip("clip", size.clip, tokenizer, scene_set(size, 0), size.steps["clip"], 1, device)
    save_clip(out, model, size.clip, len(tokenizer), cost)


def save_clip(out: Path, model: nn.Module, config: dict[str, Any], vocabulary: int, cost: TrainingCost) -> None:
    """In open_clip's own folder format."""
    model_cfg = {**config, "text_cfg": {**config["text_cfg"], "vocab_size": vocabulary}}
    save(out, "open_clip_model.safetensors", model, {"model_cfg": model_cfg}, "open_clip_config.json", cost)


def build_evaluator(index: int, size: Sizes, out: Path, device: torch.device) -> None:
    """One of the independent CLIPs, on the odd scenes."""
    from unimm.pretraining.recipes import train_clip

    config, tokenizer, name = size.evaluators[index], build_tokenizer(), f"evaluator_{index}"
    model, cost = train_clip(name, config, tokenizer, scene_set(size, 1), size.steps[name], 20 + index, device)
    save_clip(out, model, config, len(tokenizer), cost)


def build_features(size: Sizes, out: Path, device: torch.device) -> None:
    from unimm.pretraining.recipes import train_features

    model, cost = train_features(size.features, scene_set(size, 1), size.steps["features"], device)
    config = {"width": size.features, "classes": model.classifier.out_features}
    save(out, "model.safetensors", model, config, "config.json", cost)


def encode_all(name: str, size: Sizes, folder: Path, device: torch.device) -> Tensor:
    """Raw latents of the first half of the scenes by the finished ``clip`` or ``vae``; measures statistics if new."""
    data = scene_set(size, 0)
    encode = _raw_encoder(name, size, folder, device)
    with torch.inference_mode():
        latents = torch.cat(
            [encode(images.to(device)).cpu() for images in tqdm(data.batches(256), desc=f"{name} latents")]
        )
    path = folder / name / "statistics.safetensors"
    if not path.exists():
        found = measure(lambda: torch.split(latents, 1024))
        with written(path) as temporary:
            save_file({"mean": found.mean, "std": found.std}, temporary)
    values = load_file(path)
    return Statistics(values["mean"], values["std"]).standardise(latents.clone())


def _raw_encoder(name: str, size: Sizes, folder: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    if name == "clip":
        visual = load_clip(folder / "clip").visual.to(device)
        return lambda images: pooled_features(visual, images, size.grid)
    from diffusers import AutoencoderKL

    model: Any = AutoencoderKL(**size.vae)
    model.load_state_dict(load_weights(folder / "vae" / "diffusion_pytorch_model.safetensors"))
    core = VaeCore(model, size.unshuffle).eval().to(device).to(memory_format=torch.channels_last)
    return lambda images: patchify(core.encode(images), size.patch)


def build_decoder(size: Sizes, out: Path, device: torch.device) -> None:
    from unimm.pretraining.recipes import train_decoder

    tokens, targets = (encode_all(name, size, out.parent, device) for name in ("clip", "vae"))
    settings = {
        "head": size.decoder,
        "channels": targets.shape[2],
        "grid": size.grid,
        "condition_channels": tokens.shape[2],
    }
    torch.manual_seed(3)
    head = build_decoder_head(settings)
    cost = train_decoder(head, tokens, targets, size.steps["decoder"], device)
    save(out, "model.safetensors", head, settings, "config.json", cost)


def _backbone(size: Sizes, image_channels: int) -> CausalLM:
    torch.manual_seed(7)
    tokenizer = build_tokenizer()
    model = build_language_model(size.backbone, len(tokenizer))
    return CausalLM(CausalLM.Config(queries=1), model, tokenizer, image_channels, seed=7)


def _save_backbone(backbone: CausalLM, size: Sizes, out: Path, cost: TrainingCost, with_projector: bool) -> None:
    drop = ("queries", "model.lm_head") if with_projector else ("queries", "model.lm_head", "projector")
    state = {k: v for k, v in backbone.state_dict().items() if not k.startswith(drop)}
    save_state(out, "model.safetensors", state, size.backbone, "config.json", cost)


def build_language(size: Sizes, out: Path, device: torch.device) -> None:
    from unimm.pretraining.language import train_language

    backbone = _backbone(size, size.clip["vision_cfg"]["width"])
    cost = train_language(backbone.to(device), scene_set(size, 0), size.steps["language"])
    _save_backbone(backbone, size, out, cost, with_projector=False)


def build_understanding(size: Sizes, out: Path, device: torch.device) -> None:
    from unimm.pretraining.language import train_understanding

    tokens = encode_all("clip", size, out.parent, device)
    backbone = _backbone(size, tokens.shape[2])
    backbone.load_state_dict(load_weights(out.parent / "language" / "model.safetensors"), strict=False)
    cost = train_understanding(backbone.to(device), scene_set(size, 0), tokens, size.steps["understanding"])
    _save_backbone(backbone, size, out, cost, with_projector=True)


PARTS: dict[str, Callable[[Sizes, Path, torch.device], None]] = {
    "vae": build_vae,
    "clip": build_clip_part,
    "features": build_features,
    "evaluator_0": partial(build_evaluator, 0),
    "evaluator_1": partial(build_evaluator, 1),
    "language": build_language,
    "decoder": build_decoder,
    "understanding": build_understanding,
}


def build(profile: str, out: Path, parts: tuple[str, ...] = (), device: torch.device | None = None) -> None:
    """Build the named parts (all that are missing by default) into ``out``, on the GPU where there is one."""
    device, size = device or torch.device("cuda" if torch.cuda.is_available() else "cpu"), sizes_of(profile)
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise ValueError(f"unknown foundation part {sorted(unknown)[0]!r}; parts: {', '.join(PARTS)}")
    out.mkdir(parents=True, exist_ok=True)
    build_tokenizer().save_pretrained(out / "tokenizer")
    for name in parts or tuple(PARTS):
        if not (out / name / "cost.json").exists():
            PARTS[name](size, out / name, device)
    if all((out / name / "cost.json").exists() for name in PARTS):
        finish(size, profile, out)


def obtain(name: str) -> None:
    """Build the foundation called ``scenes-PROFILE`` if this machine has none yet; other names must exist."""
    profile = name.removeprefix("scenes-")
    if not is_there(name) and profile in SIZES and name != profile:
        tqdm.write(f"foundation {name} is not here yet: building it once, into {built() / name}")
        build(profile, built() / name)


def finish(size: Sizes, profile: str, out: Path) -> None:
    """Write the card: recipe, data, cost of every part and the hash of every file."""
    costs = {name: json.loads((out / name / "cost.json").read_text()) for name in PARTS}
    facts = {
        "world": size.world,
        "resolution": size.resolution,
        "profile": profile,
        "grid": size.grid,
        "patch": size.patch,
        "unshuffle": size.unshuffle,
        "scenes": size.scenes,
        "data": "first half of the training stream; evaluators and features: the second half",
        "costs": costs,
    }
    write_card(out, facts)
