"""The data card of a run: what it visited in which order, which samples could not be used, and what replaced them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from unimm.data.captions import Caption
from unimm.data.source import Source, Visit

SCHEMA_VERSION = 1
LISTED = 10_000


class VisitLog:
    """Counts over the visits of a run in their order; its state goes into checkpoints, so that a resumed run counts on.

    ``digest`` is a hash chain over (position, sample, kind of caption) of every visit: two runs with the same digest
    visited the same samples in the same order.
    """

    def __init__(self) -> None:
        self.positions = 0
        self.digest = ""
        self.captions: Counter[str] = Counter()
        self.parts: Counter[int] = Counter()
        self.unusable: dict[str, list[str]] = {}
        self.replaced = 0
        self.replacements: list[list[str | int]] = []

    def add(self, visits: Sequence[Visit], captions: Sequence[Caption]) -> None:
        """Count one step."""
        lines = []
        for visit, caption in zip(visits, captions, strict=True):
            lines.append(f"{visit.position} {visit.key} {caption.kind}")
            self.captions[caption.kind] += 1
            self.parts[visit.part] += 1
            for refused in visit.refused:
                self.unusable[refused.key] = [refused.reason, refused.detail]
            if visit.refused:
                self.replaced += 1
                if len(self.replacements) < LISTED:
                    self.replacements.append([visit.position, visit.refused[0].key, visit.key])
        self.positions += len(lines)
        self.digest = hashlib.sha256("\n".join([self.digest, *lines]).encode()).hexdigest()

    def state(self) -> dict[str, Any]:
        """Everything, as JSON could hold it."""
        return {**vars(self), "captions": dict(self.captions), "parts": list(self.parts.items())}

    def restore(self, state: dict[str, Any]) -> None:
        """Take a `state`."""
        vars(self).update(state)
        self.captions, self.parts = Counter(state["captions"]), Counter(dict(state["parts"]))

    def card(self, source: Source, latents: str) -> dict[str, Any]:
        """The content of ``data_card.json``; lists stop at 10,000 entries, counts do not."""
        reasons = Counter(reason for reason, _ in self.unusable.values())
        parts = [{**part, "visits": self.parts[number]} for number, part in enumerate(source.parts())]
        return {
            "schema_version": SCHEMA_VERSION,
            "source": source.name,
            "parts": parts,
            "latents": latents,
            "resumes": source.resumes,
            "visits": {"positions": self.positions, "digest": self.digest, "captions": dict(self.captions)},
            "unusable": {
                "count": len(self.unusable),
                "by_reason": dict(reasons),
                "samples": [
                    {"sample": key, "reason": reason, "detail": detail}
                    for key, (reason, detail) in list(self.unusable.items())[:LISTED]
                ],
            },
            "replaced": {
                "count": self.replaced,
                "positions": [
                    {"position": position, "sample": key, "by": by} for position, key, by in self.replacements
                ],
            },
        }
