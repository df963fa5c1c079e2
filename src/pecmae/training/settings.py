"""What decides the weights that a training run ends with: its settings, learning-rate schedule and optimizer."""

import math
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import nn

from pecmae.errors import ConfigError

MIXED_PRECISIONS = ("no", "bf16", "fp16")
_CHOICES = {
    "schedule": ("constant", "cosine", "one_cycle"),
    "optimizer": ("adamw", "adam"),
    "mixed_precision": MIXED_PRECISIONS,
}
# Field → the smallest and the largest value that means something.
_WHOLE = {
    "steps": 1,
    "batch_size": 1,
    "checkpoint_every": 1,
    "log_every": 1,
    "keep_checkpoints": 1,
    "warmup_steps": 0,
    "seed": 0,
}
_REAL = {
    "learning_rate": (0.0, math.inf),
    "final_fraction": (0.0, math.inf),
    "weight_decay": (0.0, math.inf),
    "max_grad_norm": (0.0, math.inf),
    "ema_decay": (0.0, 1.0),
}


def check_whole(name: str, value: int, smallest: int) -> None:
    """Refuse what is no whole number of at least `smallest`, with a ConfigError."""
    # bool is an int in Python, but no count.
    if not isinstance(value, Integral) or isinstance(value, bool) or value < smallest:
        raise ConfigError(f"{name} is {value}; it must be a whole number of at least {smallest}.")


def check_real(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse what is no finite number from `low` to `high`, with a ConfigError."""
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        limits = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ConfigError(f"{name} is {value}; it must be a finite number {limits}.")


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
        for name, smallest in _WHOLE.items():
            check_whole(name, getattr(self, name), smallest)
        for name, (low, high) in _REAL.items():
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), low, high)
        for beta in self.betas:
            check_real("a value of betas", beta, 0.0, 1.0)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}.")


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
    if settings.schedule == "constant":
        return peak, settings.betas[0]
    fraction = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    fall = (1 + math.cos(math.pi * fraction)) / 2
    return peak * (settings.final_fraction + (1 - settings.final_fraction) * fall), settings.betas[0]


def make_optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam or AdamW over the trainable parameters."""
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    parameters = [p for p in module.parameters() if p.requires_grad]
    betas, weight_decay = settings.betas, settings.weight_decay
    return kind(parameters, lr=settings.learning_rate, betas=betas, weight_decay=weight_decay, fused=True)
