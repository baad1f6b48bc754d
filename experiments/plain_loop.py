"""The loop that one would write without unimm, to compare its speed with: the libraries' modules and AdamW.

    python experiments/plain_loop.py clip_fm --steps 200

A sequential flow-matching arm's sizes and its run's own captions, but fresh weights and random latents, which cost the
same: a frozen `transformers` language model reads each padded prompt with the queries behind it in one pass, a
LuminaNextDiT2DModel of `diffusers` predicts the velocity, `torch.optim.AdamW` takes the step. Nothing is computed ahead
but latents. Prints samples a second after a quarter of the steps.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import LuminaNextDiT2DModel
from diffusers.models.embeddings import get_2d_rotary_pos_embed_lumina
from transformers import Qwen3Config, Qwen3ForCausalLM

from unimm.config import load
from unimm.heads.dit import DiffusionTransformer
from unimm.objectives.flow_matching import FlowMatching
from unimm.runs.run import Run
from unimm.training.step_data import StepData, shares, step_data

ABLATIONS = Path(__file__).parents[1] / "ablations"


class Plain(torch.nn.Module):
    """Language model, queries and head of one arm's sizes."""

    def __init__(self, language: Qwen3Config, head: DiffusionTransformer, queries: int, shift: float) -> None:
        super().__init__()
        self.language = Qwen3ForCausalLM(language).requires_grad_(False)
        self.queries = torch.nn.Parameter(0.02 * torch.randn(queries, language.hidden_size))
        self.head = LuminaNextDiT2DModel.from_config(head.model.config)
        self.grid, self.channels, self.shift = head.grid, head.channels, shift
        self.rotary = get_2d_rotary_pos_embed_lumina(head.config.width // head.config.heads, *head.grid)

    def loss(self, ids: torch.Tensor, mask: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Velocity regression; the mask is 1 for tokens and 0 for the padding on their left."""
        batch, queries = len(ids), len(self.queries)
        embedded = torch.cat([self.language.get_input_embeddings()(ids), self.queries.expand(batch, -1, -1)], 1)
        mask = torch.cat([mask, mask.new_ones(batch, queries)], 1)
        states = self.language.model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state[:, -queries:]
        states = states * (torch.rand(batch, 1, 1) >= 0.1)
        time_ = torch.sigmoid(0.4 + torch.randn(batch))
        time_ = self.shift * time_ / (1 + (self.shift - 1) * time_)
        noise, at = torch.randn_like(latents), time_[:, None, None, None]
        velocity = self.head(
            hidden_states=(1 - at) * latents + at * noise,
            timestep=1000 * time_,
            encoder_hidden_states=states,
            encoder_mask=torch.ones(batch, queries, dtype=torch.bool),
            image_rotary_emb=self.rotary,
            cross_attention_kwargs={},
            return_dict=False,
        )[0]
        return torch.nn.functional.mse_loss(velocity, noise - latents)


def prompts_of(data: StepData, step: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded ids of a step's prompts and their mask."""
    rows = data.generation(step, 0)[0]
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arm", help="a sequential arm with flow matching")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=200)
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        run = Run(load(ABLATIONS / f"{chosen.arm}.yaml", chosen.overrides), Path(folder))
        config, arm = run.config, run.arm
        data = step_data(config, arm, run.device, run.source)
    data.shares = shares(0, 1, 1)
    spec, head = arm.encoder.latent_spec(), arm.head
    objective = arm.objective
    assert isinstance(head, DiffusionTransformer), f"{chosen.arm} has another head"
    assert isinstance(objective, FlowMatching), f"{chosen.arm} has another objective"
    language = Qwen3Config(**arm.foundation.settings("language/config.json"), vocab_size=len(arm.backbone.tokenizer))
    plain = Plain(language, head, len(arm.backbone.queries), objective.alpha(spec.tokens, spec.channels))
    trained = [p for p in plain.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.95))
    batches = [prompts_of(data, step, int(arm.backbone.tokenizer.pad_token_id)) for step in range(chosen.steps)]
    for step, (ids, mask) in enumerate(batches):
        if step == chosen.steps // 4:
            clock = time.perf_counter()
        latents = torch.randn(len(ids), spec.channels, *head.grid)
        plain.loss(ids, mask, latents).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    counted = sum(len(ids) for ids, _ in batches[chosen.steps // 4 :])
    print(f"{counted / (time.perf_counter() - clock):.1f}")


if __name__ == "__main__":
    main()
