"""Keeps the data card of a run: counts every step's visits, and writes ``data_card.json`` when training stops.

Ranks note what they visited and tell the first one when there is something to write, a checkpoint or the card.

The data card of a run: what it visited in which order, which samples could not be used, and what replaced them; and
which texts the backbone read in part, because they have more tokens than it takes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import lightning as L
import torch

from unimm.data.captions import DIFFER, Caption, Texts
from unimm.data.content import Content
from unimm.data.mixture import Mixture
from unimm.data.source import Source, Visit
from unimm.files import read_object, write_json
from unimm.progress import say
from unimm.training.callbacks import StepCallback
from unimm.training.distributed import ALONE, Ranks
from unimm.training.step_data import Cut, Seen, StepData

SCHEMA_VERSION = 1
LISTED = 10_000
SHOWN = 10


class VisitLog:
    """Counts over the visits of a run in their order; its state goes into checkpoints, so that a resumed run counts on.

    ``digest`` is a hash chain over (position, sample, kind of caption) of every visit: two runs with the same digest
    visited the same samples in the same order.
    """

    def __init__(self) -> None:
        self.positions = 0
        self.digest = ""
        self.captions: Counter[str] = Counter()
        self.origins: Counter[str] = Counter()
        self.differing: list[str] = []
        self.parts: Counter[int] = Counter()
        self.unusable: dict[str, list[str]] = {}
        self.cut: dict[str, dict[str, int]] = {}
        self.replaced = 0
        self.replacements: list[list[str | int]] = []

    def add(self, visits: Sequence[Visit], captions: Sequence[Caption], cut: Sequence[Cut] = ()) -> None:
        """Count one step."""
        lines = []
        for sample, text, tokens in cut:
            texts = self.cut.setdefault(sample, {})
            texts[text] = max(tokens, texts.get(text, 0))
        for visit, caption in zip(visits, captions, strict=True):
            lines.append(f"{visit.position} {visit.key} {caption.kind}")
            self.captions[caption.kind] += 1
            self.parts[visit.part] += 1
            self._note_origin(visit)
            for refused in visit.refused:
                self.unusable[refused.key] = [refused.reason, refused.detail]
            if visit.refused:
                self.replaced += 1
                if len(self.replacements) < LISTED:
                    self.replacements.append([visit.position, visit.refused[0].key, visit.key])
        self.positions += len(lines)
        self.digest = hashlib.sha256("\n".join([self.digest, *lines]).encode()).hexdigest()

    def _note_origin(self, visit: Visit) -> None:
        origin = visit.texts.origin
        if origin:
            self.origins[origin] += 1
        if origin in DIFFER and len(self.differing) < SHOWN and visit.key not in self.differing:
            self.differing.append(visit.key)

    def state(self) -> dict[str, Any]:
        """Everything, as JSON could hold it."""
        counts = {"captions": dict(self.captions), "origins": dict(self.origins), "parts": list(self.parts.items())}
        return {**vars(self), **counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Take a `state`."""
        vars(self).update(state)
        self.captions, self.parts = Counter(state["captions"]), Counter(dict(state["parts"]))
        self.origins = Counter(self.origins)

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
            **self._caption_files(),
            "unusable": {
                "count": len(self.unusable),
                "by_reason": dict(reasons),
                "samples": [
                    {"sample": key, "reason": reason, "detail": detail}
                    for key, (reason, detail) in list(self.unusable.items())[:LISTED]
                ],
            },
            "cut": {
                "count": len(self.cut),
                "samples": [
                    {"sample": key, "tokens_left_out": texts} for key, texts in list(self.cut.items())[:LISTED]
                ],
            },
            "replaced": {
                "count": self.replaced,
                "positions": [
                    {"position": position, "sample": key, "by": by} for position, key, by in self.replacements
                ],
            },
        }

    def _caption_files(self) -> dict[str, Any]:
        """Of sources whose samples have two files of text: which one captions came from, and how many visits saw the
        two differ."""
        if not self.origins:
            return {}
        differ = sum(self.origins[origin] for origin in DIFFER)
        return {"captions_from": {"visits": dict(self.origins), "differ": differ, "examples": self.differing}}


FILE = "data_card.json"
NOTHING = torch.empty(0)


class DataCard(StepCallback):
    """Stands before `Checkpoint` in the list of callbacks, so that a step's visits are counted in its checkpoint."""

    def __init__(self, path: Path, data: StepData, world: Ranks = ALONE) -> None:
        self.path, self.data, self.world = path, data, world
        self.visited = VisitLog()
        self.content = data.visits.latents.content
        self.waited = 0.0
        self._step = Seen([], [], [])
        self._noted: list[Seen] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        visits, captions, cut = self.data.seen
        self._step.visits.extend(
            visit._replace(texts=Texts(origin=visit.texts.origin), value=NOTHING) for visit in visits
        )
        self._step.captions.extend(captions)
        self._step.cut.extend(cut)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_step_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._noted.append(self._step)
        self._step = Seen([], [], [])
        if trainer.global_step == trainer.max_steps or trainer.should_stop:
            self.write()

    def collect(self) -> None:
        """Count, on the first rank, what all ranks have noted: step by step, and in a step in the order of its batch,
        of which ranks have one part after the other."""
        for parts in zip(*self.world.gather(self._noted), strict=True):
            self.visited.add(*(list(chain.from_iterable(lists)) for lists in zip(*parts, strict=True)))
        self._noted = []

    def write(self) -> None:
        """Write the card as it stands."""
        self.collect()
        if not self.world.first:
            return
        visits = self.data.visits
        content = {"content": self.content._asdict()} if self.content.stamp else {}
        write_json(self.path, self.visited.card(visits.source, visits.latents.kind) | content)
        if self.visited.unusable:
            say(f"{len(self.visited.unusable)} samples could not be used and were replaced: see {self.path}")
        if self.visited.cut:
            cut = len(self.visited.cut)
            say(f"{cut} samples have texts of more tokens than the backbone reads, cut at the end: {self.path}")
        if self.visited.differing:
            say(f"captions in .txt and .json differ, as of {self.visited.differing[0]}: see {self.path}")

    @staticmethod
    def summary(path: Path) -> dict[str, Any] | None:
        """The ``data`` of result.json: a card without its lists; None for a run that ended before there were cards."""
        if not path.exists():
            return None
        card = read_object(path, "restore it, or run the arm again with --overwrite")
        counts = {"unusable": card["unusable"]["count"], "replaced": card["replaced"]["count"]}
        return {**{key: card[key] for key in ("source", "latents", "resumes")}, **card["visits"], **counts}

    @property
    def seconds_waited(self) -> float:
        """Seconds in which training waited for images, over all stretches of the run."""
        return self.waited + self.data.visits.waited

    def state_dict(self) -> dict[str, Any]:
        self.collect()
        source = self.data.visits.source
        state = {"log": self.visited.state(), "journal": source.journal(), "waited": self.seconds_waited}
        of_run = {"content": tuple(self.content), "passes": self.data.passes.state()}
        return {**state, "source": part_names(source), **of_run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "source" in state_dict:  # checkpoints of earlier versions name no source
            check_unchanged(state_dict["source"], part_names(self.data.visits.source))
            check_content(Content(*state_dict.get("content", self.content)), self.content, self.data.visits.source)
        self.visited.restore(state_dict["log"])
        self.data.passes.restore(state_dict.get("passes", {}))  # as for those of versions that did not count them
        self.data.visits.source.restore(state_dict["journal"])
        self.waited = state_dict["waited"]


def part_names(source: Source) -> list[str]:
    """The names of the source or of a mixture's parts, which change with what they hold."""
    return [part.name for part in (source.members if isinstance(source, Mixture) else [source])]


def check_unchanged(before: Sequence[str], now: Sequence[str]) -> None:
    """ValueError where a part holds other data than when the run began; a folder may have moved.

    The order of samples is a function of how many there are: else every later position would show another sample.
    """
    for was, present in zip_longest(before, now, fillvalue="nothing"):
        if _content(was) != _content(present):
            raise ValueError(
                f"the data changed since the run began: was {was}, is {present}; "
                "bring it back, or start again with --overwrite"
            )


def check_content(before: Content, now: Content, source: Source) -> None:
    """ValueError where files of the same names and sizes were written since the run began.

    Of cached latents it is known what every sample was made of. A run that encodes at every step has not read its set,
    and knows its files by size and time alone.
    """
    if before.stamp == now.stamp or (before.digest and before.digest == now.digest):
        return
    if before.digest and now.digest:
        raise ValueError(
            f"{source.name}: samples hold other bytes than when the run began; bring them back, or start again with "
            "--overwrite"
        )
    raise ValueError(
        f"{source.name}: files were written since the run began, and a run that encodes at every step knows them by "
        "size and time alone; if they were only copied, copy them with their times (cp -p, rsync -a), else start again "
        "with --overwrite"
    )


def _content(name: str) -> str:
    """What follows the path in ``path#fingerprint``; a name of another form is whole."""
    return name.rpartition("#")[2]
