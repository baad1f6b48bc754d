"""`unimm judge`: try judges on pictures whose content is known, before they decide anything."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimm.user_errors import user_errors

if TYPE_CHECKING:
    from unimm.evaluation.fact_card import Tried

NEVER = "-"


def judge(
    folder: Annotated[Path | None, typer.Argument(help="Folder of the labelled pictures.", metavar="[DIR]")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="JSONL: {file, objects: [{class, color, box}]} a picture.", metavar="FILE")
    ] = None,
    detector: Annotated[
        list[str] | None, typer.Option(help="A judge, as in 'mask2former source=DIR colours=DIR'; repeatable.")
    ] = None,
    clip: Annotated[
        list[str] | None,
        typer.Option(help="A CLIP that scores, asked for the better caption; repeatable.", metavar="open_clip:DIR"),
    ] = None,
    scenes: Annotated[
        str | None, typer.Option(help="Instead of a folder, scenes of this world.", metavar="WORLD")
    ] = None,
    side: Annotated[int | None, typer.Option(help="Shrink larger pictures to this short side.", min=8)] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the cards to this JSON file.")] = None,
) -> None:
    """Try judges on pictures whose content is known: accuracy by kind of fact, false finds, thresholds, agreement."""
    with user_errors():
        if (scenes is None) == (folder is None) or (folder is None) != (labels is None) or not (detector or clip):
            raise ValueError(
                "give a folder with --labels FILE, or --scenes WORLD; and --detector or --clip for each judge"
            )
        from unimm.evaluation.fact_card import agreement, try_evaluator, try_judge
        from unimm.evaluation.labelled import labelled_scenes, read_labels
        from unimm.evaluation.metrics.own_clip import OwnClip
        from unimm.evaluation.suite import choose
        from unimm.files import write_json
        from unimm.scenes.world import world
        from unimm.schema import clip_folder

        if folder is not None and labels is not None:
            pictures = read_labels(folder, labels, side)
        else:
            pictures = labelled_scenes(world(str(scenes)), side or 64)
        judges = [choose(text) for text in detector or ()]
        clips = [OwnClip(clip_folder(text)) for text in clip or ()]
        names = [*(judge.name for judge in judges), *(own.name for own in clips)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two judges are called {twice}: give their folders other names")
        tried = {judge.name: try_judge(judge, pictures) for judge in judges}
        tried |= {own.name: try_evaluator(own, pictures) for own in clips}
        alphas = {pair: agreement([tried[name] for name in pair]) for pair in combinations(tried, 2)}
        for name, one in tried.items():
            typer.echo(shown(name, one))
        for pair, alpha in alphas.items():
            said = "cannot be said: both answer everything alike" if alpha is None else f"{alpha:.3f}"
            typer.echo(f"{' and '.join(pair)}: Krippendorff's alpha {said}")
        if out is not None:
            cards = {name: one.card.model_dump(mode="json") for name, one in tried.items()}
            pairs = [{"judges": list(pair), "krippendorff_alpha": alpha} for pair, alpha in alphas.items()]
            write_json(out, {"cards": cards, "agreement": pairs})


def shown(name: str, tried: Tried) -> str:
    """The card as lines of text."""
    from unimm.analysis.judging import failures

    card = tried.card
    wrong = failures(card)
    lines = [
        f"{name} on {card.source}: " + (f"fails ({'; '.join(wrong)})" if wrong else "passes"),
        f"{'facts':<12}{'true':>7}{'false':>7}{'accuracy':>10}{'missed':>9}{'false finds':>13}",
    ]
    for kind, read in card.kinds.items():
        rates = f"{read.accuracy:>10.3f}{read.missed:>9.3f}{read.false_finds:>13.3f}"
        lines.append(f"{kind:<12}{read.true:>7,}{read.false:>7,}{rates}")
    if card.thresholds:
        lines.append(f"{'threshold':<12}{'count':>14}{'all others':>12}  (accuracy)")
    for row in card.thresholds:
        count, others = (NEVER if value is None else f"{value:.3f}" for value in (row.count, row.others))
        lines.append(f"{row.threshold:<12g}{count:>14}{others:>12}")
    return "\n".join(lines) + "\n"
