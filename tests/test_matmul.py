"""Products by oneDNN: numpy's numbers in double precision, whatever the layout; torch's own for all other types."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from unimm.matmul import favours_onednn, product, product_into

LAYOUTS = {"plain": lambda x: x.contiguous(), "turned": lambda x: x.t().contiguous().t(), "part": lambda x: padded(x)}


def padded(x: torch.Tensor) -> torch.Tensor:
    """The same numbers as a view into a wider matrix."""
    wide = torch.full((len(x), 2 * x.shape[1] + 3), torch.nan)
    wide[:, 1 : x.shape[1] + 1] = x
    return wide[:, 1 : x.shape[1] + 1]


@pytest.mark.parametrize(("left", "right"), [*itertools.product(LAYOUTS, LAYOUTS)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 7, 3), (64, 192, 48), (1, 33, 9), (33, 1, 9)])
def test_products_are_those_of_double_precision(left: str, right: str, sizes: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(sum(sizes))
    m, k, n = sizes
    a, b = torch.randn(m, k, generator=generator), torch.randn(k, n, generator=generator)
    expected = a.double().numpy() @ b.double().numpy()
    given = LAYOUTS[left](a), LAYOUTS[right](b)
    np.testing.assert_allclose(product(*given).numpy(), expected, atol=2e-5, rtol=2e-5)
    out = padded(torch.zeros(m, n))
    assert product_into(*given, out=out) is out
    np.testing.assert_allclose(out.numpy(), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.int64, torch.complex64])
def test_other_types_are_torchs_own(kind: torch.dtype) -> None:
    a, b = (torch.arange(6).reshape(shape).to(kind) for shape in ((2, 3), (3, 2)))
    found = product(a, b)
    assert found.dtype == kind and found.tolist() == [[10, 13], [28, 40]]


@pytest.mark.parametrize(("m", "k", "n"), [(0, 3, 2), (2, 0, 3), (2, 3, 0)])
def test_empty_matrices(m: int, k: int, n: int) -> None:
    assert torch.equal(product(torch.zeros(m, k), torch.zeros(k, n)), torch.zeros(m, n))


def test_only_processors_of_other_makers_with_avx512_take_it(tmp_path: Path) -> None:
    cases = {
        "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512f avx512dq": True,
        "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2": False,
        "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 avx512f": False,
        "CPU implementer\t: 0x41\nFeatures\t: fp asimd": False,
    }
    for text, expected in cases.items():
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{text}\n" * 2)
        assert favours_onednn(tmp_path / "cpuinfo") is expected
    assert not favours_onednn(tmp_path / "absent")


INSTALLED = """
import torch
from unimm import matmul
torch.manual_seed(0)
layer, x = torch.nn.Linear(48, 24, bias=False), torch.randn(5, 48, requires_grad=True)
def passes():
    layer.zero_grad(); x.grad = None
    layer(x).square().sum().backward()
    return layer.weight.grad.clone(), x.grad.clone()
before = passes()
matmul.favours_onednn = lambda path: True
print(matmul.faster_products(), matmul.faster_products())
after = passes()
for a, b in zip(before, after):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
from unimm.flops import count_flops
x.requires_grad_(False)
print(count_flops(lambda: layer(x)), 2 * 5 * 48 * 24)
with torch.inference_mode():
    layer(x)
with torch.autocast("cpu", dtype=torch.bfloat16):
    assert layer(x).dtype == torch.bfloat16
with torch.profiler.profile() as profile:
    layer(x)
print("mkldnn::_linear_pointwise" in {event.name for event in profile.events()})
"""


def test_layers_go_through_it_forwards_backwards_and_are_counted() -> None:
    """In a process of its own, as a kernel cannot be taken back."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    done = subprocess.run([sys.executable, "-c", INSTALLED], capture_output=True, text=True, check=True)
    installed, flops, used = done.stdout.split("\n")[:3]
    assert installed == "True True" and used == "True"
    assert len(set(flops.split())) == 1
    assert "overrid" not in done.stderr.lower()
