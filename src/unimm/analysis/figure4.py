"""Figure 4 of the BLIP3-o paper (arXiv 2505.09568), digitised: what the paper measured, to compare a study with.

The numbers in `blip3o_figure4.csv` are centroids of the markers in the printed figure, good to about 0.4 points of
GenEval, 0.5 of DPG-Bench and 0.9 of FID (MJHQ-30k). One run an arm, no error bars, no CLIP or diversity scores, and
the arm with VAE latents was still rising at the last checkpoint.
"""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

# Metric -> whether higher is better; GenEval and DPG-Bench in percent.
METRICS = {"geneval": True, "dpg": True, "fid": False}


def curves(metric: str) -> pd.DataFrame:
    """Scores of the arms `vae_fm`, `clip_mse` and `clip_fm` (columns) by training step as printed (`3k` to `33k`).

    Raises:
        ValueError: a metric that the figure does not show.
    """
    if metric not in METRICS:
        raise ValueError(f"the figure shows no {metric!r}; it shows: {', '.join(METRICS)}")
    with (files("unimm.analysis") / "blip3o_figure4.csv").open(encoding="utf-8") as stream:
        table = pd.read_csv(stream, comment="#", index_col="step_label")
    return table.filter(regex=f"^{metric}_").rename(columns=lambda name: name.removeprefix(f"{metric}_"))


def ordering(metric: str) -> tuple[str, ...]:
    """The paper's three arms at its last checkpoint, best first."""
    last = curves(metric).iloc[-1].sort_values(ascending=not METRICS[metric])
    return tuple(str(arm) for arm in last.index)
