"""How far the sound of a few steps is from that of the fully converged trajectory, sampler by sampler.

Shapes: B latents, T frames, F codec features, N samples, D width.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from measurements.reference import STEPS, ReferenceAutoencoder
from measurements.sonification import rows_denoised
from measurements.timing import interleaved
from pecmae import PECMAE, Autoencoder
from pecmae.autoencoder.sampling import VDiffusionSolver
from pecmae.training.spectral_loss import MAGNITUDE_FLOOR, SpectralLoss

MEL_WINDOW = 1024


@dataclass(frozen=True)
class Sampler:
    """A solver, the share of the steps that run the unconditional branch, and the name of a precision."""

    algorithm: str
    guidance_stop: float = 1.0
    precision: str = "float32"

    def __str__(self) -> str:
        parts = [self.algorithm]
        if self.guidance_stop != 1:
            parts.append(f"guidance_stop {self.guidance_stop:g}")
        if self.precision != "float32":
            parts.append(self.precision)
        return ", ".join(parts)


@dataclass(frozen=True)
class Point:
    """A sampler with a number of steps: how far it ends from the converged trajectory, and what it costs."""

    sampler: str
    steps: int
    # Denoiser passes a latent, conditional and unconditional ones.
    passes: int
    # ‖x - x*‖ / ‖x*‖ of the codec features.
    feature_distance: float
    # Mean difference of the log-mel spectrograms of the decoded audio, in dB.
    mel_distance: float
    # Of the reference schedule's time for sampling.
    time: float


def spread(model: PECMAE, count: int) -> tuple[Tensor, Tensor]:
    """z [shape=(count, D)] of prototypes spread evenly over the classes, and initial noise [shape=(count, T, F)]."""
    chosen = torch.linspace(0, model.head.config.num_prototypes - 1, count).round().long()
    generator = torch.Generator().manual_seed(0)
    return model.head.projected_prototypes()[chosen], model.autoencoder.draw_latents(count, generator)


def sample(
    autoencoder: Autoencoder, z: Tensor, latents: Tensor, sampler: Sampler, steps: int, guidance_scale: float
) -> tuple[Tensor, int]:
    """`Autoencoder.generate`, all latents at once.

    Returns
    -------
    Tensor [shape=(B, T, F)]
        Codec features, float32.
    int
        Denoiser passes a latent.
    """
    with rows_denoised(autoencoder) as rows:
        features = autoencoder.generate(
            z,
            latents=latents,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            guidance_stop=sampler.guidance_stop,
            scheduler=VDiffusionSolver(sampler.algorithm),
        )
    return features, sum(rows) // len(z)


class Judge:
    """Distances to the converged trajectory `target` [shape=(B, T, F)]."""

    def __init__(self, autoencoder: Autoencoder, target: Tensor) -> None:
        self.autoencoder, self.target = autoencoder, target
        self.spectral = SpectralLoss(autoencoder.sampling_rate)
        self.target_level = self.level(target)

    def level(self, features: Tensor) -> Tensor:
        """Log-mel spectrogram of the decoded audio, in dB [shape=(B, frames, bands)]."""
        mel = self.spectral.mel(self.autoencoder.features_to_wav(features), MEL_WINDOW)
        return 20 * (mel + MAGNITUDE_FLOOR).log10()

    def __call__(self, features: Tensor) -> tuple[float, float]:
        """Feature and log-mel distance of `features`, means over the latents."""
        error, size = (features - self.target).flatten(1).norm(dim=1), self.target.flatten(1).norm(dim=1)
        return float((error / size).mean()), float((self.level(features) - self.target_level).abs().mean())


def pass_times(
    models: dict[str, PECMAE], reference: ReferenceAutoencoder, z: Tensor, latents: Tensor, rounds: int
) -> dict[str, float]:
    """Seconds of a denoiser pass of one latent: the reference's, and the library's by precision with all latents at once."""
    sigma = torch.full((2 * len(z),), 0.5)

    def ours(autoencoder: Autoencoder) -> Callable[[], object]:
        noisy, condition = (x.repeat(2, *[1] * (x.ndim - 1)).to(autoencoder.dtype) for x in (latents, z))

        def work() -> None:
            with torch.no_grad():
                autoencoder.denoise(noisy, sigma, condition)

        return work

    work = {name: ours(model.autoencoder) for name, model in models.items()}
    times = interleaved({"reference": lambda: reference.denoise(latents[:1], 0.5, z[:1]), **work}, rounds)
    return {name: time / (1 if name == "reference" else len(sigma)) for name, time in times.items()}


def measure(
    models: dict[str, PECMAE],
    reference: ReferenceAutoencoder,
    samplers: Iterable[Sampler],
    steps: Sequence[int],
    *,
    count: int,
    converged_steps: int,
    guidance_scale: float,
    rounds: int = 5,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Point]:
    """Distances and costs of every sampler with every number of steps; the first point is the reference schedule.

    Parameters
    ----------
    models : dict of str to PECMAE
        By precision; "float32" makes the converged trajectory.
    reference : ReferenceAutoencoder
        The same weights.
    samplers, steps
        All pairs are measured.
    count : int
        Prototypes.
    converged_steps : int
        DDIM steps of the trajectory that counts as converged.
    guidance_scale : float
        Of classifier-free guidance.
    rounds : int
        Of timing.
    progress : callable
        Told what is done next.
    """
    exact = models["float32"].autoencoder
    z, latents = spread(models["float32"], count)
    progress(f"ddim, {converged_steps} steps")
    judge = Judge(exact, sample(exact, z, latents, Sampler("ddim"), converged_steps, guidance_scale)[0])
    seconds = pass_times(models, reference, z, latents, rounds)
    reference_time = 2 * STEPS * seconds["reference"]

    def point(sampler: Sampler, number: int) -> Point:
        features, passes = sample(models[sampler.precision].autoencoder, z, latents, sampler, number, guidance_scale)
        time = passes * seconds[sampler.precision] / reference_time
        return Point(str(sampler), number, passes, *judge(features), time)

    found = point(Sampler("ddim"), STEPS)
    points = [Point("reference schedule", STEPS, 2 * STEPS, found.feature_distance, found.mel_distance, 1.0)]
    for sampler in samplers:
        for number in steps:
            progress(f"{sampler}, {number} steps")
            points.append(point(sampler, number))
    return points


def fewest_steps(points: Iterable[Point], sampler: str, bar: Point) -> Point | None:
    """The point of the fewest steps from which on a sampler is no further from convergence than `bar`, in both distances."""
    best = None
    for point in sorted((point for point in points if point.sampler == sampler), key=lambda point: -point.steps):
        if point.feature_distance > bar.feature_distance or point.mel_distance > bar.mel_distance:
            break
        best = point
    return best
