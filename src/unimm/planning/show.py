"""A plan on the terminal, four small tables and below them what was assumed, and as facts for scripts."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unimm.planning.plan import ArmPlan

GIB = 2**30


def show(plan: ArmPlan, console: Console | None = None) -> None:
    """Print the plan."""
    console = console or Console()
    title = f"{plan.config.name} on {plan.gpus} x {plan.device.name}"
    console.print(Text(title, style="bold"))
    for table in (_parameters(plan), _work(plan), _memory(plan), _time(plan)):
        console.print(table)
    for line in assumptions(plan):
        console.print(Text(f"- {line}"), soft_wrap=True)


def facts(plan: ArmPlan) -> dict[str, Any]:
    """The plan for scripts: bytes, FLOPs, samples a second and days, unrounded."""
    tokens, channels = plan.latents
    pace = {"latents_cached": plan.work.cached, "latents_encoded": plan.work.encoding}
    memory = {"replicated": plan.replicated, "sharded": plan.sharded}
    return {
        "name": plan.config.name,
        "device": plan.device.model_dump(),
        "gpus": plan.gpus,
        "samples": plan.samples,
        "utilisation": plan.utilisation,
        "resolution": plan.resolution,
        "latents": {"tokens": tokens, "channels": channels},
        "parameters": {part.name: {"trained": part.trained, "frozen": part.frozen} for part in plan.parts},
        "flops_a_sample": {**plan.work._asdict(), **pace},
        "bytes_a_gpu": {
            name: {**kind._asdict(), "all": kind.total, "samples_that_fit": plan.fitting(kind)}
            for name, kind in memory.items()
        },
        "encoder_bytes": plan.encoder_bytes,
        "samples_a_second": {name: plan.rate(flops, plan.utilisation) for name, flops in pace.items()},
        "samples_a_second_at_peak": {name: plan.rate(flops) for name, flops in pace.items()},
        "days": {name: plan.days(flops, plan.utilisation) for name, flops in pace.items()},
        "days_at_peak": {name: plan.days(flops) for name, flops in pace.items()},
        "assumptions": assumptions(plan),
    }


def _parameters(plan: ArmPlan) -> Table:
    table = _table("parameters (millions)", "trained", "frozen")
    for part in plan.parts:
        table.add_row(part.name, *(_millions(count) for count in (part.trained, part.frozen)))
    trained, frozen = (sum(counts) for counts in zip(*(part[1:] for part in plan.parts), strict=True))
    table.add_row("all", _millions(trained), _millions(frozen), style="bold")
    return table


def _work(plan: ArmPlan) -> Table:
    table = _table("GFLOP a training sample", "latents cached", "latents encoded")
    shown = {"encoder": (0, plan.work.encoder)}
    shown |= {name: (value, value) for name, value in plan.work._asdict().items() if name != "encoder"}
    shown |= {"all": (plan.work.cached, plan.work.encoding)}
    for name, values in shown.items():
        if any(values):
            table.add_row(name, *(_number(value / 1e9) for value in values), style="bold" if name == "all" else "")
    return table


def _memory(plan: ArmPlan) -> Table:
    table = _table("GiB on each GPU", "replicated (DDP)", "sharded (FSDP)")
    for name in plan.replicated._fields:
        table.add_row(name, *(_number(getattr(kind, name) / GIB) for kind in (plan.replicated, plan.sharded)))
    totals = (plan.replicated.total, plan.sharded.total)
    table.add_row("all", *(_fits(plan, total) for total in totals), style="bold")
    table.add_row("samples at once that fit", *(f"{plan.fitting(kind):,}" for kind in (plan.replicated, plan.sharded)))
    table.add_row("and, where images are encoded", *(f"+ {_number(plan.encoder_bytes / GIB)}",) * 2)
    return table


def _time(plan: ArmPlan) -> Table:
    used = f"{plan.utilisation:.0%}"
    table = _table(f"{plan.samples:,} samples", "latents cached", "latents encoded")
    flops = (plan.work.cached, plan.work.encoding)
    table.add_row("samples/s, at the peak (no run is faster)", *(_number(plan.rate(value)) for value in flops))
    table.add_row(f"samples/s, at {used} of it", *(_number(plan.rate(value, plan.utilisation)) for value in flops))
    table.add_row("days, at the peak", *(_number(plan.days(value)) for value in flops))
    table.add_row(f"days, at {used} of it", *(_number(plan.days(value, plan.utilisation)) for value in flops))
    return table


def assumptions(plan: ArmPlan) -> list[str]:
    """What the numbers rest on, a sentence each."""
    tokens, channels = plan.latents
    autocast = "" if plan.config.training.precision == "fp32" else "; under autocast some take half"
    return [
        f"Target: {tokens} tokens x {channels} channels, {tokens * channels * 4 / 1024:,.0f} KiB an image in a cache.",
        f"Images: {plan.resolution} pixels a side (source.resolution), which the encoder gets as they are or resizes.",
        f"Peak: {plan.device.peak_tflops:,} TFLOP/s, {plan.device.source}.",
        f"Batch: {plan.config.training.batch_size} samples a step, {plan.micro_batch} on each GPU at a time (micro-"
        f"batches: {plan.config.training.gradient_accumulation_steps}), no gradient checkpointing.",
        f"Prompts: {plan.prompt} tokens on average, their template included, without padding.",
        f"Activations: {sum(plan.kept) / 2**20:,.0f} MiB a sample, every kept value in 4 bytes{autocast}.",
        "AdamW with float32 weights, gradients, moments and moving average: 20 bytes a trained parameter; a frozen one "
        "takes what its checkpoint's type takes.",
        "Not counted: communication, data loading, optimiser steps, validation, buffers of the allocator.",
    ]


def _table(title: str, *columns: str) -> Table:
    table = Table(box=SIMPLE)
    table.add_column(title, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f}" if count >= 50_000 else ""


def _fits(plan: ArmPlan, total: int) -> str:
    return f"{_number(total / GIB)} of {plan.device.memory_gb * 1e9 / GIB:,.0f}"
