"""GenEval-style scores and atoms of images by the scenes' judge, of short prompts and of placed and long ones.

An image counts as a failure when nothing is found on it; none is ever dropped. Overall is GenEval's: the unweighted
mean of the task means. Each atom is averaged over the prompts it applies to; atoms/overall is the mean of the atoms.
Prompts of other tags than GenEval's six get a score of their own and stay out of overall; those of combinations that
training holds out or shows get a second one, under the rule by which they are held out (`unimm.scenes.combinations`).

Long and placed prompts (`unimm.scenes.worded_prompts`) name much that the short ones leave open. Judged are only the
facts of the short prompt, by the same judge and rules, so that a difference between ``geneval/*``, ``geneval_place/*``
and ``geneval_long/*`` is one of wording. Nothing here says whether places, sizes or the background were followed.

Two checks come before any score. The judge must recognise every one of a few clean renders: one that fails (another
numerical library, a broken world) stops scoring instead of lowering everybody's numbers. And images that were saved
inverted or with red and blue exchanged, which would look like a bad model, are refused. The mistake gives itself away:
undoing it makes the colours that the prompts name right, which chance does not, and a model that is merely bad gets
them wrong either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.geneval.files import evaluate_image
from unimm.evaluation.judge import named
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.statistics import clustered, clustered_mean
from unimm.foundation.folder import Foundation
from unimm.progress import progress
from unimm.scenes.atoms import atoms
from unimm.scenes.combinations import TAGS, clear_position
from unimm.scenes.judge import Detection, detect, to_objects
from unimm.scenes.prompts import Metadata
from unimm.scenes.render import render
from unimm.scenes.stream import scene_sample
from unimm.scenes.world import ASLANT, FAMILIES, World

TRIED, ENOUGH = 64, 8
# Black, white and green survive an exchange of red and blue, so that a gain counts by what there was to gain. One that
# is small in itself, or against its standard error over the images, may be chance.
RELATIVE_GAIN, GAIN, ERRORS = 0.5, 0.3, 2.0
MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "inverted (255 minus the image)": lambda images: 255 - images,
    "with red and blue exchanged": lambda images: images.flip(1),
}
SHOWN = 5
ATOMS = ("object", "shape", "colour", "count", "relation")


def refuse_inverted(images: UInt8[Tensor, "m 3 h w"], prompts: Sequence[Metadata], world: World) -> None:
    """ValueError if undoing a known mistake makes half or more of the named colours right that were wrong.

    Looks at the first 64 images whose prompt names a colour, and says nothing of fewer than eight.
    """
    named = [i for i, prompt in enumerate(prompts) if any("color" in clause for clause in prompt["include"])][:TRIED]
    if len(named) < ENOUGH:
        return
    some, wanted = images[named], [prompts[i] for i in named]
    as_given = _colours(some, wanted, world)
    for mistake, undo in MISTAKES.items():
        undone = _colours(undo(some), wanted, world)
        if _gives_away(as_given, undone):
            raise ValueError(
                f"the images are {mistake}: {undone.mean():.0%} of the named colours are right once that is undone, "
                f"{as_given.mean():.0%} as they are; save them as RGB from 0 (black) to 255"
            )


def _gives_away(as_given: Float64[np.ndarray, " m"], undone: Float64[np.ndarray, " m"]) -> bool:
    """Whether colours gain so much by undoing that neither chance nor a bad model explains it."""
    gains = undone - as_given
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.mean() >= max(GAIN, RELATIVE_GAIN * (1 - as_given.mean()), ERRORS * error))


def _colours(images: UInt8[Tensor, "m 3 h w"], prompts: Sequence[Metadata], world: World) -> Float64[np.ndarray, " m"]:
    """Each image's colour atom."""
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    found = (detect(np.ascontiguousarray(image), world) for image in arrays)
    return np.array([atoms(seen, prompt)["colour"] for seen, prompt in zip(found, prompts, strict=True)])


class Judged(NamedTuple):
    """One image against one prompt; ``clear`` is ``correct`` with diagonals refused."""

    tag: str
    correct: bool
    reason: str
    atoms: dict[str, float]
    clear: bool


def find_objects(images: UInt8[Tensor, "m 3 s s"], world: World) -> list[list[Detection]]:
    """What the judge sees on every image."""
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    return [detect(np.ascontiguousarray(image), world) for image in progress(arrays, "judging", "image")]


def judge(found: list[list[Detection]], prompts: Sequence[Metadata]) -> list[Judged]:
    """Each image's detections against its prompt."""
    if len(found) != len(prompts):
        raise ValueError(f"{len(found)} images for {len(prompts)} prompts: every prompt needs its image")
    rows = []
    for detections, metadata in zip(found, prompts, strict=True):
        objects = to_objects(detections)
        correct, reason = evaluate_image(objects, metadata)
        clear, _ = evaluate_image(objects, metadata, clear_position)
        rows.append(Judged(metadata["tag"], correct, reason, atoms(detections, metadata), clear))
    return rows


class GenEvalStyle(Metric):
    """GenEval-style scores by task and overall, and atoms, by the scenes' judge."""

    class Config(ComponentConfig):
        """Nothing to set: thresholds are GenEval's and the judge's."""

    needs = frozenset({"images", "prompts"})
    families = frozenset({"geneval", "atoms", "combinations"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config, self.world = config, foundation.world
        self.resolution = foundation.resolution
        self._last: tuple[Tensor, list[list[Detection]]] | None = None

    def objection(self, prompts: Sequence[Metadata] | None, captions: Sequence[str]) -> str | None:
        unknown = sorted(unknown_to(self.world, prompts or ()))  # prompts about these would be scored as wrong
        if not unknown:
            return None
        return (
            f"the judge of {self.world.name} knows no {', '.join(unknown[:SHOWN])}: give the foundation of the "
            "prompts' world (--foundation), or --detector for photographs (evaluation.judge in a run)"
        )

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.prompts is not None
        if problem := self.objection(evidence.prompts, evidence.captions or ()):
            raise ValueError(problem)
        self_test(self.world, self.resolution)
        refuse_inverted(evidence.images, evidence.prompts, self.world)
        if self._last is None or self._last[0] is not evidence.images:  # a floor shows them with other prompts
            self._last = evidence.images, find_objects(evidence.images, self.world)
        rows = judge(self._last[1], evidence.prompts)
        assert evidence.captions is not None
        protocol = {"judge": "scenes", "world": self.world.name, "name": "GenEval-protocol, detector=scenes judge"}
        found = [*_tasks(rows, evidence.captions, protocol), *_combinations(rows, evidence.captions, protocol)]
        return [*found, *_atoms(rows, evidence.captions, protocol)]


def unknown_to(world: World, prompts: Iterable[Metadata]) -> list[str]:
    """The classes and colours of prompts that no scene of the world shows."""
    classes, colours = named(prompts)
    return [c for c in classes if c not in world.shapes] + [c for c in colours if c not in world.colours]


@cache  # every scoring asks, and the answer stays
def self_test(world: World, resolution: int, count: int = 24) -> None:
    """RuntimeError unless the judge accepts ``count`` clean renders of test scenes, four of each family."""
    samples = [scene_sample(world, "test", 5, i) for i in range(count)]
    for sample in samples:
        found = detect(render(sample.scene, resolution), world)
        correct, reason = evaluate_image(to_objects(found), sample.metadata)
        if not correct:
            raise RuntimeError(f"the judge fails its self-test on a clean render ({sample.short!r}: {reason})")


def check_readable(world: World, resolution: int) -> None:
    """ValueError where scenes of that side are too small for the judge, which a run should hear before it trains."""
    try:
        self_test(world, resolution)
    except RuntimeError as error:
        raise ValueError(
            f"source.resolution={resolution} is too small for scores: {error}; choose a larger side, such as 32"
        ) from error


def _mean(name: str, items: Sequence[float | None], prompts: Sequence[str], protocol: dict[str, Any]) -> list[Score]:
    """The mean over the images that have an item; nothing where none has."""
    own = [item for item in items if item is not None]
    return [Score(name, float(np.mean(own)), len(own), protocol, items, clustered(items, prompts))] if own else []


def _tasks(rows: list[Judged], prompts: Sequence[str], protocol: dict[str, Any]) -> list[Score]:
    scores = []
    for tag in dict.fromkeys(row.tag for row in rows):
        items = [float(row.correct) if row.tag == tag else None for row in rows]
        scores += _mean(f"geneval/{tag}", items, prompts, protocol)
    official = [score for score in scores if score.name.removeprefix("geneval/") in FAMILIES]
    if official:
        value = float(np.mean([score.value for score in official if score.value is not None]))
        n = sum(score.n for score in official)
        error = clustered_mean([score.items or () for score in official], prompts)
        mean_of = {**protocol, "mean of": [score.name for score in official]}
        scores.append(Score("geneval/overall", value, n, mean_of, stderr=error))
    return scores


def _combinations(rows: list[Judged], prompts: Sequence[str], protocol: dict[str, Any]) -> list[Score]:
    protocol = {**protocol, "relation": f"clear: at most {ASLANT} times as far across as along"}
    scores = []
    for tag in TAGS.values():
        items = [float(row.clear) if row.tag == tag else None for row in rows]
        scores += _mean(f"combinations/{tag}", items, prompts, protocol)
    return scores


def _atoms(rows: list[Judged], prompts: Sequence[str], protocol: dict[str, Any]) -> list[Score]:
    scores = []
    for kind in ATOMS:
        items = [row.atoms.get(kind) if row.tag in FAMILIES else None for row in rows]
        scores += _mean(f"atoms/{kind}", items, prompts, protocol)
    if scores:
        value = float(np.mean([score.value for score in scores if score.value is not None]))
        mean_of = {**protocol, "mean of": [score.name for score in scores]}
        error = clustered_mean([score.items or () for score in scores], prompts)
        scores.append(Score("atoms/overall", value, sum(row.tag in FAMILIES for row in rows), mean_of, stderr=error))
    return scores


class _Worded(Metric):
    """GenEval-style scores and atoms of images drawn from prompts in another wording, by the scenes' judge.

    ``wording`` is what names have after their first word, and ``words_of_prompts`` says in protocols what it is.
    """

    wording: ClassVar[str]
    words_of_prompts: ClassVar[str]

    class Config(ComponentConfig):
        """Nothing to set: thresholds are GenEval's and the judge's."""

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.short = GenEvalStyle(GenEvalStyle.Config(), foundation)

    def score(self, evidence: Evidence) -> list[Score]:
        images, prompts = (getattr(evidence, f"{self.wording}_{field}") for field in ("images", "prompts"))
        return [self._renamed(score) for score in self.short.score(Evidence(images=images, prompts=prompts))]

    def _renamed(self, score: Score) -> Score:
        """The score under its name in this wording; an average names its parts by theirs."""
        protocol = {**score.protocol, "prompts": self.words_of_prompts}
        if "mean of" in protocol:
            protocol["mean of"] = [self._name(name) for name in protocol["mean of"]]
        return score._replace(name=self._name(score.name), protocol=protocol)

    def _name(self, short: str) -> str:
        kind, _, rest = short.partition("/")
        return f"{kind}_{self.wording}/{rest}"


class LongGenEvalStyle(_Worded):
    """GenEval-style scores and atoms of images drawn from long prompts, by the scenes' judge."""

    needs = frozenset({"long_images", "long_prompts"})
    families = frozenset({"geneval_long", "atoms_long"})
    wording = "long"
    words_of_prompts = "long captions of test scenes that fulfil the short prompts; judged on the short prompts' facts"


class PlacedGenEvalStyle(_Worded):
    """GenEval-style scores and atoms of images drawn from prompts that also say where objects stand."""

    needs = frozenset({"place_images", "place_prompts"})
    families = frozenset({"geneval_place", "atoms_place"})
    wording = "place"
    words_of_prompts = (
        "short prompts with the places of test scenes that fulfil them; judged on the short prompts' facts"
    )
