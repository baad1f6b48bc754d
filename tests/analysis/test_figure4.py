"""The paper's digitised figure: shape, values at the last checkpoint, order of the arms."""

from __future__ import annotations

import pytest

from unimm.analysis.figure4 import curves, ordering


def test_the_paper_ranks_its_arms_oppositely_by_alignment_and_by_distance() -> None:
    assert ordering("geneval") == ordering("dpg") == ("clip_fm", "clip_mse", "vae_fm")
    assert ordering("fid") == ("vae_fm", "clip_fm", "clip_mse")


def test_curves_have_ten_checkpoints() -> None:
    points = curves("geneval")
    first, *_, last = points
    assert (first, last, len(points)) == ("3k", "33k", 10)
    assert points["33k"] == {"vae_fm": 21.4, "clip_mse": 30.0, "clip_fm": 31.9}


def test_what_the_figure_does_not_show() -> None:
    with pytest.raises(ValueError, match="no 'clip_score'; it shows: geneval, dpg, fid"):
        ordering("clip_score")
