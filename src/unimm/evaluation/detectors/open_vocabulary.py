"""OWL-ViT and OWLv2 from ``transformers``: detectors that find what a text names, so any class can be asked for.

Their scores are sigmoids of image-text similarities, far below Mask2Former's probabilities, and one object gets
several boxes. The defaults are therefore the library's threshold of 0.1 for every prompt and boxes that overlap a
better one by half or more dropped; calibrate them before you compare counting scores with another detector's.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from unimm.evaluation.detectors.base import Thresholds
from unimm.evaluation.detectors.instances import Instance, InstanceDetector, load_pretrained, reading
from unimm.evaluation.geneval.prompts import OBJECT_NAMES
from unimm.scenes.prompts import article

MODELS = {"owlvit": "OwlViTForObjectDetection", "owlv2": "Owlv2ForObjectDetection"}


class OpenVocabulary(InstanceDetector):
    """Boxes (no masks) for the classes that texts name, with OWL-ViT or OWLv2."""

    class Config(InstanceDetector.Config):
        """``source``: local folder or Hugging Face id, with its processor; ``classes``: what to look for."""

        source: str
        classes: tuple[str, ...] = OBJECT_NAMES
        thresholds: Thresholds = Thresholds(confidence=0.1, counting=0.1, overlap=0.5)

    def __init__(self, config: Config) -> None:
        import transformers

        super().__init__(config)
        with reading(config.source):
            family = transformers.AutoConfig.from_pretrained(config.source).model_type
        if family not in MODELS:
            raise ValueError(f"{config.source} is a {family} model; give one of {', '.join(MODELS)}")
        with reading(config.source):
            self.processor = transformers.AutoProcessor.from_pretrained(config.source)
        self.model = load_pretrained(getattr(transformers, MODELS[family]), config.source, self.device)
        self.classes = config.classes
        self.name = f"{family}/{Path(config.source).name}"

    @property
    def vocabulary(self) -> Collection[str]:
        return self.classes

    def instances(self, images: UInt8[Tensor, "b 3 height width"]) -> list[list[Instance]]:
        texts = [f"a photo of {article(name)}" for name in self.classes]
        inputs = self.processor(text=[texts] * len(images), images=list(images), return_tensors="pt").to(self.device)
        outputs = self.model(**inputs)
        height, width = images.shape[2:]
        found = self.processor.post_process_grounded_object_detection(
            outputs, threshold=self.thresholds.lowest, target_sizes=[(height, width)] * len(images)
        )
        return [self._read(one["labels"], one["boxes"], one["scores"], height, width) for one in found]

    def _read(self, labels: Tensor, boxes: Tensor, scores: Tensor, height: int, width: int) -> list[Instance]:
        """Boxes are cut at the image's border; those wholly outside, as OWLv2's padding allows, are dropped."""
        inside = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
        rows = zip(labels.tolist(), inside.tolist(), scores.tolist(), strict=True)
        return [
            Instance(self.classes[label], (x1, y1, x2, y2), score, None)
            for label, (x1, y1, x2, y2), score in rows
            if x1 < x2 and y1 < y2
        ]
