"""Rate of float32 products of the nano arms' sizes on one core: torch's own against oneDNN's (`unimm.matmul`).

python experiments/benchmark_matmul.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from unimm.matmul import product

SIZES = ((512, 192, 192), (512, 192, 512), (512, 512, 192), (192, 512, 512), (32, 192, 768))
REPEATS = 300


def rate(multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], m: int, k: int, n: int) -> float:
    """GFLOP/s of the fastest of many products of [m, k] and [k, n]."""
    left, right, best = torch.randn(m, k), torch.randn(k, n), float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        multiply(left, right)
        best = min(best, time.perf_counter() - begun)
    return 2 * m * k * n / best / 1e9


def main() -> None:
    torch.set_num_threads(1)
    print("| m, k, n | torch's own, GFLOP/s | oneDNN, GFLOP/s |\n| --- | --- | --- |")
    for size in SIZES:
        print(f"| {size} | {rate(torch.mm, *size):.0f} | {rate(product, *size):.0f} |")


if __name__ == "__main__":
    main()
