"""A trial looks at validation prompts in the wording that its metric names, and judges them on the same facts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unimm.config import load
from unimm.runs.run import Run
from unimm.runs.trial import Judge, _check_tunable
from unimm.runs.wordings import in_wording

ARM = Path(__file__).parents[2] / "ablations" / "vae_fm.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = load(ARM, ["profile=tiny", "evaluation.curve_prompts=2"])
    return Run(config, tmp_path_factory.mktemp("run"), torch.device("cpu"))


@pytest.mark.parametrize(
    ("metric", "plain", "wording"),
    [
        ("atoms/overall", "atoms/overall", ""),
        ("atoms_long/overall", "atoms/overall", "long"),
        ("geneval_place/overall", "geneval/overall", "place"),
        ("geneval[some_long]/overall", "geneval[some_long]/overall", ""),
    ],
)
def test_a_name_says_the_wording(metric: str, plain: str, wording: str) -> None:
    assert in_wording(metric) == (plain, wording)


@pytest.mark.parametrize("wording", ["place", "long"])
def test_worded_prompts_ask_for_the_same_facts_in_more_words(run: Run, wording: str) -> None:
    short, worded = Judge(run, "atoms/overall"), Judge(run, f"atoms_{wording}/overall")
    assert worded.images == short.images == 12
    for plain, longer in zip(short.prompts, worded.prompts, strict=True):
        assert {**longer, "prompt": plain["prompt"]} == plain
        assert len(str(longer["prompt"])) > len(str(plain["prompt"]))


def test_a_wording_is_offered_where_the_world_knows_the_prompts(run: Run) -> None:
    _check_tunable(run, "atoms_long/overall")
    with pytest.raises(ValueError, match=r"atoms_longer/overall is no score.*atoms_long/overall"):
        _check_tunable(run, "atoms_longer/overall")
