"""The sampler of the v-diffusion: from noise at sigma = 1 to codec features at sigma = 0.

In the paper's letters: angle = sigma · π/2, alpha = cos(angle), beta = sin(angle), x = alpha · x0 + beta · noise,
v = alpha · noise - beta · x0. The exact flow is dx/d(angle) = v.

Where x0 and noise do not change, x'' = -x in the angle: x turns like a pendulum, and one step of DDIM is that turn. "multistep"
writes the flow as x'' + x = g. Over a step d that begins with g and in which g changes by g' with the angle,

    x(angle + d) = cos d · x + sin d · v + (1 - cos d) · g + (d - sin d) · g'
    v(angle + d) = cos d · v - sin d · x + sin d · g + (1 - cos d) · g'

so the network's next v tells the mean g of the step just made, and the step before it g'. The step is corrected with both (a
corrector that costs no call of the network, as in UniPC, Zhao et al. 2023, arXiv 2302.04867); the next one is predicted with
the mean g, kept constant. In the angle nothing is singular at either end, whereas the log-SNR, in which "dpmsolver++"
extrapolates, is infinite at both.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pecmae.core.configs import read_json
from pecmae.errors import ConfigError

ALGORITHM_TYPES = ("ddim", "dpmsolver++", "multistep")
# As diffusers calls it, which writes it.
CONFIG_FILE = "scheduler_config.json"


@dataclass(frozen=True)
class _Turn:
    """What the step after needs to know of a step."""

    # Its own, and that of the step before it, 0 where there was none.
    angle: float
    angle_before: float
    # The mean g it was predicted with, and the v to expect at its end were g zero.
    g: Tensor
    expected_v: Tensor


class VDiffusionSolver:
    """The arithmetic of `VDiffusionScheduler`, without diffusers, whose import takes longer than the work of a small model.

    Parameters
    ----------
    algorithm_type : {"multistep", "dpmsolver++", "ddim"}
        As for `VDiffusionScheduler`.
    """

    def __init__(self, algorithm_type: str = "multistep") -> None:
        if algorithm_type not in ALGORITHM_TYPES:
            raise ValueError(f"algorithm_type={algorithm_type!r} is not known; choose one of {', '.join(ALGORITHM_TYPES)}.")
        self.algorithm_type = algorithm_type
        self.num_inference_steps: int | None = None
        self.sigmas = torch.empty(0)
        self.timesteps = torch.empty(0)
        self._step_index = 0
        self._previous_x0: Tensor | None = None
        self._last_turn: _Turn | None = None

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Plan `num_inference_steps` steps (≥ 1): `sigmas` has one more entry than `timesteps`, the final 0."""
        if not num_inference_steps >= 1 or num_inference_steps % 1:  # NaN too
            raise ValueError(f"num_inference_steps={num_inference_steps} must be a whole number, at least 1.")
        num_inference_steps = int(num_inference_steps)
        self.num_inference_steps = num_inference_steps
        self.sigmas = torch.linspace(1.0, 0.0, num_inference_steps + 1, dtype=torch.float64)
        if self.algorithm_type == "multistep":
            # Halfway between even steps and those of a cosine: shorter at both ends, where x0 or the noise is settled.
            self.sigmas = (self.sigmas + (1 - (math.pi * self.sigmas).cos()) / 2) / 2
        self.timesteps = self.sigmas[:-1].to(torch.float32).to(device)
        self._step_index = 0
        self._previous_x0 = self._last_turn = None

    def advance(self, v: Tensor, sigma: float | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Go from `sigma` to the next one.

        Parameters
        ----------
        v : Tensor [shape=(B, ...)]
            The network's answer at `sigma`.
        sigma : float
            The current entry of `timesteps`; steps are taken in their order.
        x : Tensor [shape=(B, ...)]
            The sample at `sigma`.

        Returns
        -------
        Tensor [shape=(B, ...)]
            The sample at the next sigma.
        Tensor [shape=(B, ...)]
            x0, the denoised estimate that it was made from.
        """
        if self.num_inference_steps is None:
            raise ValueError("The scheduler has no timesteps yet; call set_timesteps first.")
        if self._step_index >= self.num_inference_steps:
            raise ValueError("The last timestep was already taken; call set_timesteps to start again.")
        planned, following = (float(s) for s in self.sigmas[self._step_index : self._step_index + 2])
        if not math.isclose(float(sigma), planned, abs_tol=1e-6):
            raise ValueError(f"timestep={float(sigma):.6g} is out of order; the next one is {planned:.6g}.")
        take = self._turn if self.algorithm_type == "multistep" else self._extrapolate
        following_x, x0 = take(v, x, planned, following)
        self._step_index += 1
        return following_x, x0

    def _extrapolate(self, v: Tensor, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor]:
        """A step of DDIM, or of DPM-Solver++ where that has a slope: x at `sigma_next`, and x0."""
        (alpha, beta), (alpha_next, beta_next) = _alpha_beta(sigma), _alpha_beta(sigma_next)
        x0 = alpha * x - beta * v
        estimate = x0
        previous_x0 = self._previous_x0 if self._is_second_order() else None
        if previous_x0 is not None:
            estimate = x0 + self._slope() * (x0 - previous_x0)
        self._previous_x0 = x0
        # Equal to DDIM when the estimate is x0: the noise that the sample holds is kept, x0 takes the rest.
        noise_kept = beta_next / beta
        return noise_kept * x + (alpha_next - alpha * noise_kept) * estimate, x0

    def _turn(self, v: Tensor, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor]:
        """A step of "multistep": x at `sigma_next`, and x0."""
        last, g = self._last_turn, torch.zeros_like(x)
        if last is not None:
            cos, sin = math.cos(last.angle), math.sin(last.angle)
            g = (v - last.expected_v) / sin
            x = x + (1 - cos) * (g - last.g)
            if last.angle_before:
                # Both means hold in the middle of their steps; g with a slope begins lower by slope · tan(angle / 2).
                slope = (g - last.g) * 2 / (last.angle + last.angle_before)
                x = x + (last.angle - sin - (1 - cos) * math.tan(last.angle / 2)) * slope
        angle = (sigma_next - sigma) * math.pi / 2
        cos, sin = math.cos(angle), math.sin(angle)
        self._last_turn = _Turn(angle, last.angle if last else 0.0, g, expected_v=cos * v - sin * x)
        alpha, beta = _alpha_beta(sigma)
        return cos * x + sin * v + (1 - cos) * g, alpha * x - beta * v

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x at `timesteps` [shape=(B,), in [0, 1]] for clean samples and noise [shape=(B, ...)]."""
        alpha, beta = _alpha_beta_like(timesteps, original_samples)
        return alpha * original_samples + beta * noise

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The training target v at `timesteps` [shape=(B,), in [0, 1]] for clean samples and noise [shape=(B, ...)]."""
        alpha, beta = _alpha_beta_like(timesteps, sample)
        return alpha * noise - beta * sample

    def __len__(self) -> int:
        """Number of planned steps."""
        return len(self.timesteps)

    def _is_second_order(self) -> bool:
        # The log-SNR is infinite at sigma = 1 and at sigma = 0: no finite slope there.
        finite = 1 < self._step_index < len(self.timesteps) - 1
        return finite and self.algorithm_type == "dpmsolver++"

    def _slope(self) -> float:
        """How far the last change of x0 is carried on: half the ratio of this step to the last, in log-SNR."""
        before, now, after = (float(s) for s in self.sigmas[self._step_index - 1 : self._step_index + 2])
        return 0.5 * (_log_snr(after) - _log_snr(now)) / (_log_snr(now) - _log_snr(before))


def load_solver(directory: Path) -> VDiffusionSolver:
    """The solver of a scheduler that was saved in `directory`; the default one where none was.

    Raises
    ------
    ConfigError
        What was saved is damaged or of another kind.
    """
    path = directory / CONFIG_FILE
    if not path.is_file():
        return VDiffusionSolver()
    try:
        return VDiffusionSolver(read_json(path, "save or download the model again.")["algorithm_type"])
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: this is no scheduler of pecmae ({error}); save or download the model again.") from None


def _alpha_beta(sigma: float) -> tuple[float, float]:
    angle = sigma * math.pi / 2
    return math.cos(angle), math.sin(angle)


def _log_snr(sigma: float) -> float:
    alpha, beta = _alpha_beta(sigma)
    return math.log(alpha / beta)


def _alpha_beta_like(sigma: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and beta of `sigma` (B,), shaped to multiply `sample` (B, ...)."""
    angle = sigma.to(sample.dtype).view(-1, *[1] * (sample.ndim - 1)) * (math.pi / 2)
    return angle.cos(), angle.sin()
