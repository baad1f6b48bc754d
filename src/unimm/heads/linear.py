"""The paper's regression head: one linear map W from query states to latents, ``L = ||X - W Q||^2``."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from unimm.component_config import ComponentConfig
from unimm.components import Head


class LinearHead(Head):
    """Needs one query for each latent token; ignores noise and time, so only a regression objective may use it."""

    class Config(ComponentConfig):
        """Nothing to set: sizes follow from the backbone and the encoder."""

    one_query_a_token = True
    sees_noise = False

    def __init__(self, config: Config, channels: int, grid: tuple[int, int], condition_channels: int) -> None:
        super().__init__()
        self.tokens = grid[0] * grid[1]
        self.project = nn.Linear(condition_channels, channels)

    def forward(
        self, noisy: Float[Tensor, "b n d"], time: Float[Tensor, " b"], conditions: Float[Tensor, "b q h"]
    ) -> Float[Tensor, "b n d"]:
        if conditions.shape[1] != self.tokens:
            raise ValueError(
                f"head=linear maps each query to one token: set backbone.queries={self.tokens} "
                f"(it is {conditions.shape[1]})"
            )
        return self.project(conditions)  # type: ignore[no-any-return]
