"""The colour of an object, zero-shot with CLIP, as GenEval decides it.

``evaluation/evaluate_images.py`` of djghosh13/geneval: the background is painted over with #999 by the object's mask,
the image cropped to its box, and CLIP (OpenAI's ViT-L-14) picks among ten colours, each the renormalised mean of
three sentences about the object's class. The official code runs CLIP in mixed precision, this one in full.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from unimm.encoders.clip import load_clip
from unimm.scenes.world import COLOURS

BACKGROUND = "#999"
TEMPLATES = ("a photo of a {{}} {name}", "a photo of a {{}}-colored {name}", "a photo of a {{}} object")
BATCH = 16
CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"
Corners = tuple[float, float, float, float]


class ColourClassifier:
    """One of GenEval's ten colours for each object."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load an open_clip folder; raises ValueError where files or weights are missing."""
        config = _read_config(folder)
        try:
            self.model = load_clip(folder).to(device)
        except RuntimeError as error:
            raise ValueError(f"{folder / WEIGHTS_FILE} does not fit {CONFIG_FILE}: {error}") from error
        self.device = device
        self.tokenizer = _tokenizer(config["model_cfg"]["text_cfg"])
        self.transform = _transform(self.model, config.get("preprocess_cfg", {}))
        self._weights = lru_cache(maxsize=None)(self._zero_shot_weights)

    @torch.inference_mode()
    def classify(
        self,
        image: UInt8[Tensor, "3 height width"],
        names: Sequence[str],
        boxes: Sequence[Corners],
        masks: Sequence[Bool[Tensor, "height width"] | None],
    ) -> list[str]:
        """The colour of every object, given its class, its box in pixels, and its mask if there is one."""
        picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
        crops = [self.transform(cut_out(picture, box, mask)) for box, mask in zip(boxes, masks, strict=True)]
        colours: list[str] = []
        for begin in range(0, len(crops), BATCH):
            batch = torch.stack(crops[begin : begin + BATCH]).to(self.device)
            features = self.model.encode_image(batch, normalize=True)
            weights = torch.stack([self._weights(name) for name in names[begin : begin + BATCH]])
            best = torch.einsum("be,bec->bc", features, weights).argmax(dim=1)
            colours += [list(COLOURS)[number] for number in best.tolist()]
        return colours

    def _zero_shot_weights(self, name: str) -> Float[Tensor, "e 10"]:
        """One unit vector a colour: the mean over the sentences, each a unit vector, scaled to length one."""
        sentences = [template.format(name=name) for template in TEMPLATES]
        texts = [sentence.format(colour) for colour in COLOURS for sentence in sentences]
        embeddings = self.model.encode_text(self.tokenizer(texts).to(self.device), normalize=True)
        mean = embeddings.reshape(len(COLOURS), len(sentences), -1).mean(dim=1)
        weights: Tensor = (mean / mean.norm(dim=1, keepdim=True)).T
        return weights


def cut_out(picture: Image.Image, box: Corners, mask: Bool[Tensor, "height width"] | None) -> Image.Image:
    """The object alone: background grey outside its mask, cropped to its box (rounded, at least one pixel wide)."""
    if mask is not None:
        blank = Image.new("RGB", picture.size, BACKGROUND)
        picture = Image.composite(picture, blank, Image.fromarray(mask.cpu().numpy()))
    x1, y1, x2, y2 = (round(corner) for corner in box)
    x1, y1 = min(x1, picture.width - 1), min(y1, picture.height - 1)
    return picture.crop((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))


def _read_config(folder: Path) -> dict[str, Any]:
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"no {' and no '.join(missing)} in {folder}: colours need an open_clip folder with both files, "
            f"for example a copy of the Hugging Face repository timm/vit_large_patch14_clip_224.openai"
        )
    return dict(json.loads((folder / CONFIG_FILE).read_text()))


def _tokenizer(text_cfg: dict[str, Any]) -> Any:
    from open_clip import SimpleTokenizer

    if "hf_tokenizer_name" in text_cfg:
        raise ValueError(
            f"this CLIP reads text with {text_cfg['hf_tokenizer_name']}; colours need a CLIP with OpenAI's tokenizer"
        )
    return SimpleTokenizer(context_length=text_cfg.get("context_length", 77))


def _transform(model: Any, preprocess_cfg: dict[str, Any]) -> Any:
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    config = merge_preprocess_dict(asdict(PreprocessCfg()), preprocess_cfg) | {"size": model.visual.image_size}
    return image_transform_v2(PreprocessCfg(**config), is_train=False)
