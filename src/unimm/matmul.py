"""Float32 matrix products by oneDNN on x86 processors with AVX-512 that are not Intel's.

A run on the CPU spends three fifths of its time in `aten::mm`, which torch hands to MKL, and MKL gives other makers'
processors its slower kernels: on an EPYC with AVX-512 a product of [512, 192] and [192, 512] runs at 115 GFLOP/s of one
core, and at 252 by oneDNN, which x86 builds of torch hold as well (`experiments/benchmark_matmul.py`). So `aten::mm`
gets another kernel, below autograd and FLOP counting: forward and backward passes of every layer go through it, and
nothing else changes but the rounding of sums. Other types than float32 stay with torch's own kernel. On an EPYC that
knows AVX2 only the two are level on large matrices and MKL is ahead on small ones, so it keeps them.
"""

from __future__ import annotations

from functools import cache
from inspect import signature
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

CPU_INFO = Path("/proc/cpuinfo")


@cache
def faster_products() -> bool:
    """Let oneDNN compute float32 products from here on, where that is faster; says whether it does."""
    if not (favours_onednn(CPU_INFO) and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    # Without the word, which older torch does not know, newer ones refuse to replace a kernel.
    wanted = {"allow_override": True} if "allow_override" in signature(_KERNELS.impl).parameters else {}
    for name, kernel in (("mm", product), ("mm.out", product_into)):
        _KERNELS.impl(name, kernel, "CPU", **wanted)
    return True


def favours_onednn(cpu_info: Path) -> bool:
    """Whether the processor has AVX-512 and is not Intel's; False where the system does not say."""
    lines = cpu_info.read_text().splitlines() if cpu_info.is_file() else []
    fields = {name.strip(): value.split() for name, _, value in (line.partition(":") for line in lines)}
    return "avx512f" in fields.get("flags", ()) and fields.get("vendor_id") != ["GenuineIntel"]


def product(left: Float[Tensor, "m k"], right: Float[Tensor, "k n"]) -> Float[Tensor, "m n"]:
    """The matrix product; torch's own for other types than float32 and for empty matrices."""
    if left.dtype == right.dtype == torch.float32 and left.numel() and right.numel():
        result: Tensor = torch.ops.mkldnn._linear_pointwise.default(left, right.t(), None, "none", [], "")
        return result
    return torch.addmm(left.new_zeros(()), left, right, beta=0)  # `mm` itself would come back here


def product_into(left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
    """The same, written where compiled code wants it."""
    return out.copy_(product(left, right))


# As long as this lives, so do its kernels.
_KERNELS = torch.library.Library("aten", "IMPL")
