"""Text replay: as many rows as before, a share of them text, each found by its position whatever the cut."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic
import pytest
import torch

from unimm.backbones.causal_lm import CausalLM, Row, answer_loss, build_language_model
from unimm.pretraining.tokenizer import build_tokenizer
from unimm.strategies.joint import Joint
from unimm.strategies.replay import Replay
from unimm.training.step_data import Replayed

TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 16}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}


class Positions:
    """Rows about images that name their own position."""

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[torch.Tensor]]:
        assert all(first <= after for first, after in later)
        return [Row([position], 1) for position in range(begin, end)], [torch.zeros(2, 3)] * (end - begin)


def ids(rows: list[Row]) -> list[int]:
    return sorted(row.ids[0] for row in rows)


def test_a_share_of_the_stream_is_text_wherever_it_is_cut() -> None:
    text = [Row([1000 + number], 1) for number in range(7)]
    stream = Replayed(0, Positions(), text, 0.25)
    whole, tokens = stream.between(0, 100, [])
    assert len(whole) == 100 and len(tokens) == 75
    assert [row.ids[0] for row in whole[:75]] == list(range(75)), "rows about images come first, none left out"
    assert all(row.ids[0] >= 1000 for row in whole[75:])
    parts = [stream.between(begin, end, [(end, end + 9)])[0] for begin, end in ((0, 3), (3, 3), (3, 41), (41, 100))]
    assert ids([row for part in parts for row in part]) == ids(whole)
    assert stream.between(41, 100, [])[0] == parts[-1]
    assert ids(Replayed(1, Positions(), text, 0.25).between(0, 100, [])[0]) != ids(whole), "another seed, other text"


def test_the_mix_is_joint_s_with_a_share_of_text() -> None:
    plain, replayed = Joint(Joint.Config()).mix(), Replay(Replay.Config(text_share=0.4)).mix()
    assert replayed == plain._replace(text_share=0.4) and plain.text_share == 0
    for share in (0, 1):
        with pytest.raises(pydantic.ValidationError):
            Replay.Config(text_share=share)


def test_rows_of_text_after_rows_with_images_cost_what_they_cost_alone() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = CausalLM(
        CausalLM.Config(queries=1), build_language_model(TINY | HEADS, len(tokenizer)), tokenizer, 6, seed=0
    )
    generator = torch.Generator().manual_seed(1)
    words = [torch.randint(6, 60, (length,), generator=generator).tolist() for length in (9, 50, 8, 60)]
    seeing = [Row([model.image_id, model.image_id, *own], 3) for own in words[:2]]
    text, images = [Row(own, 3) for own in words[2:]], torch.randn(2, 2, 6, generator=generator)
    both = answer_loss(model, [*seeing, *text], images)
    alone = [answer_loss(model, seeing, images), answer_loss(model, text, None)]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
