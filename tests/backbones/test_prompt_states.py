"""Keys and values of prompts that come again: the same conditions, computed once, whatever the order and the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_causal_lm import tiny_causal_lm

from unimm.backbones.causal_lm import CausalLM, conditions_of
from unimm.backbones.prompt_states import KEPT_BYTES, prompt_states
from unimm.backbones.wording import generation_ids

CAPTIONS = ["a red circle", "a blue square and a green star", "a ring", "two red stars"]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    return tmp_path


def frozen(**sizes: Any) -> CausalLM:
    backbone = tiny_causal_lm(**sizes).eval()
    backbone.set_trainable(False)
    return backbone


def prompts(backbone: CausalLM, captions: list[str] = CAPTIONS) -> list[list[int]]:
    return [generation_ids(backbone.tokenizer, caption) for caption in captions]


def test_conditions_and_gradients_of_queries_are_those_of_a_whole_pass():
    plain, knowing = frozen(), frozen()
    assert len({len(row) for row in prompts(plain)}) > 2
    knowing.remember(prompts(knowing), CPU)
    asked = [prompts(plain)[i] for i in (1, 0, 1, 3)]
    assert knowing.recall(asked) is not None
    expected, found = conditions_of(plain, asked), conditions_of(knowing, asked)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for states in (expected, found):
        states.square().sum().backward()
    torch.testing.assert_close(knowing.queries.grad, plain.queries.grad, atol=1e-4, rtol=1e-4)


def test_a_prompt_that_is_not_known_runs_with_its_whole_batch():
    plain, knowing = frozen(), frozen()
    knowing.remember(prompts(knowing)[:2], CPU)
    asked = prompts(plain)
    assert knowing.recall(asked) is None
    assert torch.equal(conditions_of(knowing, asked), conditions_of(plain, asked))
    knowing.forget()
    assert knowing.recall(asked[:1]) is None


def test_the_file_depends_on_the_prompts_alone_and_is_read_by_the_next_run(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second = frozen(), frozen()
    first.remember(prompts(first), CPU)
    (path,) = cache.glob("prompts-*.safetensors")
    monkeypatch.setattr("unimm.backbones.prompt_states._computed", lambda *_: pytest.fail("computed again"))
    second.remember([*prompts(second)[::-1], prompts(second)[0]], CPU)
    assert [path] == list(cache.glob("prompts-*.safetensors"))
    assert torch.equal(first.recall(prompts(first)), second.recall(prompts(second)))


def test_other_weights_settings_and_prompts_have_files_of_their_own(cache: Path):
    other = frozen()
    with torch.no_grad():
        other.model.model.norm.weight.mul_(2)
    for backbone in (frozen(), other, frozen(rope_theta=5000.0)):
        backbone.remember(prompts(backbone), CPU)
    few = frozen()
    few.remember(prompts(few)[:2], CPU)
    assert len(list(cache.glob("prompts-*.safetensors"))) == 4


@pytest.mark.parametrize(("harm", "said"), [("cut", "truncated"), ("change", "altered")])
def test_a_damaged_file_is_refused_by_name(cache: Path, harm: str, said: str):
    backbone = frozen()
    backbone.remember(prompts(backbone), CPU)
    (path,) = cache.glob("prompts-*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content[:-20] if harm == "cut" else content)
    with pytest.raises(ValueError, match=f"{path.name}.*{said}"):
        frozen().remember(prompts(backbone), CPU)


def test_what_is_too_large_or_keeps_windows_runs_as_before():
    def run(ids: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        pytest.fail("nothing is computed")

    assert prompt_states("weights", [[1, 2, 3]], run, KEPT_BYTES) is None
    windows = frozen(use_sliding_window=True, sliding_window=4, layer_types=["sliding_attention", "full_attention"])
    windows.remember(prompts(windows), CPU)
    assert windows.recall(prompts(windows)) is None


def test_under_autocast_states_have_its_type():
    plain, knowing = frozen(), frozen()
    knowing.remember(prompts(knowing), CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = (conditions_of(backbone, prompts(backbone)) for backbone in (plain, knowing))
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)


def test_a_backbone_that_trains_is_not_remembered():
    backbone = frozen()
    backbone.remember(prompts(backbone), CPU)
    backbone.set_trainable(True)
    with pytest.raises(AssertionError, match="trains"):
        conditions_of(backbone, prompts(backbone))
