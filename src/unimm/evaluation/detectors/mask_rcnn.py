"""Mask R-CNN from torchvision (``maskrcnn_resnet50_fpn_v2``): a detector whose weights are a single file."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from unimm.evaluation.detectors.instances import Instance, InstanceDetector, geneval_names

EXPECTED = (
    "the state_dict of torchvision's maskrcnn_resnet50_fpn_v2 for COCO (maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth "
    "from download.pytorch.org/models), as .pth or .safetensors"
)


class MaskRCNN(InstanceDetector):
    """Instance segmentation with torchvision's Mask R-CNN (ResNet-50 FPN, version 2)."""

    class Config(InstanceDetector.Config):
        """``weights``: the local file with the model's state_dict."""

        weights: Path

    def __init__(self, config: Config) -> None:
        from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, maskrcnn_resnet50_fpn_v2

        super().__init__(config)
        state = read_state_dict(config.weights)
        self.model = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
        try:
            self.model.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{config.weights} does not fit the model: {error}\nexpected {EXPECTED}") from error
        self.model.eval().requires_grad_(False).to(self.device)
        self.names = geneval_names(MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"])
        self.name = f"maskrcnn_resnet50_fpn_v2/{config.weights.stem}"

    def instances(self, images: UInt8[Tensor, "b 3 height width"]) -> list[list[Instance]]:
        found = self.model(list(images.to(self.device).float() / 255))
        return [self._read(one["labels"], one["boxes"], one["scores"], one["masks"]) for one in found]

    def _read(self, labels: Tensor, boxes: Tensor, scores: Tensor, masks: Tensor) -> list[Instance]:
        """Masks are probabilities [n, 1, height, width]; half or more is the object, as in the paper."""
        rows = zip(labels.tolist(), boxes.tolist(), scores.tolist(), masks[:, 0] >= 0.5, strict=True)
        return [
            Instance(self.names[label], (box[0], box[1], box[2], box[3]), score, mask)
            for label, box, score, mask in rows
        ]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pth file without code in it; ValueError when it is missing."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"no weights at {path}: expected {EXPECTED}")
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    return dict(torch.load(path, map_location="cpu", weights_only=True))
