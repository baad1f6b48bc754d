"""Train a foundation's parts from scratch: ``unimm foundation build scenes-small --profile small``.

Every part is one function with its own folder, so that an interrupted build goes on where it stopped, at most 200
steps earlier, and two parts can be built side by side (``--part``). `finish` writes the card with hashes once all parts
are there.

A foundation is one draw of its recipe: other seeds would have made other parts (``--draw``). What judges images is the
same in all draws.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

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
from unimm.files import read_object, write_atomic, written
from unimm.foundation.card import CARD, MEND, built, find, is_there, part_path, verify, write_card
from unimm.foundation.folder import load_weights
from unimm.pretraining.recipes import Course, TrainingCost, drawn
from unimm.pretraining.sizes import SIZES, TOKEN_NOISE, Sizes, sizes_of
from unimm.pretraining.tokenizer import build_tokenizer
from unimm.scenes.world import World, world

UNFINISHED = "unfinished.ckpt"
NAMED = re.compile(r"scenes-(?P<profile>\w[\w-]*?)(-draw(?P<draw>[1-9]\d*))?")


class Plan(NamedTuple):
    """What is built: sizes, which draw, into which folder and on which device."""

    size: Sizes
    draw: int
    folder: Path
    device: torch.device

    def path(self, part: str) -> Path:
        """Where a part lies that may be the base's."""
        if part in self.size.shared(self.draw):
            return part_path(str(self.size.base), part)
        return self.folder / part

    def course(self, part: str) -> Course:
        """How a part trains."""
        return Course(self.size.steps[part], self.device, self.draw, self.folder / part / UNFINISHED)


def scene_set(size: Sizes, half: int) -> SceneSet:
    """The first (0) or second (1) half of every run of 12 scenes: each half holds all six families."""
    return _scene_set(world(size.world, size.questions), size.scenes, size.resolution, half)


@lru_cache(maxsize=2)
def _scene_set(of: World, scenes: int, resolution: int, half: int) -> SceneSet:
    return SceneSet(of, "train", scenes, resolution, half=half)


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
    (folder / UNFINISHED).unlink(missing_ok=True)


def build_vae(plan: Plan, out: Path) -> None:
    from unimm.pretraining.recipes import train_vae

    size = plan.size
    core, cost = train_vae(size.vae, size.unshuffle, scene_set(size, 0), plan.course("vae"))
    save(out, "diffusion_pytorch_model.safetensors", core.model, size.vae, "config.json", cost)


def build_clip_part(plan: Plan, out: Path) -> None:
    from unimm.pretraining.recipes import train_clip

    size, tokenizer = plan.size, build_tokenizer()
    model, cost = train_clip("clip", size.clip, tokenizer, scene_set(size, 0), 1, plan.course("clip"))
    save_clip(out, model, size.clip, len(tokenizer), cost)


def save_clip(out: Path, model: nn.Module, config: dict[str, Any], vocabulary: int, cost: TrainingCost) -> None:
    """In open_clip's own folder format."""
    model_cfg = {**config, "text_cfg": {**config["text_cfg"], "vocab_size": vocabulary}}
    save(out, "open_clip_model.safetensors", model, {"model_cfg": model_cfg}, "open_clip_config.json", cost)


def build_evaluator(index: int, plan: Plan, out: Path) -> None:
    """One of the independent CLIPs, on the odd scenes."""
    from unimm.pretraining.recipes import train_clip

    size, tokenizer, name = plan.size, build_tokenizer(), f"evaluator_{index}"
    config = size.evaluators[index]
    model, cost = train_clip(name, config, tokenizer, scene_set(size, 1), 20 + index, plan.course(name))
    save_clip(out, model, config, len(tokenizer), cost)


def build_features(plan: Plan, out: Path) -> None:
    from unimm.pretraining.recipes import train_features

    size = plan.size
    model, cost = train_features(size.features, scene_set(size, 1), plan.course("features"))
    config = {"width": size.features, "classes": model.classifier.out_features}
    save(out, "model.safetensors", model, config, "config.json", cost)


def encode_all(name: str, plan: Plan) -> Tensor:
    """Standardised latents of the first half of the scenes by the finished ``clip`` or ``vae``, whose statistics are
    measured if that is new."""
    data, device = scene_set(plan.size, 0), plan.device
    encode = _raw_encoder(name, plan)
    with torch.inference_mode():
        latents = torch.cat(
            [encode(images.to(device)).cpu() for images in tqdm(data.batches(256), desc=f"{name} latents")]
        )
    path = plan.path(name) / "statistics.safetensors"
    if not path.exists():
        found = measure(lambda: torch.split(latents, 1024))
        with written(path) as temporary:
            save_file({"mean": found.mean, "std": found.std}, temporary)
    values = load_file(path)
    return Statistics(values["mean"], values["std"]).standardise(latents.clone())


def _raw_encoder(name: str, plan: Plan) -> Callable[[Tensor], Tensor]:
    size, device = plan.size, plan.device
    if name == "clip":
        visual = load_clip(plan.path("clip")).visual.to(device)
        return lambda images: pooled_features(visual, images, size.grid)
    from diffusers import AutoencoderKL

    model: Any = AutoencoderKL(**size.vae)
    model.load_state_dict(load_weights(plan.path("vae") / "diffusion_pytorch_model.safetensors"))
    core = VaeCore(model, size.unshuffle).eval().to(device).to(memory_format=torch.channels_last)
    return lambda images: patchify(core.encode(images), size.patch)


def build_decoder(part: str, token_noise: float, plan: Plan, out: Path) -> None:
    """The one that saw clean tokens, or one that saw them with noise."""
    from unimm.pretraining.recipes import train_decoder

    size = plan.size
    tokens, targets = (encode_all(name, plan) for name in ("clip", "vae"))
    settings = {
        "head": size.decoder,
        "channels": targets.shape[2],
        "grid": size.grid,
        "condition_channels": tokens.shape[2],
    }
    torch.manual_seed(drawn(3, plan.draw))
    head = build_decoder_head(settings)
    cost = train_decoder(head, tokens, targets, token_noise, plan.course(part))
    save(out, "model.safetensors", head, settings, "config.json", cost)


def _backbone(plan: Plan, image_channels: int) -> CausalLM:
    seed = drawn(7, plan.draw)
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = build_language_model(plan.size.backbone, len(tokenizer))
    return CausalLM(CausalLM.Config(queries=1), model, tokenizer, image_channels, seed=seed)


def _save_backbone(backbone: CausalLM, size: Sizes, out: Path, cost: TrainingCost, with_projector: bool) -> None:
    drop = ("queries", "model.lm_head") if with_projector else ("queries", "model.lm_head", "projector")
    state = {k: v for k, v in backbone.state_dict().items() if not k.startswith(drop)}
    save_state(out, "model.safetensors", state, size.backbone, "config.json", cost)


def build_language(plan: Plan, out: Path) -> None:
    from unimm.pretraining.language import train_language

    size = plan.size
    backbone = _backbone(plan, size.clip["vision_cfg"]["width"])
    cost = train_language(backbone.to(plan.device), scene_set(size, 0), size.reading, plan.course("language"))
    _save_backbone(backbone, size, out, cost, with_projector=False)


def build_understanding(plan: Plan, out: Path) -> None:
    from unimm.pretraining.language import train_understanding

    size, tokens = plan.size, encode_all("clip", plan)
    backbone = _backbone(plan, tokens.shape[2])
    backbone.load_state_dict(load_weights(plan.path("language") / "model.safetensors"), strict=False)
    course, backbone = plan.course("understanding"), backbone.to(plan.device)
    cost = train_understanding(backbone, scene_set(size, 0), tokens, size.seeing, course)
    _save_backbone(backbone, size, out, cost, with_projector=True)


PARTS: dict[str, Callable[[Plan, Path], None]] = {
    "vae": build_vae,
    "clip": build_clip_part,
    "features": build_features,
    "evaluator_0": partial(build_evaluator, 0),
    "evaluator_1": partial(build_evaluator, 1),
    "language": build_language,
    "decoder": partial(build_decoder, "decoder", 0.0),
    "decoder_noised": partial(build_decoder, "decoder_noised", TOKEN_NOISE),
    "understanding": build_understanding,
}


def build(
    profile: str, out: Path, parts: tuple[str, ...] = (), device: torch.device | None = None, draw: int = 0
) -> None:
    """Build the named parts (all that are missing by default) into ``out``, on the GPU where there is one.

    Raises:
        ValueError: there is no such profile or part of it, the part is the base's, or there are no further draws.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plan = Plan(sizes_of(profile), draw, out, device)
    if draw and plan.size.base is None:
        several = ", ".join(name for name, size in SIZES.items() if size.base is not None)
        raise ValueError(
            f"draw {draw}: {profile} has one draw, as others would be judged by other models; take {several}"
        )
    own = [name for name in PARTS if name in plan.size.steps and name not in plan.size.shared(draw)]
    unknown = set(parts) - set(own)
    if unknown:
        raise ValueError(f"unknown foundation part {sorted(unknown)[0]!r}; parts: {', '.join(own)}")
    out.mkdir(parents=True, exist_ok=True)
    if plan.size.base is None:
        build_tokenizer().save_pretrained(out / "tokenizer")
    for name in parts or own:
        if not (out / name / "cost.json").exists():
            PARTS[name](plan, out / name)
    if all((out / name / "cost.json").exists() for name in own):
        finish(plan, profile)


def obtain(name: str) -> None:
    """Build the foundation called ``scenes-PROFILE`` or ``scenes-PROFILE-drawN`` if this machine has none yet; other
    names must exist."""
    found = NAMED.fullmatch(name)
    if found is None or is_there(name) or found["profile"] not in SIZES:
        return
    profile, draw = found["profile"], int(found["draw"] or 0)
    hours = expected_hours(profile, draw)
    takes = f"; that takes about {hours:.1f} hours of one thread" if hours else ""
    tqdm.write(f"foundation {name} is not here yet: building it once, into {built() / name}{takes}")
    build(profile, built() / name, draw=draw)


def expected_hours(profile: str, draw: int) -> float:
    """What building a draw takes, by what its parts took in the first one; 0 where that one is not here."""
    first = f"scenes-{profile}"
    costs = read_object(find(first) / CARD, MEND)["costs"] if is_there(first) else {}
    shared = SIZES[profile].shared(draw)
    return float(sum(cost["seconds"] for part, cost in costs.items() if part not in shared)) / 3600


def finish(plan: Plan, profile: str) -> None:
    """Write the card: recipe, data, cost of every part and the hash of every file."""
    size = plan.size
    costs = {name: json.loads((plan.path(name) / "cost.json").read_text()) for name in PARTS if name in size.steps}
    facts = {
        "world": size.world,
        "resolution": size.resolution,
        "profile": profile,
        "grid": size.grid,
        "patch": size.patch,
        "unshuffle": size.unshuffle,
        "scenes": size.scenes,
        "data": "first half of the training stream; evaluators and features: the second half",
        "questions": size.questions,
        "draw": plan.draw,
        "costs": costs,
    }
    if size.base is not None:
        facts["base"] = size.base
    write_card(plan.folder, facts, shared_files(plan))


def shared_files(plan: Plan) -> dict[str, str]:
    """The hashes of the base's files that are this foundation's too, as the base's card has them."""
    if plan.size.base is None:
        return {}
    card = verify(find(plan.size.base))
    parts = ("tokenizer", *plan.size.shared(plan.draw))
    return {name: value for name, value in card["files"].items() if name.startswith(tuple(f"{p}/" for p in parts))}
