"""One training loop for every stage: stateless batches, whole checkpoints, exact resume.

The batch of a step is a function of the seed and the step alone, so a run that was killed at any moment continues from its last
checkpoint with the same batches, masks and noise, and ends with the same weights as a run that was never interrupted.
"""

import argparse
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from pecmae.errors import CheckpointError, ConfigError

FORMAT_VERSION = 1
_UNBOUND_SETTINGS = {"checkpoint_every", "log_every", "keep_checkpoints"}  # may change between a run and its continuation


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the weights that a run ends with, and how often it writes."""

    steps: int  # optimizer steps in all; the learning-rate schedule spans them
    batch_size: int  # examples a step over all processes together
    learning_rate: float  # the peak
    schedule: str = "cosine"  # "constant" | "cosine" | "one_cycle"
    warmup_steps: int = 0  # linear rise from 0, for "constant" and "cosine"
    final_fraction: float = 0.0  # "cosine" ends at learning_rate × final_fraction
    optimizer: str = "adamw"  # "adamw": decoupled weight decay | "adam": L2 in the gradient
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    ema_decay: float | None = None  # None: no moving average of the weights
    mixed_precision: str = "no"  # "no" | "bf16" | "fp16"
    seed: int = 0
    checkpoint_every: int = 500  # steps
    log_every: int = 20  # steps that one point of history.json averages
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every", "log_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name, choices in (("schedule", _SCHEDULES), ("optimizer", ("adamw", "adam"))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}.")


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


class MovingAverage:
    """Exponential moving average of the trainable parameters of a module (a shorter memory in the first steps)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the module's weights; `step` counts from 0."""
        parameters = dict(module.named_parameters())
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.values()), [parameters[n] for n in self.average], 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Replace the module's trainable weights by the average."""
        parameters = dict(module.named_parameters())
        for name, value in self.average.items():
            parameters[name].copy_(value)


def _constant(fraction: float, settings: TrainingSettings) -> float:
    return 1.0


def _cosine(fraction: float, settings: TrainingSettings) -> float:
    return settings.final_fraction + (1 - settings.final_fraction) * (1 + math.cos(math.pi * fraction)) / 2


_SCHEDULES = {"constant": _constant, "cosine": _cosine, "one_cycle": None}


def _one_cycle(step: int, steps: int, low: float, high: float, last: float) -> float:
    """One value of torch's OneCycleLR (cosine, rise over 30 % of the steps): low → high → last."""
    peak = 0.3 * steps - 1
    if step <= peak:
        start, end, fraction = low, high, step / peak
    else:
        start, end, fraction = high, last, (step - peak) / max(1e-9, steps - 1 - peak)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def schedule(step: int, settings: TrainingSettings) -> tuple[float, float]:
    """Learning rate and first beta of the optimizer for one step.

    Parameters
    ----------
    step : int
        0-based step.
    settings : TrainingSettings
        "one_cycle" is torch's OneCycleLR with its defaults, the cycled momentum (0.85 to 0.95) included.
    """
    peak = settings.learning_rate
    if settings.schedule == "one_cycle":
        rate = _one_cycle(step, settings.steps, peak / 25, peak, peak / 25e4)
        return rate, _one_cycle(step, settings.steps, 0.95, 0.85, 0.95)
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps, settings.betas[0]
    fraction = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return peak * _SCHEDULES[settings.schedule](fraction, settings), settings.betas[0]


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


def make_optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam or AdamW over the trainable parameters."""
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    parameters = [p for p in module.parameters() if p.requires_grad]
    return kind(parameters, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay)


class Checkpoints:
    """The folder of a run: settings.json, history.json and the last whole checkpoints."""

    def __init__(self, output: Path, settings: TrainingSettings, description: Mapping[str, Any]) -> None:
        self.output, self.settings = output, settings
        self.description = {"format_version": FORMAT_VERSION, "training": asdict(settings), **description}
        self.folder = output / "checkpoints"

    def prepare(self) -> None:
        """Record the settings, or refuse to continue a run that had others."""
        path = self.output / "settings.json"
        wanted = json.loads(json.dumps(self.description))
        if self.newest() is not None and path.exists():
            before = json.loads(path.read_text())
            changed = sorted(
                key
                for key in _flatten(before).keys() | _flatten(wanted).keys()
                if _flatten(before).get(key) != _flatten(wanted).get(key) and key.split(".")[-1] not in _UNBOUND_SETTINGS
            )
            if changed:
                raise ConfigError(
                    f"{self.output}: the run there had other settings ({', '.join(changed)}); "
                    "use the same ones to continue it, or another output folder."
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob("*.partial"):  # a save that was cut off
            shutil.rmtree(leftover)
        write_json(path, wanted)

    def newest(self) -> Path | None:
        """The last whole checkpoint, None before the first."""
        found = [p for p in self.folder.glob("step_*") if re.fullmatch(r"step_\d+", p.name)]
        return max(found, key=lambda p: int(p.name.removeprefix("step_")), default=None)

    def save(self, accelerator: Accelerator, step: int, ema: MovingAverage | None, seconds: float) -> None:
        """Write under a temporary name, then rename: a checkpoint with its final name is whole."""
        target, partial = self.folder / f"step_{step}", self.folder / f"step_{step}.partial"
        if target.exists():
            return
        accelerator.save_state(str(partial))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            if ema is not None:
                save_file(ema.average, partial / "ema.safetensors")
            write_json(partial / "progress.json", {"step": step, "seconds": seconds})
            os.replace(partial, target)
            numbered = sorted(self.folder.glob("step_*"), key=lambda p: int(p.name.removeprefix("step_")))
            for old in numbered[: -self.settings.keep_checkpoints]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def load(self, accelerator: Accelerator, ema: MovingAverage | None) -> tuple[int, float]:
        """Continue from the newest checkpoint; returns its step and the seconds spent so far (0, 0 for a new run)."""
        newest = self.newest()
        if newest is None:
            return 0, 0.0
        try:
            accelerator.load_state(str(newest))
            if ema is not None:
                stored = load_file(newest / "ema.safetensors", device=str(accelerator.device))
                ema.average = {name: stored[name] for name in ema.average}
            progress = json.loads((newest / "progress.json").read_text())
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{newest}: the checkpoint cannot be read ({error}); delete this folder.") from error
        return progress["step"], progress["seconds"]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1))
    os.replace(partial, path)


class History:
    """Curves of a run: averages over windows of steps, written as history.json."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        points = json.loads(path.read_text()) if path.exists() else []
        self.points = [p for p in points if p["step"] <= step]  # a run may restart before its last logged point
        self.window: list[dict[str, Tensor]] = []

    def log(self, step: int, learning_rate: float, seconds: float) -> dict[str, float]:
        """Close the window and append its averages."""
        names = self.window[0].keys()
        losses = {n: float(torch.stack([losses[n].float() for losses in self.window]).mean()) for n in names}
        self.window = []
        self.points.append({"step": step, **losses, "learning_rate": learning_rate, "seconds": round(seconds, 1)})
        return losses


def train(
    objective: nn.Module,
    make_batch: Callable[[StepContext], Any],
    settings: TrainingSettings,
    output: str | os.PathLike[str],
    *,
    description: Mapping[str, Any] | None = None,
    stop_after: float | None = None,
    progress: bool = False,
    accelerator: Accelerator | None = None,
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
    output : path
        Folder of the run.
    description : mapping, optional
        JSON-able facts (data, sizes) that a continued run must share; stored in settings.json.
    stop_after : float, optional
        Minutes after which this call writes a checkpoint and returns early.
    progress : bool, optional
        Show a progress bar with the losses on standard error.
    accelerator : Accelerator, optional
        Default: one made from the settings.

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
    run = Checkpoints(Path(output), settings, description or {})
    if accelerator.is_main_process:
        run.prepare()
    accelerator.wait_for_everyone()
    wrapped, optimizer = accelerator.prepare(objective, make_optimizer(objective, settings))
    ema = MovingAverage(objective, settings.ema_decay) if settings.ema_decay is not None else None
    step, before = run.load(accelerator, ema)
    history = History(run.output / "history.json", step)
    losses: dict[str, float] = {}
    wrapped.train()
    bar = tqdm(total=settings.steps, initial=step, disable=not (progress and accelerator.is_main_process), mininterval=5)
    while step < settings.steps:
        rate = _step(wrapped, optimizer, make_batch, settings, step, accelerator, history)
        if ema is not None:
            ema.update(accelerator.unwrap_model(wrapped), step)
        step += 1
        bar.update()
        elapsed = time.monotonic() - started
        late = stop_after is not None and elapsed > 60 * stop_after
        if step % settings.log_every == 0 or step == settings.steps:
            losses = history.log(step, rate, before + elapsed)
            bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items()}, refresh=False)
        if step % settings.checkpoint_every == 0 or step == settings.steps or late:
            run.save(accelerator, step, ema, before + elapsed)
            if accelerator.is_main_process:
                write_json(history.path, history.points)
        if late:
            break
    bar.close()
    finished = step == settings.steps
    if ema is not None and finished:
        ema.copy_to(accelerator.unwrap_model(wrapped))
    return TrainingResult(step=step, finished=finished, losses=losses)


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
    parser.add_argument("--stop-after", type=float, metavar="MINUTES", help="end early with a checkpoint; run again to continue")


def training_settings(args: argparse.Namespace, defaults: TrainingSettings) -> TrainingSettings:
    """The preset's settings with the options that were given on the command line."""
    names = ("steps", "batch_size", "learning_rate", "mixed_precision", "checkpoint_every", "seed")
    return replace(defaults, **{name: getattr(args, name) for name in names if getattr(args, name) is not None})
