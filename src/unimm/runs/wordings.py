"""The wordings on which a choice by validation prompts may look: those that an arm was trained on, and is scored in.

An arm that was trained on long captions alone has never seen a short prompt, and the best guidance for these need not
be the best one for what it learned. The embedded world words its captions as its prompts are worded, so that
the shares in `data` say which wordings an arm has seen. Captions and prompts from elsewhere have no such kinds: there
every wording of the test counts. A tuning looks at one wording, which its metric names (`in_wording`).
"""

from __future__ import annotations

from collections.abc import Mapping

from unimm.config import read
from unimm.evaluation.metric import OF_SAMPLES, Metric
from unimm.files import START
from unimm.registry import sources
from unimm.runs.record import CONFIG
from unimm.runs.run import Run
from unimm.scenes.worded_prompts import WORDINGS
from unimm.schema import CaptionKind, RunConfig

SHORT = ""  # what fields of evidence begin with: nothing, or another wording's name
KINDS: Mapping[str, CaptionKind] = {SHORT: "short", "place": "placed", "long": "long"}


def judging(run: Run) -> list[Metric]:
    """The run's metrics that need images of prompts alone."""
    return [metric for metric in run.metrics if metric.needs <= OF_SAMPLES - {"reference", "training"}]


def to_choose_on(run: Run) -> list[str]:
    """The wordings whose images tell which of several ways to sample is best.

    Raises:
        ValueError: there is none; says which captions to train on, or how to score those that are trained on.
    """
    scored = [wording for wording in (SHORT, *WORDINGS) if any(_tells(m, wording) for m in judging(run))]
    if not scored:
        raise ValueError(
            "sampling.also.choose_on: no metric of this run says which facts an image gets right; add geneval to "
            "evaluation.metrics, or set choose_on=0"
        )
    seen = trained_on(run)
    found = [wording for wording in scored if seen is None or KINDS[wording] in seen]
    if seen is not None and not found:
        asked, shown = (" and ".join(sorted(kinds)) for kinds in ({KINDS[w] for w in scored}, seen))
        metrics = ", ".join("_".join(filter(None, ("geneval", w))) for w in KINDS if KINDS[w] in seen)
        raise ValueError(
            f"sampling.also.choose_on: the run is scored on {asked} prompts and trains on {shown} captions alone, so "
            f"that guidance would be chosen on a wording it never saw; add {metrics} to evaluation.metrics, train on "
            "such captions too (data.long_caption_share, data.placed_caption_share), or set choose_on=0"
        )
    return found


def in_wording(metric: str) -> tuple[str, str]:
    """A metric's name on short prompts, and the wording that its own name asks for, if any."""
    kind, slash, rest = metric.partition("/")
    wording = next((name for name in WORDINGS if kind.endswith(f"_{name}")), "")
    return kind.removesuffix(f"_{wording}") + slash + rest, wording


def trained_on(run: Run) -> frozenset[CaptionKind] | None:
    """The kinds of captions that training shows, this run's and that of the stages before it; None where captions or
    prompts are not the embedded world's, or where the earlier stages are not known."""
    trained = [run.config]
    if (run.folder / START).exists():
        whole = run.folder.parent / CONFIG
        if not whole.is_file():
            return None
        trained += _stages_before(read(whole), run.folder.name)
    worlds = all(sources.get(c.source.name).shows_scenes(c.source.config) for c in trained)
    if not (worlds and run.config.evaluation.asks_scenes):
        return None
    return frozenset(kind for config in trained for kind in config.data.caption_kinds)


def _stages_before(whole: RunConfig, name: str) -> list[RunConfig]:
    """What the stages before one trained on, as the arm's configuration with their source and captions."""
    found = []
    for stage in list(whole.stages.values())[: list(whole.stages).index(name)]:
        own = {} if stage.long_caption_share is None else {"long_caption_share": stage.long_caption_share}
        changed = {"source": stage.source or whole.source, "data": whole.data.model_copy(update=own)}
        found.append(whole.model_copy(update=changed))
    return found


def _tells(metric: Metric, wording: str) -> bool:
    """Whether a metric may say how much of this wording's prompts images get right; one without words may."""
    needed = f"{wording}_images" if wording else "images"
    names = {*metric.names(), *metric.words}
    return needed in metric.needs and (not names or any(name.endswith("/overall") for name in names))
