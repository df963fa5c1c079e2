"""ECMAE: EnCodecMAE's frames averaged over time."""

import torch

from pecmae.audio.preparation import PUBLISHED
from pecmae.baselines.time_average import TimeAveraged
from pecmae.data.embedding_cache import autoencoder_key


def test_z_is_the_mean_of_the_frames(tiny_autoencoder):
    wav = torch.randn(2, tiny_autoencoder.config.segment_samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        frames = tiny_autoencoder.encode_frames(tiny_autoencoder.extract_features(wav))
    torch.testing.assert_close(TimeAveraged(tiny_autoencoder).encode(wav), frames.mean(1))


def test_padding_is_left_out_of_the_mean(tiny_autoencoder):
    averaged, mask = TimeAveraged(tiny_autoencoder), torch.tensor([[False, False, True]])
    found = averaged.summarize(torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]]), mask)
    assert found.tolist() == [[2.0, 3.0]]


def test_its_embeddings_have_a_cache_of_their_own(tiny_autoencoder):
    assert autoencoder_key(TimeAveraged(tiny_autoencoder)) != autoencoder_key(tiny_autoencoder)


def test_tracks_are_embedded_as_with_an_autoencoder(tiny_autoencoder, tone):
    from pecmae.autoencoder.embedding import embed_track

    found = embed_track(TimeAveraged(tiny_autoencoder), tone, sampling_rate=24_000, preparation=PUBLISHED)
    assert found.z.shape == (3, tiny_autoencoder.config.embedding_dim)
