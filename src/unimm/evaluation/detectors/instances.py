"""Detectors that find instances first and name their colours afterwards with CLIP: all but the scenes' judge.

Their labels are those of detectors trained on COCO, whose spelling differs between releases and from GenEval's class
names. Weights come through ``transformers``, whole or not at all: the library would fill gaps with random numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import weights_hash
from unimm.evaluation.detectors.base import MAX_OBJECTS, Detector, Thresholds, check_images
from unimm.evaluation.detectors.colours import ColourClassifier
from unimm.evaluation.geneval.prompts import OBJECT_NAMES
from unimm.evaluation.judge import named
from unimm.scenes.prompts import Metadata
from unimm.scenes.world import COLOURS

# GenEval renames three of COCO's classes; the other six are darknet's spelling, which Hugging Face label files share.
RENAMED = {
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
SHOWN = 5


class Instance(NamedTuple):
    """One object: class, box (x1, y1, x2, y2) in pixels, confidence, and its pixels if the detector knows them."""

    name: str
    box: tuple[float, float, float, float]
    score: float
    mask: Bool[Tensor, "height width"] | None


class InstanceDetector(Detector):
    """A detector whose ``instances`` get their colours from CLIP."""

    class Config(ComponentConfig):
        """``colours``: folder of an open_clip model (GenEval's is OpenAI's ViT-L-14); ``device``: torch's name.

        ``thresholds``: confidence a box must exceed, for counting and other prompts, and the overlap it must not.
        """

        colours: Path
        device: str = "cpu"
        thresholds: Thresholds = Thresholds()

    model: Any

    def __init__(self, config: Config) -> None:
        self.thresholds = config.thresholds
        self.device = torch.device(config.device)
        self.colours = ColourClassifier(config.colours, self.device)

    @cached_property
    def _weights(self) -> str:
        """A short hash of what finds objects and of what names their colours."""
        return "/".join(weights_hash(part)[:16] for part in (self.model, self.colours.model))

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | {"weights": self._weights}

    def unknown(self, prompts: Sequence[Metadata]) -> list[str]:
        classes, colours = named(prompts)
        return [name for name in classes if name not in self.vocabulary] + [c for c in colours if c not in COLOURS]

    @property
    def vocabulary(self) -> Collection[str]:
        """The classes that it looks for."""
        return OBJECT_NAMES

    @abstractmethod
    def instances(self, images: UInt8[Tensor, "b 3 height width"]) -> list[list[Instance]]:
        """Every instance on each image, in any order and however uncertain."""

    @torch.inference_mode()
    def detect(self, images: UInt8[Tensor, "b 3 height width"]) -> list[dict[str, list[list[Any]]]]:
        check_images(images)
        found = self.instances(images)
        return [self._objects(image, instances) for image, instances in zip(images, found, strict=True)]

    def _objects(
        self, image: UInt8[Tensor, "3 height width"], instances: Sequence[Instance]
    ) -> dict[str, list[list[Any]]]:
        chosen = _strongest(instances, self.thresholds.lowest)
        colours = self.colours.classify(
            image, [i.name for i in chosen], [i.box for i in chosen], [i.mask for i in chosen]
        )
        objects: dict[str, list[list[Any]]] = {}
        for instance, colour in zip(chosen, colours, strict=True):
            objects.setdefault(instance.name, []).append([*instance.box, instance.score, colour])
        return objects


def _strongest(instances: Sequence[Instance], above: float) -> list[Instance]:
    """At most 16 of each class, most confident first."""
    by_class: dict[str, list[Instance]] = {}
    for instance in sorted(instances, key=lambda instance: -instance.score):
        if instance.score > above:
            by_class.setdefault(instance.name, []).append(instance)
    return [instance for own in by_class.values() for instance in own[:MAX_OBJECTS]]


def geneval_names(labels: Iterable[str]) -> list[str]:
    """The labels with GenEval's names for them, in order.

    Raises ValueError that lists the classes of GenEval which no label stands for: their prompts would all fail.
    """
    names = [RENAMED.get(label, label) for label in labels]
    missing = [name for name in OBJECT_NAMES if name not in names]
    if missing:
        raise ValueError(f"the detector has no label for {', '.join(missing)}: give one that was trained on COCO")
    return names


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn the errors of reading a checkpoint into a ValueError that says what is expected."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot read a checkpoint from {source}: give a folder that the model's and its processor's "
            f"save_pretrained wrote, or a Hugging Face id that this machine can reach ({error})"
        ) from error


def load_pretrained(model_class: Any, source: str, device: torch.device) -> Any:
    """The frozen model of a local folder or Hugging Face id in float32.

    Raises ValueError when it cannot be read, or when weights are missing or of another shape.
    """
    with reading(source):
        model, report = model_class.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    mismatched = [key for key, *_ in report["mismatched_keys"]]
    absent = sorted([*report["missing_keys"], *mismatched])
    if absent:
        raise ValueError(
            f"{source} lacks {len(absent)} weights of {model_class.__name__} ({', '.join(absent[:SHOWN])}, ...): "
            f"give a complete checkpoint of this model"
        )
    return model.eval().requires_grad_(False).to(device)
