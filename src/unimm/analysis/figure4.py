"""Figure 4 of the BLIP3-o paper (arXiv 2505.09568), digitised: what the paper measured, to compare a study with.

The numbers in `blip3o_figure4.csv` are centroids of the markers in the printed figure, good to about 0.4 points of
GenEval, 0.5 of DPG-Bench and 0.9 of FID (MJHQ-30k). One run an arm, no error bars, no CLIP or diversity scores, and
the arm with VAE latents was still rising at the last checkpoint.
"""

from __future__ import annotations

import csv
from importlib.resources import files

# Metric -> whether higher is better; GenEval and DPG-Bench in percent.
METRICS = {"geneval": True, "dpg": True, "fid": False}


def curves(metric: str) -> dict[str, dict[str, float]]:
    """Training step as printed (`3k` to `33k`, in order) -> score of `vae_fm`, `clip_mse` and `clip_fm`.

    Raises:
        ValueError: a metric that the figure does not show.
    """
    if metric not in METRICS:
        raise ValueError(f"the figure shows no {metric!r}; it shows: {', '.join(METRICS)}")
    prefix = f"{metric}_"
    with (files("unimm.analysis") / "blip3o_figure4.csv").open(encoding="utf-8") as stream:
        rows = csv.DictReader(line for line in stream if not line.startswith("#"))
        return {
            row["step_label"]: {
                column.removeprefix(prefix): float(value) for column, value in row.items() if column.startswith(prefix)
            }
            for row in rows
        }


def last(metric: str) -> dict[str, float]:
    """Scores of the paper's three arms at its last checkpoint, best first."""
    *_, scores = curves(metric).values()
    return dict(sorted(scores.items(), key=lambda entry: entry[1], reverse=METRICS[metric]))


def ordering(metric: str) -> tuple[str, ...]:
    """The paper's three arms at its last checkpoint, best first."""
    return tuple(last(metric))
