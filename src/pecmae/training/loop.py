"""One training loop for every stage: stateless batches, whole checkpoints, exact resume.

The batch of a step is a function of the seed and the step alone, so a run that was killed at any moment continues from its last
checkpoint with the same batches, masks and noise, and ends with the same weights as a run that was never interrupted.
"""

import os
import time
from collections.abc import Callable, Mapping
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

from pecmae.core.random_state import kept_random_state
from pecmae.errors import ConfigError, TrainingError
from pecmae.training.accelerators import own_accelerator
from pecmae.training.interruptions import held_back
from pecmae.training.runs import Checkpoints, History, MovingAverage, locked
from pecmae.training.settings import TrainingSettings as TrainingSettings
from pecmae.training.settings import check_real, make_optimizer, schedule


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


@kept_random_state()
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

    On return the objective holds the last weights, or their moving average when the run has finished and keeps one. A first
    Ctrl-C or SIGTERM takes effect when the step is done and stored.

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
        When the folder holds a run with other settings or is in use, or the batch does not divide among the processes.
    CheckpointError
        When the newest checkpoint cannot be read.
    TrainingError
        When the loss or a weight is no finite number any more; the last checkpoint before stays.
    """
    if stop_after is not None:
        check_real("stop_after", stop_after, 0)
    with own_accelerator(settings, accelerator) as accelerator, locked(output, accelerator), held_back() as stopped:
        if settings.batch_size % accelerator.num_processes:
            raise ConfigError(f"batch_size {settings.batch_size} does not divide among {accelerator.num_processes} processes.")
        run = None if output is None else _open_run(Path(output), settings, description or {}, accelerator)
        loop = _Loop(objective, make_batch, settings, run, accelerator)
        bar = tqdm(
            total=settings.steps, initial=loop.step, disable=not (progress and accelerator.is_main_process), mininterval=5
        )
        with bar:
            late = False
            while loop.step < settings.steps and not late:
                loop.advance()
                if after_step is not None:
                    after_step(loop.step)
                bar.update()
                overdue = stop_after is not None and loop.elapsed > 60 * stop_after
                late = _any_process(accelerator, overdue or bool(stopped))
                loop.record(late)
                bar.set_postfix({name: f"{value:.4g}" for name, value in loop.losses.items()}, refresh=False)
    return loop.result()


class _Loop:
    """The state of a call of `train`: what advances with a step."""

    def __init__(
        self,
        objective: nn.Module,
        make_batch: Callable[[StepContext], Any],
        settings: TrainingSettings,
        run: Checkpoints | None,
        accelerator: Accelerator,
    ) -> None:
        self.objective, self.make_batch, self.settings = objective, make_batch, settings
        self.run, self.accelerator = run, accelerator
        self.started = time.monotonic()
        self.wrapped, self.optimizer = accelerator.prepare(objective, make_optimizer(objective, settings))
        self.ema = MovingAverage(objective, settings.ema_decay) if settings.ema_decay is not None else None
        self.step, self.seconds_before = run.load(accelerator, self.ema) if run is not None else (0, 0.0)
        self.history = History(None if run is None else run.output / "history.json", self.step)
        self.losses = self.history.last()
        self.rate = 0.0
        self.wrapped.train()

    @property
    def elapsed(self) -> float:
        """Seconds since this call began."""
        return time.monotonic() - self.started

    def advance(self) -> None:
        """Do one step."""
        self.rate, losses = _step(self.wrapped, self.optimizer, self.make_batch, self.settings, self.step, self.accelerator)
        self.history.window.append(losses)
        if self.ema is not None:
            self.ema.update(self.objective, self.step)
        self.step += 1

    def record(self, late: bool) -> None:
        """After a step, log and store what is due; `late`: the call is about to end."""
        last = self.step == self.settings.steps
        logged = last or self.step % self.settings.log_every == 0
        stored = last or late or self.step % self.settings.checkpoint_every == 0
        if logged or stored:
            self._require_finite(weights_too=stored)
        seconds = self.seconds_before + self.elapsed
        if logged:
            self.losses = self.history.log(self.step, self.rate, seconds)
            self.accelerator.log({**self.losses, "learning_rate": self.rate}, self.step)
        if stored and self.run is not None:
            # Before the checkpoint: points that lie behind the one a run continues from are dropped, missing ones stay missing.
            if self.accelerator.is_main_process:
                self.history.write()
            self.run.save(self.accelerator, self.step, self.ema, seconds)

    def _require_finite(self, *, weights_too: bool) -> None:
        """Stop a run that diverged before its state is stored."""
        finite = bool(self.history.window[-1]["loss"].isfinite())
        if weights_too:
            finite = finite and all(bool(parameter.isfinite().all()) for parameter in self.objective.parameters())
        if finite:
            return
        newest = self.run.newest() if self.run is not None else None
        kept = f"the state before is kept in {newest}" if newest is not None else "no state before was stored"
        raise TrainingError(
            f"Training diverged by step {self.step}: the loss or a weight is no finite number any more; {kept}. Begin a run in "
            f"another folder with a learning rate below {self.settings.learning_rate:g}."
        )

    def result(self) -> TrainingResult:
        """How the call ended; the objective gets the averaged weights of a finished run."""
        finished = self.step == self.settings.steps
        if self.ema is not None and finished:
            self.ema.copy_to(self.objective)
        return TrainingResult(step=self.step, finished=finished, losses=self.losses, history=self.history.points)


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
) -> tuple[float, dict[str, torch.Tensor]]:
    """One optimizer step; returns its learning rate and losses."""
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
    return rate, {name: value.detach() for name, value in losses.items()}


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
