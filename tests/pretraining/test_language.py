"""The language loss: grouping rows by length changes the padding and nothing else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tiny_causal_lm import tiny_causal_lm

from unimm.backbones.causal_lm import CausalLM, Row, answer_loss, pad_left
from unimm.components import Inputs


def reference(model: CausalLM, rows: list[Row], images: torch.Tensor | None) -> torch.Tensor:
    """The mean over covered tokens, row by row and without any padding."""
    losses = []
    for number, row in enumerate(rows):
        ids, mask = pad_left([row.ids], 0)[:2]
        shown = None if images is None else images[number : number + 1]
        logits = model(Inputs(ids, mask, shown), with_queries=False).logits
        start = len(row.ids) - row.answer
        losses.append(F.cross_entropy(logits[0, start - 1 : -1], ids[0, start:], reduction="none"))
    return torch.cat(losses).mean()


def test_the_loss_is_the_mean_over_covered_tokens_of_all_lengths():
    model, generator = tiny_causal_lm(queries=1), torch.Generator().manual_seed(1)
    lengths = [(9, 2), (12, 3), (60, 40), (10, 2), (90, 70)]
    rows = [Row(torch.randint(5, 60, (n,), generator=generator).tolist(), a) for n, a in lengths]
    torch.testing.assert_close(answer_loss(model, rows, None), reference(model, rows, None))


def test_images_follow_their_rows():
    model, generator = tiny_causal_lm(queries=1), torch.Generator().manual_seed(2)
    rows = []
    for length, answer in [(9, 2), (60, 40), (12, 3)]:
        ids = torch.randint(6, 60, (length,), generator=generator).tolist()
        rows.append(Row([model.image_id, model.image_id, *ids], answer))
    images = torch.randn(3, 2, 6, generator=generator)
    torch.testing.assert_close(answer_loss(model, rows, images), reference(model, rows, images))
    assert not torch.allclose(answer_loss(model, rows, images), answer_loss(model, rows, images.flip(0)))


def test_rows_can_count_alike_however_long_their_answers_are():
    model, generator = tiny_causal_lm(queries=1), torch.Generator().manual_seed(3)
    rows = [Row(torch.randint(6, 60, (n,), generator=generator).tolist(), a) for n, a in [(9, 2), (60, 40), (12, 3)]]
    alone = torch.stack([reference(model, [row], None) for row in rows])
    torch.testing.assert_close(answer_loss(model, [row.evenly() for row in rows], None), alone.mean())
    assert not torch.allclose(alone.mean(), answer_loss(model, rows, None))


def test_a_further_question_between_two_answers_is_left_out():
    model, generator = tiny_causal_lm(queries=1), torch.Generator().manual_seed(4)
    ids = [torch.randint(6, 60, (n,), generator=generator).tolist() for n in (12, 9)]
    row, other = Row(ids[0], 7, asides=(1, 2, 5)).evenly(), Row(ids[1], 2).evenly()
    logits = model(Inputs(*pad_left([row.ids], 0)[:2], None), with_queries=False).logits[0]
    places = [5, 8, 9, 11]
    expected = F.cross_entropy(logits[[place - 1 for place in places]], torch.tensor([row.ids[p] for p in places]))
    torch.testing.assert_close(answer_loss(model, [row], None), expected)
    alone = answer_loss(model, [other], None)
    torch.testing.assert_close(answer_loss(model, [row, other], None), (expected + alone) / 2)
