"""GenEval's class names for the labels of detectors trained on COCO, whose spelling differs between releases."""

from __future__ import annotations

from collections.abc import Iterable

from unimm.evaluation.geneval_prompts import OBJECT_NAMES

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


def geneval_names(labels: Iterable[str]) -> list[str]:
    """The labels with GenEval's names for them, in order.

    Raises ValueError that lists the classes of GenEval which no label stands for: their prompts would all fail.
    """
    names = [RENAMED.get(label, label) for label in labels]
    missing = [name for name in OBJECT_NAMES if name not in names]
    if missing:
        raise ValueError(f"the detector has no label for {', '.join(missing)}: give one that was trained on COCO")
    return names
