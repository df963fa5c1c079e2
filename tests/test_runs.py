"""The moving average of weights, and what a step may draw from."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pecmae.training.loop import StepContext, evaluate, step_context
from pecmae.training.runs import MovingAverage
from pecmae.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=6, batch_size=4, learning_rate=0.1)


class Value(nn.Module):
    """One number that learns, one that is frozen."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.learning = nn.Parameter(torch.tensor([value]))
        self.frozen = nn.Parameter(torch.tensor([value]), requires_grad=False)


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (1, 2 / 11), (80, 0.9), (81, 0.9), (10_000, 0.9)])
def test_the_average_keeps_its_decay_and_less_in_the_first_steps(step, share):
    module = Value(1.0)
    average = MovingAverage(module, decay=0.9)
    with torch.no_grad():
        module.learning.fill_(2.0)
    average.update(module, step)
    assert average.average["learning"].item() == pytest.approx(share * 1.0 + (1 - share) * 2.0)
    assert module.learning.item() == 2.0
    average.copy_to(module)
    assert module.learning.item() == pytest.approx(2 - share)
    assert module.frozen.item() == 1.0
    assert "frozen" not in average.average


def context_of(step: int, settings: TrainingSettings = SETTINGS, rank: int = 0, world: int = 1) -> StepContext:
    """Context of a step on one of several processes."""
    return step_context(step, settings, SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu")))


def numbers(step: int, settings: TrainingSettings = SETTINGS, **process: int) -> tuple[float, float, float]:
    """What a step draws: alike on all processes, of its process, and from torch's own state."""
    context = context_of(step, settings, **process)
    return float(context.draws.random()), float(torch.rand((), generator=context.generator)), float(torch.rand(()))


@pytest.mark.parametrize("other", [{"step": 1}, {"settings": replace(SETTINGS, seed=1)}])
def test_a_step_s_chance_comes_from_the_seed_and_the_step(other):
    first, again, changed = numbers(0), numbers(0), numbers(**{"step": 0, **other})
    assert first == again
    assert all(a != b for a, b in zip(first, changed, strict=True))
    assert len(set(first)) == 3


def test_processes_draw_the_same_batch_and_noise_of_their_own():
    first, second = (numbers(3, rank=rank, world=2) for rank in (0, 1))
    assert first[0] == second[0]
    assert first[1] != second[1]
    rows = [list(range(4))[context_of(0, rank=rank, world=2).rows] for rank in (0, 1)]
    assert rows == [[0, 1], [2, 3]]


class Noise(nn.Module):
    """A loss that is what the context draws, and whether the module is training."""

    def forward(self, batch: torch.Tensor, context: StepContext) -> dict[str, torch.Tensor]:
        return {"loss": batch.mean(), "training": torch.tensor(float(self.training))}


def test_measuring_averages_batches_that_training_does_not_draw():
    drawn: list[float] = []

    def make_batch(context: StepContext) -> torch.Tensor:
        drawn.append(float(context.draws.random()))
        return torch.tensor(drawn[-1:])

    found, again = (evaluate(Noise(), make_batch, SETTINGS, 3, Accelerator(cpu=True)) for _ in range(2))
    assert found == again == {"loss": pytest.approx(np.mean(drawn[:3])), "training": 0.0}
    assert len(set(drawn[:3])) == 3
    assert not set(drawn) & {numbers(step)[0] for step in range(3)}
