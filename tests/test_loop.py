"""What the training loop refuses, keeps and leaves alone."""

import math
import os
import random
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file
from torch import Tensor, nn

from pecmae.errors import ConfigError, PecmaeError, TrainingError
from pecmae.training.accelerators import launched_precision, own_accelerator
from pecmae.training.loop import StepContext, train
from pecmae.training.runs import locked
from pecmae.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=8, batch_size=2, learning_rate=0.1, checkpoint_every=2, log_every=4)


class Value(nn.Module):
    """One weight; from `fail_at` on its loss, or its gradient, is no number."""

    def __init__(self, fail_at: int = 99, *, gradient_alone: bool = False) -> None:
        super().__init__()
        self.weight, self.fail_at, self.gradient_alone = nn.Parameter(torch.ones(1)), fail_at, gradient_alone

    def forward(self, batch: Tensor, context: StepContext) -> dict[str, Tensor]:
        loss = (self.weight - torch.rand(1)).square().sum()
        if context.step >= self.fail_at:
            # The derivative of sqrt is infinite at 0; times 0 it is none.
            loss = loss + (self.weight * 0).sqrt().sum() if self.gradient_alone else loss * math.nan
        return {"loss": loss}


def draw(context: StepContext) -> Tensor:
    return torch.zeros(1)


@pytest.mark.parametrize("gradient_alone", [False, True])
def test_a_run_that_diverges_stops_and_keeps_the_state_before(tmp_path: Path, gradient_alone: bool) -> None:
    with pytest.raises(TrainingError, match=r"diverged by step 6: .* is kept in .*step_4\. .* learning rate below 0\.1"):
        train(Value(5, gradient_alone=gradient_alone), draw, SETTINGS, tmp_path)
    checkpoints = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["step_2", "step_4"]
    assert all(value.isfinite().all() for value in load_file(checkpoints[-1] / "model.safetensors").values())


def test_a_run_without_folder_that_diverges_gives_no_weights() -> None:
    with pytest.raises(TrainingError, match="no state before was stored"):
        train(Value(7), draw, SETTINGS, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", value) for value in (0, -1, 2.5, math.nan, True)),
        *(("learning_rate", value) for value in (-1e-3, math.nan, math.inf, "0.1")),
        *(("weight_decay", -1.0), ("warmup_steps", -1), ("max_grad_norm", math.nan), ("final_fraction", -0.1), ("seed", -1)),
        *(("ema_decay", 1.5), ("betas", (0.9, 1.1)), ("batch_size", 0), ("mixed_precision", "fp8"), ("schedule", "linear")),
    ],
)
def test_settings_that_are_none_are_refused_when_they_are_made(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} is "):
        replace(SETTINGS, **{name: value})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_after_the_step_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.signal(signal.SIGTERM, lambda number, frame: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        with pytest.raises(KeyboardInterrupt):
            train(Value(), draw, SETTINGS, tmp_path, after_step=lambda step: step == 3 and os.kill(os.getpid(), number))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / "checkpoints" / "step_3").is_dir()
    assert not (tmp_path / "checkpoints" / "step_4").exists()
    continued, whole = Value(), Value()
    assert train(continued, draw, SETTINGS, tmp_path).finished
    train(whole, draw, SETTINGS, None)
    assert torch.equal(continued.weight, whole.weight)


def test_a_second_interruption_acts_at_once(tmp_path: Path) -> None:
    def twice(step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Value(), draw, SETTINGS, tmp_path, after_step=twice)
    assert not list((tmp_path / "checkpoints").iterdir())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    found: list[Exception] = []

    def second() -> None:
        try:
            train(Value(), draw, SETTINGS, tmp_path)
        except PecmaeError as error:
            found.append(error)

    with locked(tmp_path, Accelerator()):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        # The one that has it may use it in parts.
        train(Value(), draw, SETTINGS, tmp_path)
    assert "another run is using this folder" in str(found[0])
    second()
    assert len(found) == 1


def test_the_callers_random_state_stays() -> None:
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    train(Value(), draw, SETTINGS, None)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_run_has_its_own_precision_beside_the_callers_accelerator(precision: str) -> None:
    AcceleratorState._reset_state()
    mine = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=3)
    with own_accelerator(replace(SETTINGS, mixed_precision=precision)) as accelerator:
        assert accelerator.mixed_precision == precision
        assert accelerator.gradient_state.num_steps == 1
    assert mine.mixed_precision == AcceleratorState().mixed_precision == "bf16"
    assert GradientState().num_steps == 3
    AcceleratorState._reset_state()
    GradientState._reset_state()


def test_an_accelerator_of_another_precision_than_the_settings_is_refused() -> None:
    given = Accelerator()
    with pytest.raises(ConfigError, match="mixed_precision='no', the settings say 'bf16'"):
        train(Value(), draw, replace(SETTINGS, mixed_precision="bf16"), None, accelerator=given)


@pytest.mark.parametrize(
    ("asked", "launched", "expected"),
    [(None, "no", None), ("bf16", "no", "bf16"), (None, "fp16", "fp16"), ("bf16", "bf16", "bf16")],
)
def test_the_precision_of_the_launcher_is_honoured(asked: str | None, launched: str, expected: str | None) -> None:
    assert launched_precision(asked, {"ACCELERATE_MIXED_PRECISION": launched}) == expected
    assert launched_precision(asked, {}) == asked


@pytest.mark.parametrize(
    ("asked", "environment", "message"),
    [
        (
            "no",
            {"ACCELERATE_MIXED_PRECISION": "bf16"},
            "accelerate launch says mixed_precision=bf16, --mixed-precision says no",
        ),
        (None, {"ACCELERATE_MIXED_PRECISION": "fp8"}, "this trains with no, bf16, fp16"),
        (None, {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "accumulate gradients, which has no effect"),
    ],
)
def test_what_the_launcher_asks_for_in_vain_is_refused(asked: str | None, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        launched_precision(asked, environment)
