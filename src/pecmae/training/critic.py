"""A critic of waveforms for training decoders: discriminators on spectrograms, and the balance of losses.

A spectral loss is least for the average of all that the features leave open, which blurs. The critic learns what music looks
like that was never decoded, so that the decoder has to choose (EnCodec, arXiv 2210.13438, sections 3.4 and 3.5).

Shapes: B batch, N samples.
"""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pecmae.training.spectral_loss import MAGNITUDE_FLOOR, MEL_RESOLUTIONS, SpectralLoss

RESOLUTIONS = (2048, 1024, 512)  # n_fft of each discriminator; the hop is a quarter
CHANNELS = 16
COMPRESSION = 0.3  # exponent of the amplitudes that the discriminators see
SLOPE = 0.2
FLOOR = 1e-8  # added to the power, -80 dB
MEL_CHANNELS = 24
LOG_MEL_MEAN, LOG_MEL_SPREAD = -7.5, 2.0  # nepers; of music, roughly


class SpectrogramDiscriminator(nn.Module):
    """Tells real waveforms from decoded ones by patches of a complex spectrogram with compressed amplitudes.

    Parameters
    ----------
    n_fft : int
        Window of the spectrogram, in samples.
    channels : int
        Of the first layer; the later ones have twice as many.
    """

    window: Tensor

    def __init__(self, n_fft: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        wide = 2 * channels
        # Kernel and stride: along the frequencies, along time.
        shapes = [(3, channels, (7, 5), (2, 2)), (channels, wide, (5, 5), (2, 2)), (wide, wide, (5, 3), (2, 1))]
        self.layers = _convolutions(shapes)
        self.last = weight_norm(nn.Conv2d(wide, 1, 3, padding=1))

    def spectrogram(self, wav: Tensor) -> Tensor:
        """Compressed real and imaginary parts, and log-amplitude (B, 3, bins, frames), of waveforms (B, N)."""
        with torch.autocast(wav.device.type, enabled=False):
            spectrum = torch.stft(
                wav.float(), self.n_fft, self.n_fft // 4, window=self.window, normalized=True, return_complex=True
            )
            power = spectrum.real.square() + spectrum.imag.square() + FLOOR
            scale = power ** ((COMPRESSION - 1) / 2)
            return torch.stack([spectrum.real * scale, spectrum.imag * scale, power.log() / 10], 1)

    def forward(self, wav: Tensor) -> list[Tensor]:
        """Activations of the layers, the last of which (B, 1, …) is high where the waveforms (B, N) seem real."""
        return _activations(self.layers, self.last, self.spectrogram(wav))


class MelDiscriminator(nn.Module):
    """Tells real waveforms from decoded ones by patches of a log-mel spectrogram: by what a listener hears, not by phases.

    Parameters
    ----------
    n_fft : int
        Window of the spectrogram, in samples, one of `MEL_RESOLUTIONS`; the hop is a quarter.
    sampling_rate : int
        In Hz.
    channels : int
        Of the first layer; the later ones have twice as many.
    """

    def __init__(self, n_fft: int, sampling_rate: int, channels: int = MEL_CHANNELS) -> None:
        super().__init__()
        self.n_fft, self.spectra = n_fft, SpectralLoss(sampling_rate)
        wide = 2 * channels
        # Kernel and stride: along time, along the bands.
        shapes = [(1, channels, (5, 7), (1, 2)), (channels, wide, (5, 5), (2, 2)), (wide, wide, (3, 5), (1, 2))]
        self.layers = _convolutions(shapes)
        self.last = weight_norm(nn.Conv2d(wide, 1, 3, padding=1))

    def forward(self, wav: Tensor) -> list[Tensor]:
        """Activations of the layers, the last of which (B, 1, …) is high where the waveforms (B, N) seem real."""
        with torch.autocast(wav.device.type, enabled=False):
            mel = (self.spectra.mel(wav.float(), self.n_fft) + MAGNITUDE_FLOOR).log()[:, None]  # (B, 1, frames, bands)
        return _activations(self.layers, self.last, (mel - LOG_MEL_MEAN) / LOG_MEL_SPREAD)


def _convolutions(shapes: list[tuple[int, int, tuple[int, int], tuple[int, int]]]) -> nn.ModuleList:
    """Convolutions of images, each by its channels in and out, kernel and stride; they keep the size but for the stride."""
    return nn.ModuleList(
        weight_norm(nn.Conv2d(narrow, out, kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2)))
        for narrow, out, kernel, stride in shapes
    )


def _activations(layers: nn.ModuleList, last: nn.Module, hidden: Tensor) -> list[Tensor]:
    found = []
    for layer in layers:
        hidden = F.leaky_relu(layer(hidden), SLOPE)
        found.append(hidden)
    return [*found, last(hidden)]


def listening_critic(sampling_rate: int) -> "Critic":
    """A critic that hears mel bands at three resolutions and phases at one."""
    mel = (MelDiscriminator(n_fft, sampling_rate) for n_fft, _ in MEL_RESOLUTIONS[1:])
    return Critic([*mel, SpectrogramDiscriminator(RESOLUTIONS[1])])


class Critic(nn.Module):
    """Several discriminators, and their losses.

    Parameters
    ----------
    discriminators : iterable of nn.Module
        By default those of complex spectrograms at several resolutions.
    """

    def __init__(self, discriminators: Iterable[nn.Module] | None = None) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(discriminators or map(SpectrogramDiscriminator, RESOLUTIONS))

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Losses of decoded waveforms (B, N) beside real ones (B, N).

        Returns
        -------
        dict
            "critic": the hinge loss that the discriminators learn from; no gradient reaches `output`.
            "adversarial": how unreal `output` seems to them; "matching": how far their activations for it are from those for
            the target, relative to their size. From both no gradient reaches the discriminators.
        """
        critic, adversarial, matching = [], [], []
        for discriminator in self.discriminators:
            real, fake = discriminator(target), discriminator(output.detach())
            critic.append(F.relu(1 - real[-1]).mean() + F.relu(1 + fake[-1]).mean())
            frozen = {name: value.detach() for name, value in discriminator.state_dict(keep_vars=True).items()}
            seen = torch.func.functional_call(discriminator, frozen, (output,))
            adversarial.append(-seen[-1].mean())
            for found, wanted in zip(seen[:-1], real[:-1], strict=True):
                wanted = wanted.detach()
                matching.append(F.l1_loss(found, wanted) / wanted.abs().mean().clamp_min(1e-6))
        return {name: torch.stack(found).float().mean() for name, found in
                (("critic", critic), ("adversarial", adversarial), ("matching", matching))}  # fmt: skip


def balanced(output: Tensor, losses: Mapping[str, Tensor], shares: Mapping[str, float]) -> Tensor:
    """A scalar whose gradient at `output` is the sum of the losses' gradients, each scaled to its share of the norm.

    So the shares mean the same at every step, however the sizes of the losses drift (EnCodec's balancer, section 3.4, without
    its moving average).

    Parameters
    ----------
    output : Tensor
        What all losses depend on.
    losses : mapping of str to Tensor
        Scalars.
    shares : mapping of str to float
        Norm of each loss's gradient in the sum.
    """
    total = torch.zeros_like(output)
    for name, share in shares.items():
        (gradient,) = torch.autograd.grad(losses[name], output)
        total += share * gradient / gradient.norm().clamp_min(1e-12)
    return (output * total.detach()).sum()
