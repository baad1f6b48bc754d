"""The ranks of a run: who this process is among them, and the few things that they do together.

A launcher (torchrun, or srun of SLURM) starts one process a GPU and names it in the environment, which Lightning's
cluster environments read. Nothing that is trained depends on the number of ranks; they share the samples of a step.
What is small, or may wait for hours, goes over a gloo group of its own, whatever carries the gradients.

Which device a run uses, in which precision, and how much memory it took.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from unimm.schema import TrainingConfig

T = TypeVar("T")
PATIENCE = timedelta(days=7)
FAILED = 1  # of a rank that ends because another one failed, whose own exit code says why


class StageOver(Exception):
    """A rank other than the first has nothing to do until the next stage trains."""


def launcher() -> ClusterEnvironment | None:
    """The environment of torchrun or SLURM, None for a process that was started by itself.

    SLURM does not requeue: the run resumes from its own checkpoint, whoever starts it again.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "SLURM_NTASKS" in os.environ and SLURMEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    return None


def ranks_started() -> int:
    """How many processes the launcher started, one without any."""
    environment = launcher()
    return 1 if environment is None else environment.world_size()


def ranks_a_node(environment: ClusterEnvironment) -> int:
    """How many ranks the launcher starts on each node."""
    if isinstance(environment, TorchElasticEnvironment):
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return environment.world_size() // int(os.environ.get("SLURM_NNODES", 1))


@dataclass(frozen=True)
class Ranks:
    """This rank among all; by default a process alone, for which everything below is immediate.

    Ranks that ``stay`` train again after a training, as stages do.
    """

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    ranks_a_node: int = 1
    group: dist.ProcessGroup | None = None
    stay: bool = False

    @property
    def first(self) -> bool:
        """Whether this rank writes the run's files."""
        return self.rank == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Ranks leave the block when all have; where one failed, it reports why and the others end with it."""
        done = False
        try:
            yield
            done = True
        finally:
            # Every rank has to come to this sum, the failing one too: the others would wait for it for days.
            (failures,) = self.sum([not done])
        # The failing rank is gone with its own exception: only the others come here.
        if failures:
            raise SystemExit(FAILED)

    def in_turns(self, work: Callable[[], T]) -> T:
        """Rank 0 works first, then one rank of every other node, then the others: they find what those left in the
        cache, which nodes may or may not share."""
        turns = (self.first, self.local_rank == 0 and not self.first, self.local_rank != 0)
        for mine in turns:
            with self.together():
                if mine:
                    result = work()
        return result

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over ranks, in float64."""
        if self.group is None:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self.group)
        return [float(value) for value in sums.tolist()]

    def gather(self, value: T) -> list[T]:
        """The values of all ranks by rank, on the first; nothing elsewhere."""
        if self.group is None:
            return [value]
        gathered: list[Any] | None = [None] * self.ranks if self.first else None
        dist.gather_object(value, gathered, dst=0, group=self.group)
        return gathered or []

    def leave(self, code: int = 0) -> None:
        """What is left to do is for one process: the first goes on alone, the others end with this exit code.

        Raises:
            SystemExit: on the others; those that stay meet the first one again, unless all were stopped.
            StageOver: on the others that stay.
        """
        if self.group is None:
            return
        dist.barrier(self.group)
        if self.stay and not code:
            if not self.first:
                raise StageOver
            return
        dist.destroy_process_group()
        if not self.first:
            raise SystemExit(code)


ALONE = Ranks()


def join(device: torch.device) -> Ranks:
    """Meet the other ranks, if a launcher started any.

    Raises:
        ValueError: more ranks on this node than GPUs.
    """
    environment = launcher()
    if environment is None or ranks_started() == 1:
        return ALONE
    here, local = ranks_a_node(environment), environment.local_rank()
    if device.type == "cuda":
        if here > torch.cuda.device_count():
            raise ValueError(
                f"{here} ranks were started on this node, which shows {torch.cuda.device_count()} GPUs to each: start "
                "one rank a GPU, and let every rank see all GPUs of its node"
            )
        torch.cuda.set_device(local)
    rank, ranks = environment.global_rank(), environment.world_size()
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=ranks)
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup), "every rank is in the group of all"
    return Ranks(rank, ranks, local, here, group)


def uses_bf16(settings: TrainingConfig, device: torch.device) -> bool:
    """Whether training computes in bfloat16; ``auto`` does on CUDA."""
    return settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda")


def autocast(settings: TrainingConfig, device: torch.device) -> torch.autocast:
    """The context in which training computes its losses."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(settings, device))
