import math

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from pecmae import VDiffusionScheduler
from pecmae.autoencoder.sampling import VDiffusionSolver

ALGORITHMS = ["ddim", "dpmsolver++", "multistep"]


def alpha_beta(sigma: float) -> tuple[float, float]:
    return math.cos(sigma * math.pi / 2), math.sin(sigma * math.pi / 2)


def gaussian_v(x: Tensor, sigma: float, mean: Tensor, std: float) -> Tensor:
    """The exact v where the data are normal with this mean and standard deviation."""
    alpha, beta = alpha_beta(sigma)
    x0 = mean + alpha * std**2 / (alpha**2 * std**2 + beta**2) * (x - alpha * mean)
    noise = (x - alpha * x0) / beta
    return alpha * noise - beta * x0


def sample(scheduler: VDiffusionScheduler, steps: int, x: Tensor, mean: Tensor, std: float) -> Tensor:
    scheduler.set_timesteps(steps)
    for sigma in scheduler.timesteps:
        x = scheduler.step(gaussian_v(x, float(sigma), mean, std), sigma, x).prev_sample
    return x


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("algorithm_type", ALGORITHMS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_exact_v_returns_x0(noise, algorithm_type, steps):
    x0 = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scheduler, x = VDiffusionScheduler(algorithm_type=algorithm_type), noise
    scheduler.set_timesteps(steps)
    for sigma in scheduler.timesteps:
        v = scheduler.get_velocity(x0, noise, sigma.expand(2).double())
        x = scheduler.step(v, sigma, x).prev_sample
    torch.testing.assert_close(x, x0)


def test_ddim_equals_an_independent_ddim(noise):
    # An integer grid of 1000 sigmas, of which 50 evenly spaced ones are ours.
    grid = torch.arange(1, 1001, dtype=torch.float64) / 1000 * math.pi / 2
    alphas = torch.cat([torch.ones(1, dtype=torch.float64), grid.cos() ** 2])
    oracle = DDIMScheduler(
        trained_betas=(1 - alphas[1:] / alphas[:-1]).tolist(),
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    oracle.set_timesteps(50)
    mean, expected = torch.full((3,), 2.0), noise.float()
    for timestep in oracle.timesteps:
        v = gaussian_v(expected, float(timestep + 1) / 1000, mean, 0.5)
        expected = oracle.step(v, timestep, expected).prev_sample
    found = sample(VDiffusionScheduler(algorithm_type="ddim"), 50, noise.float(), mean, 0.5)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_second_order_is_closer_to_the_exact_trajectory(noise):
    # The flow carries normal noise to normal data: x0 = mean + std · x_T.
    mean, std = torch.full((3,), 2.0, dtype=torch.float64), 0.5
    errors = {
        name: (sample(VDiffusionScheduler(algorithm_type=name), 20, noise, mean, std) - (mean + std * noise)).abs().max()
        for name in ALGORITHMS
    }
    assert errors["dpmsolver++"] < errors["ddim"] / 4
    assert errors["multistep"] < errors["dpmsolver++"]


@pytest.mark.parametrize(("algorithm_type", "factor"), [("dpmsolver++", 2), ("multistep", 3.5)])
def test_halving_the_step_more_than_halves_the_second_order_error(noise, algorithm_type, factor):
    mean, std, errors = torch.zeros(3, dtype=torch.float64), 0.5, []
    for steps in (40, 80):
        found = sample(VDiffusionScheduler(algorithm_type=algorithm_type), steps, noise, mean, std)
        errors.append(float((found - std * noise).abs().max()))
    assert errors[1] < errors[0] / factor


def test_dpm_solver_carries_the_slope_of_x0_in_log_snr_on(noise):
    scheduler = VDiffusionSolver("dpmsolver++")
    scheduler.set_timesteps(6)
    x, estimates = noise, torch.randn(6, *noise.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for index, (sigma, following) in enumerate(zip(scheduler.sigmas.tolist(), scheduler.sigmas.tolist()[1:], strict=False)):
        (alpha, beta), (alpha_next, beta_next) = alpha_beta(sigma), alpha_beta(following)
        x_next, x0 = scheduler.advance((alpha * x - estimates[index]) / beta, sigma, x)
        torch.testing.assert_close(x0, estimates[index])
        expected = x0
        if 1 < index < 5:  # log-SNR is infinite at both ends
            before, now, after = (math.log(a / b) for a, b in map(alpha_beta, scheduler.sigmas[index - 1 : index + 2].tolist()))
            expected = x0 + 0.5 * (after - now) / (now - before) * (x0 - estimates[index - 1])
        kept = beta_next / beta
        torch.testing.assert_close(x_next, kept * x + (alpha_next - alpha * kept) * expected)
        x = x_next


def test_a_multistep_of_constant_curvature_is_exact_from_the_second_step_on(noise):
    # x'' + x = 1 from x = noise, v = 0: x = 1 + (noise - 1) · cos(angle turned).
    scheduler, x = VDiffusionScheduler(algorithm_type="multistep"), noise
    scheduler.set_timesteps(4)
    for sigma in scheduler.timesteps:
        turned = (float(sigma) - 1) * math.pi / 2
        x = scheduler.step(-(noise - 1) * math.sin(turned), sigma, x).prev_sample
        if float(sigma) == 1:
            continue
        following = float(scheduler.sigmas[scheduler.timesteps.tolist().index(float(sigma)) + 1])
        torch.testing.assert_close(x, 1 + (noise - 1) * math.cos((following - 1) * math.pi / 2))


def test_a_multistep_follows_a_curvature_that_changes():
    # x'' + x = a + b · angle: the sample of each step, corrected by what the network says there, gives x0 almost exactly.
    a, b, c, d = 0.5, 2.0, 0.3, -0.7

    def x_at(angle: float) -> float:
        return a + b * angle + c * math.cos(angle) + d * math.sin(angle)

    def v_at(angle: float) -> float:
        return b - c * math.sin(angle) + d * math.cos(angle)

    scheduler = VDiffusionScheduler(algorithm_type="multistep")
    scheduler.set_timesteps(8)
    x = torch.tensor([x_at(math.pi / 2)], dtype=torch.float64)
    for sigma, exact in zip(scheduler.timesteps, scheduler.sigmas.tolist(), strict=False):
        angle = exact * math.pi / 2
        found = scheduler.step(torch.tensor([v_at(angle)], dtype=torch.float64), sigma, x)
        x0 = math.cos(angle) * x_at(angle) - math.sin(angle) * v_at(angle)
        assert found.pred_original_sample.item() == pytest.approx(x0, abs=1e-3)
        x = found.prev_sample
    assert x.item() == pytest.approx(x_at(0), abs=5e-3)


def test_a_multistep_continues_from_the_sample_it_is_given(noise):
    found = []
    for offset in (0.0, 1.0):
        scheduler, x = VDiffusionScheduler(algorithm_type="multistep"), noise
        scheduler.set_timesteps(4)
        for sigma in scheduler.timesteps[:3]:
            given = x + offset if sigma == scheduler.timesteps[2] else x
            x = scheduler.step(-given, sigma, given).prev_sample
        found.append(x)
    assert (found[1] - found[0]).abs().min() > 0.1


def test_noise_and_velocity_follow_the_angle():
    scheduler = VDiffusionScheduler()
    x, noise, sigma = torch.tensor([[3.0], [3.0]]), torch.tensor([[5.0], [5.0]]), torch.tensor([0.0, 1.0])
    torch.testing.assert_close(scheduler.add_noise(x, noise, sigma), torch.tensor([[3.0], [5.0]]))
    torch.testing.assert_close(scheduler.get_velocity(x, noise, sigma), torch.tensor([[5.0], [-3.0]]))


def test_save_and_load(tmp_path):
    VDiffusionScheduler(algorithm_type="ddim").save_pretrained(tmp_path)
    assert VDiffusionScheduler.from_pretrained(tmp_path).config.algorithm_type == "ddim"


def test_the_default_scheduler_does_not_hide_the_given_one(tiny_autoencoder):
    z = torch.ones(1, 16)
    latents = tiny_autoencoder.draw_latents(1, torch.Generator().manual_seed(0))
    options = {"latents": latents, "num_inference_steps": 6}
    ddim = tiny_autoencoder.generate(z, scheduler=VDiffusionScheduler(algorithm_type="ddim"), **options)
    second_order = tiny_autoencoder.generate(z, **options)
    assert not torch.allclose(ddim, second_order)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="algorithm_type='euler' is not known"):
        VDiffusionScheduler(algorithm_type="euler")
    scheduler, x = VDiffusionScheduler(), torch.zeros(1, 1)
    with pytest.raises(ValueError, match="call set_timesteps first"):
        scheduler.step(x, 1.0, x)
    with pytest.raises(ValueError, match="num_inference_steps=0"):
        scheduler.set_timesteps(0)
    scheduler.set_timesteps(2)
    with pytest.raises(ValueError, match=r"timestep=0.5 is out of order; the next one is 1"):
        scheduler.step(x, 0.5, x)
