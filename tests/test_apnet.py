"""APNet: what it computes, what it answers, and that it learns."""

import numpy as np
import pytest
import torch

from pecmae import ConfigError
from pecmae.audio.preparation import PUBLISHED
from pecmae.baselines.apnet import APNet, APNetConfig, griffin_lim
from pecmae.baselines.apnet_fitting import APNetObjective, Spectrograms, fit_apnet
from pecmae.training.settings import TrainingSettings

RATE = 24_000
SETTINGS = TrainingSettings(steps=60, batch_size=16, learning_rate=3e-3, schedule="constant", optimizer="adam")


def small(**sizes) -> APNet:
    torch.manual_seed(0)
    options = {"segment_frames": 16, "num_mels": 24, "channels": (4, 6, 4), "prototypes_per_class": 2}
    return APNet(APNetConfig(num_classes=2, **{**options, **sizes}), ("low", "high"), PUBLISHED)


def tones(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Segments of both classes, apart by their pitch, and their class numbers."""
    draws, time = np.random.default_rng(seed), np.arange(16 * 1200) / RATE
    labels = np.arange(count) % 2
    pitches = np.where(labels == 0, 200, 2000) * draws.uniform(0.9, 1.1, count)
    wav = 0.3 * np.sin(2 * np.pi * pitches[:, None] * time) + draws.normal(0, 0.01, (count, len(time)))
    return torch.from_numpy(wav).float(), torch.from_numpy(labels)


@pytest.fixture(scope="module")
def fitted() -> APNet:
    model = small()
    wav, labels = tones(24, 0)
    return fit_apnet(model, Spectrograms(model.spectrogram(wav), labels), SETTINGS)


@pytest.mark.parametrize("classes", [8, 10, 24])
def test_at_the_papers_sizes_it_has_2_7_to_4_2_million_parameters(classes):
    sizes = APNetConfig(num_classes=classes)
    (first, second, last), (_, frames, bands) = sizes.channels, sizes.latent_shape
    convolutions = 2 * 25 * (first + first * second + second * last) + 2 * (first + second) + last + 1
    count = convolutions + sizes.num_prototypes * (last * frames * bands + bands + classes) + classes
    model = APNet(sizes, tuple(map(str, range(classes))))
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert 2.65e6 < count < 4.25e6


def test_bands_are_compared_one_by_one_and_weighted_along_frequency():
    model, draws = small(), torch.Generator().manual_seed(1)
    latent = torch.randn(3, *model.config.latent_shape, generator=draws)
    by_hand = (latent[:, None] - model.prototypes).square().mean((2, 3))  # over channels and time
    torch.testing.assert_close(model.band_distances(latent), by_hand, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        model.band_weights.zero_()
        model.band_weights[:, 2] = 1
    torch.testing.assert_close(model.similarities(latent), torch.exp(-by_hand[:, :, 2]), rtol=1e-4, atol=1e-5)


def test_maxima_go_back_to_where_pooling_took_them_from():
    model = small()
    mel = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0))
    latent, indices = model.encode(mel)
    first, other = model.decode(latent, indices), model.decode(latent, tuple(each.flip(0) for each in indices))
    assert latent.shape == (2, 4, 4, 6)
    assert first.shape == mel.shape
    assert not torch.allclose(first, other)


def test_it_tells_tones_apart_and_puts_them_together_again(fitted):
    wav, labels = tones(8, 1)
    predictions = [fitted.predict(each.numpy(), sampling_rate=RATE).label for each in wav]
    assert predictions == [fitted.labels[label] for label in labels]
    objective = APNetObjective(fitted, Spectrograms(fitted.spectrogram(wav), labels))
    assert objective(torch.arange(8), None)["reconstruction"].item() < 0.5  # 1 is the spectrograms' own variance


def test_reasons_add_up_to_the_logits(fitted):
    wav, _ = tones(1, 2)
    explanation = fitted.explain(np.tile(wav[0].numpy(), 2), sampling_rate=RATE)
    assert explanation.segment_similarities.shape == (2, 4)
    np.testing.assert_allclose(explanation.contributions.sum(1) + explanation.bias, explanation.logits, rtol=1e-4, atol=1e-5)


def test_prototypes_are_heard_as_the_class_they_stand_for(fitted):
    sounds = fitted.sonify()
    assert sounds.shape == (4, 16 * 1200)
    assert np.isfinite(sounds).all()
    peaks = np.abs(np.fft.rfft(sounds)).argmax(1) * RATE / sounds.shape[1]
    assert peaks[:2].max() < 1000 < peaks[2:].min()
    np.testing.assert_array_equal(sounds, fitted.sonify())


def test_griffin_lim_gives_back_the_sound_of_a_tone():
    config = small().config
    wav, _ = tones(2, 3)
    window = torch.hann_window(config.n_fft)
    amplitude = torch.stft(wav, config.n_fft, config.hop_length, window=window, return_complex=True).abs()
    found = griffin_lim(amplitude[:, :, :16], config)
    peaks = [np.abs(np.fft.rfft(each.numpy())).argmax(1) for each in (found, wav)]
    assert np.abs(peaks[0] - peaks[1]).max() <= 2


def test_sizes_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(ConfigError, match="18 frames by 24 mel bands"):
        small(segment_frames=18)
