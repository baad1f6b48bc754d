"""Mask2Former from ``transformers``: the official detector's architecture with another implementation and weights.

Official is mmdet 2.x with ``mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco``; the closest here is
``facebook/mask2former-swin-small-coco-instance``. Scores are the same product (class probability x mean mask
probability), but masks are thresholded at 384 x 384 before they are scaled to the image, so boxes differ a little.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from unimm.evaluation.detectors.instances import Instance, InstanceDetector, geneval_names, load_pretrained, reading


class Mask2Former(InstanceDetector):
    """Instance segmentation with Mask2Former."""

    class Config(InstanceDetector.Config):
        """``source``: local folder or Hugging Face id of a Mask2Former for COCO instances, with its processor."""

        source: str

    def __init__(self, config: Config) -> None:
        from transformers import AutoImageProcessor, Mask2FormerForUniversalSegmentation

        super().__init__(config)
        self.model = load_pretrained(Mask2FormerForUniversalSegmentation, config.source, self.device)
        with reading(config.source):
            self.processor = AutoImageProcessor.from_pretrained(config.source)
        labels = self.model.config.id2label
        self.names = geneval_names(labels[number] for number in range(len(labels)))
        self.name = f"mask2former/{Path(config.source).name}"

    def instances(self, images: UInt8[Tensor, "b 3 height width"]) -> list[list[Instance]]:
        inputs = self.processor(images=list(images), return_tensors="pt").to(self.device)
        outputs = self.model(**inputs)
        # The library's post-processing indexes maps on the CPU.
        outputs.class_queries_logits = outputs.class_queries_logits.cpu()
        outputs.masks_queries_logits = outputs.masks_queries_logits.cpu()
        # Threshold 0: GenEval's thresholds are strict and depend on the prompt; binary maps: instances may overlap.
        found = self.processor.post_process_instance_segmentation(
            outputs, threshold=0.0, target_sizes=[tuple(images.shape[2:])] * len(images), return_binary_maps=True
        )
        return [self._read(one["segments_info"], one["segmentation"]) for one in found]

    def _read(self, segments: list[dict[str, Any]], maps: Tensor) -> list[Instance]:
        """``maps`` are [n, height, width] for n segments, but a single map of no object when there are none."""
        if not segments:
            return []
        masks = maps > 0
        boxes = mask_boxes(masks).tolist()
        return [
            Instance(self.names[segment["label_id"]], (box[0], box[1], box[2], box[3]), segment["score"], mask)
            for segment, box, mask in zip(segments, boxes, masks, strict=True)
        ]


def mask_boxes(masks: Tensor) -> Tensor:
    """Boxes [n, 4] around non-empty masks [n, height, width]; x2 and y2 lie past the last pixel, as in mmdet."""
    from torchvision.ops import masks_to_boxes

    boxes: Tensor = masks_to_boxes(masks)
    return boxes + boxes.new_tensor([0, 0, 1, 1])
