"""One training loop for every stage: stateless batches, whole checkpoints, exact resume.

The batch of a step is a function of the seed and the step alone, so a run that was killed at any moment continues from its last
checkpoint with the same batches, masks and noise, and ends with the same weights as a run that was never interrupted.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from pecmae.errors import ConfigError
from pecmae.training.runs import Checkpoints, History, MovingAverage
from pecmae.training.settings import TrainingSettings as TrainingSettings
from pecmae.training.settings import make_optimizer, schedule


@dataclass(frozen=True)
class StepContext:
    """Where a step stands, and the only sources of chance it may use."""

    step: int  # 0-based
    steps: int
    rows: slice  # this process's rows of the global batch
    draws: np.random.Generator  # alike on every process: which clips, which offsets
    generator: torch.Generator  # of this process, on its device: noise, masks
    device: torch.device


@dataclass(frozen=True)
class TrainingResult:
    """How a call of `train` ended."""

    step: int  # optimizer steps done in all
    finished: bool
    losses: dict[str, float]  # averages of the last logged window
    history: list[dict[str, float]]  # what history.json holds


def step_context(step: int, settings: TrainingSettings, accelerator: Accelerator) -> StepContext:
    """Everything random about one step, from the seed, the step and the process."""
    rank, world = accelerator.process_index, accelerator.num_processes
    per_process = settings.batch_size // world
    words = np.random.SeedSequence([settings.seed, step, rank]).generate_state(2, np.uint64)
    torch.manual_seed(int(words[0] >> 1))  # dropout has no generator argument
    generator = torch.Generator(accelerator.device).manual_seed(int(words[1] >> 1))
    return StepContext(
        step=step,
        steps=settings.steps,
        rows=slice(rank * per_process, (rank + 1) * per_process),
        draws=np.random.default_rng([settings.seed, step]),
        generator=generator,
        device=accelerator.device,
    )


def train(
    objective: nn.Module,
    make_batch: Callable[[StepContext], Any],
    settings: TrainingSettings,
    output: str | os.PathLike[str] | None,
    *,
    description: Mapping[str, Any] | None = None,
    stop_after: float | None = None,
    progress: bool = False,
    accelerator: Accelerator | None = None,
    after_step: Callable[[int], None] | None = None,
) -> TrainingResult:
    """Train a module, continuing the run found in the output folder.

    On return the objective holds the last weights, or their moving average when the run has finished and keeps one.

    Parameters
    ----------
    objective : nn.Module
        `objective(batch, context)` returns a dict of scalar tensors; "loss" is minimised, the rest is logged.
    make_batch : callable
        From a `StepContext` to this process's part of the batch (tensors on `context.device`). It must be a function
        of the context alone.
    settings : TrainingSettings
        Schedule, optimizer, seed and intervals.
    output : path or None
        Folder of the run; None writes nothing.
    description : mapping, optional
        JSON-able facts (data, sizes) that a continued run must share; stored in settings.json.
    stop_after : float, optional
        Minutes after which this call writes a checkpoint and returns early.
    progress : bool, optional
        Show a progress bar with the losses on standard error.
    accelerator : Accelerator, optional
        Default: one made from the settings.
    after_step : callable, optional
        Called with the number of steps done, on every process; what it changes must lie in the objective's state.

    Raises
    ------
    ConfigError
        When the folder holds a run with other settings, or the batch does not divide among the processes.
    CheckpointError
        When the newest checkpoint cannot be read.
    """
    accelerator = accelerator or Accelerator(mixed_precision=settings.mixed_precision)
    if settings.batch_size % accelerator.num_processes:
        raise ConfigError(f"batch_size {settings.batch_size} does not divide among {accelerator.num_processes} processes.")
    started = time.monotonic()
    run = None if output is None else _open_run(Path(output), settings, description or {}, accelerator)
    wrapped, optimizer = accelerator.prepare(objective, make_optimizer(objective, settings))
    ema = MovingAverage(objective, settings.ema_decay) if settings.ema_decay is not None else None
    step, before = run.load(accelerator, ema) if run is not None else (0, 0.0)
    history = History(None if run is None else run.output / "history.json", step)
    losses = history.last()
    wrapped.train()
    bar = tqdm(total=settings.steps, initial=step, disable=not (progress and accelerator.is_main_process), mininterval=5)
    late = False
    while step < settings.steps and not late:
        rate = _step(wrapped, optimizer, make_batch, settings, step, accelerator, history)
        if ema is not None:
            ema.update(objective, step)
        step += 1
        if after_step is not None:
            after_step(step)
        bar.update()
        elapsed = time.monotonic() - started
        late = stop_after is not None and _any_process(accelerator, elapsed > 60 * stop_after)
        if step % settings.log_every == 0 or step == settings.steps:
            losses = history.log(step, rate, before + elapsed)
            accelerator.log({**losses, "learning_rate": rate}, step)
            bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items()}, refresh=False)
        if run is not None and (step % settings.checkpoint_every == 0 or step == settings.steps or late):
            # Before the checkpoint: points that lie behind the one a run continues from are dropped, missing ones stay missing.
            if accelerator.is_main_process:
                history.write()
            run.save(accelerator, step, ema, before + elapsed)
    bar.close()
    finished = step == settings.steps
    if ema is not None and finished:
        ema.copy_to(objective)
    return TrainingResult(step=step, finished=finished, losses=losses, history=history.points)


def _open_run(
    output: Path, settings: TrainingSettings, description: Mapping[str, Any], accelerator: Accelerator
) -> Checkpoints:
    """The folder of the run, prepared by the first process."""
    run = Checkpoints(output, {"training": asdict(settings), **description}, settings.keep_checkpoints)
    if accelerator.is_main_process:
        run.prepare()
    accelerator.wait_for_everyone()
    return run


def _attention_kernel(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the plain attention: at these lengths its backward pass is much faster than the fused one's."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set on any process: their clocks differ, and all must stop at the same step."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum") > 0)


def _step(
    wrapped: nn.Module,
    optimizer: torch.optim.Optimizer,
    make_batch: Callable[[StepContext], Any],
    settings: TrainingSettings,
    step: int,
    accelerator: Accelerator,
    history: History,
) -> float:
    """One optimizer step; returns its learning rate."""
    context = step_context(step, settings, accelerator)
    rate, beta = schedule(step, settings)
    for group in optimizer.param_groups:
        group["lr"], group["betas"] = rate, (beta, settings.betas[1])
    with _attention_kernel(accelerator.device):
        losses = wrapped(make_batch(context), context)
        accelerator.backward(losses["loss"])
    if settings.max_grad_norm is not None:
        accelerator.clip_grad_norm_(wrapped.parameters(), settings.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    history.window.append({name: value.detach() for name, value in losses.items()})
    return rate


def add_training_arguments(parser: argparse.ArgumentParser, presets: Iterable[str]) -> None:
    """The options that every training script shares."""
    parser.add_argument("--output", required=True, help="folder of the run; a run found there is continued")
    parser.add_argument("--preset", choices=list(presets), default="mini", help="sizes and settings (default: mini)")
    parser.add_argument("--steps", type=int, help="optimizer steps in all")
    parser.add_argument("--batch-size", type=int, help="examples a step over all processes")
    parser.add_argument("--learning-rate", type=float, help="peak learning rate")
    parser.add_argument("--mixed-precision", choices=["no", "bf16", "fp16"], help="arithmetic of the networks")
    parser.add_argument("--checkpoint-every", type=int, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, help="seed of weights, batches, masks and noise (default: 0)")
    parser.add_argument(
        "--stop-after", type=float, metavar="MINUTES", help="end early with a checkpoint; run again to continue"
    )


def training_settings(args: argparse.Namespace, defaults: TrainingSettings) -> TrainingSettings:
    """The preset's settings with the options that were given on the command line."""
    names = ("steps", "batch_size", "learning_rate", "mixed_precision", "checkpoint_every", "seed")
    return replace(defaults, **{name: getattr(args, name) for name in names if getattr(args, name) is not None})


def evaluate(
    objective: nn.Module,
    make_batch: Callable[[StepContext], Any],
    settings: TrainingSettings,
    batches: int,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Average losses of a module over batches that are the same at every call, without learning from them."""
    objective.eval()
    held_out = replace(settings, seed=settings.seed + 1, steps=batches)
    sums: dict[str, float] = {}
    with torch.no_grad():
        for step in range(batches):
            context = step_context(step, held_out, accelerator)
            for name, value in objective(make_batch(context), context).items():
                sums[name] = sums.get(name, 0.0) + float(value)
    return {name: value / batches for name, value in sums.items()}
