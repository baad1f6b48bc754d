"""A tower that never saw text: it learns from images alone, by filling in what was hidden (MAE, arXiv 2111.06377).

Most patches of an image are left out. The tower sees the others; a small decoder, which is thrown away, gets its tokens
and one learned token in every gap, and has to draw the pixels that were there:

    loss = mean over hidden patches of |p - d(f(visible))|^2,   pixels p in [-1, 1]

The pixels are taken as they are, not each patch by its own mean and deviation: a patch inside of an object is of one
colour, which is what there is to know of it.

Self-distillation over crops (DINO, arXiv 2104.14294) would be the other way. It needs views that share nothing but the
meaning. The grey of a scene's background and its few colours tell its crops from those of every other scene; captions
name both, so neither may be changed, and without that such a loss is met by colours alone (SimCLR, arXiv 2002.05709,
section 3.1), and shapes need not be learned. To draw a hidden patch, both are needed, and where it is.

The network is that of the foundation's CLIP (a ViT with a norm before its blocks), in `timm`'s words and files, so that
``encoder=timm_vision encoder.pretrained=FOLDER`` reads what `build_tower` writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from unimm.data.scenes import SceneSet, batch_indices
from unimm.files import write_json
from unimm.pretraining.build import scene_set
from unimm.pretraining.recipes import TrainingCost, fit
from unimm.pretraining.sizes import sizes_of

ARCHITECTURE = "vit_base_patch16_clip_224"
SEED, BATCH = 31, 128
HIDDEN = 0.6  # share of an image's patches; MAE hides 0.75 of 196, on which an object has more than nine
DECODER_WIDTH, DECODER_BLOCKS = 64, 2


def tower_sizes(vision: dict[str, Any]) -> dict[str, Any]:
    """What `timm` calls the sizes of an open_clip image tower (``vision_cfg``)."""
    return {
        "img_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "embed_dim": vision["width"],
        "depth": vision["layers"],
        "num_heads": vision["width"] // vision["head_width"],
        "mlp_ratio": vision["mlp_ratio"],
        "num_classes": 0,
        "global_pool": vision["pool_type"],
        "fc_norm": False,
    }


def fresh_tower(vision: dict[str, Any]) -> Any:
    """A `timm` tower of the sizes of ``vision_cfg``, which takes images in [-1, 1]."""
    import timm

    side = vision["image_size"]
    prepared = {"input_size": (3, side, side), "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}
    return timm.create_model(ARCHITECTURE, pretrained=False, pretrained_cfg_overlay=prepared, **tower_sizes(vision))


class MaskedAutoencoder(nn.Module):
    """A tower, and the decoder that draws the patches which it did not see."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.tower = tower
        self.patch = int(tower.patch_embed.patch_size[0])
        self.patches = int(tower.patch_embed.num_patches)
        width = DECODER_WIDTH
        self.enter = nn.Linear(int(tower.embed_dim), width)
        self.gap = nn.Parameter(0.02 * torch.randn(width))
        self.places = nn.Parameter(0.02 * torch.randn(self.patches, width))
        self.blocks = nn.Sequential(*(Block(width, width // 32, mlp_ratio=3.0) for _ in range(DECODER_BLOCKS)))
        self.draw = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * self.patch**2))

    def loss(self, images: Float[Tensor, "b 3 s s"], random: torch.Generator) -> Float[Tensor, ""]:
        """Of images in [0, 1], each with other patches hidden."""
        pixels = images * 2 - 1
        order = torch.rand(len(images), self.patches, generator=random).argsort(dim=1).to(images.device)
        hidden, seen = order.split([round(HIDDEN * self.patches), self.patches - round(HIDDEN * self.patches)], dim=1)
        true = F.unfold(pixels, self.patch, stride=self.patch).transpose(1, 2)
        return F.mse_loss(taken(self(pixels, seen), hidden), taken(true, hidden))

    def forward(self, pixels: Float[Tensor, "b 3 s s"], seen: Int[Tensor, "b v"]) -> Float[Tensor, "b n p"]:
        """Pixels of every patch, from those that are seen."""
        known = self.enter(self.tokens(pixels, seen))
        gaps = self.gap.expand(len(pixels), self.patches, -1)
        drawn: Tensor = self.draw(self.blocks(gaps.scatter(1, _wide(seen, known), known) + self.places))
        return drawn

    def tokens(self, pixels: Float[Tensor, "b 3 s s"], seen: Int[Tensor, "b v"]) -> Float[Tensor, "b v d"]:
        """What the tower makes of some patches, as if there were no others."""
        tower = self.tower
        patches = tower.patch_embed(pixels) + tower.pos_embed[:, 1:]
        first = (tower.cls_token + tower.pos_embed[:, :1]).expand(len(pixels), -1, -1)
        whole: Tensor = tower.norm(tower.blocks(tower.norm_pre(torch.cat([first, taken(patches, seen)], dim=1))))
        return whole[:, 1:]


def taken(rows: Float[Tensor, "b n d"], which: Int[Tensor, "b v"]) -> Float[Tensor, "b v d"]:
    """Some rows of each sample, by their numbers."""
    return rows.gather(1, _wide(which, rows))


def _wide(which: Int[Tensor, "b v"], rows: Float[Tensor, "b n d"]) -> Int[Tensor, "b v d"]:
    return which[..., None].expand(-1, -1, rows.shape[-1])


def train_masked(vision: dict[str, Any], data: SceneSet, steps: int, device: torch.device) -> tuple[Any, TrainingCost]:
    """A tower of the sizes of ``vision_cfg`` after so many steps of `BATCH` images."""
    torch.manual_seed(SEED)
    model = MaskedAutoencoder(fresh_tower(vision)).to(device)

    def loss(step: int) -> Tensor:
        images = data.images(batch_indices(SEED, step, BATCH, len(data))).to(device)
        return model.loss(images, torch.Generator().manual_seed(step))

    cost = fit("masked tower", model, loss, BATCH, steps, warmup=min(100, steps))
    return model.tower.cpu(), cost


def build_tower(profile: str, out: Path, device: torch.device) -> TrainingCost:
    """Train a profile's tower on the scenes that its CLIP learned from, and write it to ``out`` in timm's format.

    Raises:
        FileExistsError: ``out`` holds something.
        ValueError: no profile of that name has a foundation.
    """
    from timm.models import save_for_hf

    size = sizes_of(profile)
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: choose another --out")
    vision = size.clip["vision_cfg"]
    tower, cost = train_masked(vision, scene_set(size, 0), size.steps["tower"], device)
    save_for_hf(tower, str(out), model_args=tower_sizes(vision), safe_serialization=True)
    write_json(out / "cost.json", cost._asdict())
    return cost
