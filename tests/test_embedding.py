"""Tracks are cut, padded and masked alike wherever they are embedded."""

import copy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate import Accelerator
from transformers import EncodecModel

from pecmae.audio.preparation import PUBLISHED
from pecmae.audio.segments import write_audio
from pecmae.autoencoder.embedding import embed_track, embed_tracks
from pecmae.data.collection import LabelledFile
from pecmae.data.waveforms import WaveformStore
from pecmae.errors import AudioWarning
from pecmae.training.codec import codec_config
from pecmae.training.loop import step_context
from pecmae.training.segments import SegmentFeatures, padding_mask, segment_batches, segment_features
from pecmae.training.settings import TrainingSettings

RATE, SEGMENT = 24_000, 9600


@torch.no_grad()
def test_the_padding_of_the_last_segment_is_not_attended_to(tiny_autoencoder, tone):
    wav = torch.from_numpy(tone[: 2 * SEGMENT + 20 * 320])
    found = embed_track(tiny_autoencoder, wav.numpy(), sampling_rate=RATE, preparation=PUBLISHED)
    assert found.offsets.tolist() == [0, SEGMENT, 2 * SEGMENT]
    assert (found.num_samples, found.duration) == (25_600, pytest.approx(25_600 / RATE))
    # Of whole frames and alone, the tail needs no padding, hence no mask.
    alone = tiny_autoencoder.encode(wav[None, 2 * SEGMENT :])[0]
    torch.testing.assert_close(found.z[2], alone, atol=1e-5, rtol=1e-4)
    padded = torch.nn.functional.pad(wav[2 * SEGMENT :], (0, 3 * SEGMENT - len(wav)))[None]
    assert (tiny_autoencoder.encode(padded)[0] - alone).abs().max() > 1e-3
    torch.testing.assert_close(found.z[:2], tiny_autoencoder.encode(wav[: 2 * SEGMENT].reshape(2, -1)))


def test_short_tracks_share_a_batch_and_come_out_in_order(tiny_autoencoder, tone):
    sources = [tone[:4000], tone, tone[:12_000]]
    found = list(embed_tracks(tiny_autoencoder, sources, sampling_rate=RATE, batch_size=4))
    for source, together in zip(sources, found, strict=True):
        alone = embed_track(tiny_autoencoder, source, sampling_rate=RATE, batch_size=1)
        assert (together.num_samples, together.offsets.tolist()) == (alone.num_samples, alone.offsets.tolist())
        torch.testing.assert_close(together.z, alone.z, atol=1e-5, rtol=1e-4)


# What training draws from


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> tuple[SegmentFeatures, EncodecModel]:
    """Codec features of three files: three whole segments, one that is half padding, one shorter than a frame."""
    folder, draws = tmp_path_factory.mktemp("segments"), np.random.default_rng(0)
    files = []
    for name, samples in (("long", 2 * SEGMENT), ("short", SEGMENT // 2 + 100), ("shorter", 100)):
        write_audio(folder / f"{name}.wav", draws.normal(0, 0.1, samples).astype(np.float32), RATE)
        files.append(LabelledFile(folder / f"{name}.wav", "a"))
    sizes = {"num_filters": 2, "hidden_size": 8, "upsampling_ratios": (8, 5, 4, 2), "num_codebooks": 2, "codebook_size": 16}
    torch.manual_seed(0)
    codec = EncodecModel(codec_config(**sizes)).eval()
    store = WaveformStore(files, folder / "cache", RATE)
    return segment_features(codec, store, folder / "cache", segment_seconds=0.4, stride_seconds=0.2), codec


@torch.no_grad()
def test_cached_embeddings_do_not_attend_to_padding(segments, tiny_autoencoder):
    found, _ = segments
    assert found.lengths.tolist() == [30, 30, 30, 15, 1]
    embeddings = found.embeddings(tiny_autoencoder.encodecmae)
    features = torch.from_numpy(found.features.astype(np.float32))
    alone = tiny_autoencoder.encodecmae(features[3:4, :15])[0]
    torch.testing.assert_close(torch.tensor(embeddings[3, :15]).float(), alone, atol=5e-3, rtol=5e-3)
    assert (tiny_autoencoder.encodecmae(features[3:4])[0, :15] - alone).abs().max() > 0.02
    whole = tiny_autoencoder.encodecmae(features[:3])
    torch.testing.assert_close(torch.tensor(embeddings[:3]).float(), whole, atol=5e-3, rtol=5e-3)


@torch.no_grad()
def test_cached_tokens_are_the_codec_s(segments):
    found, codec = segments
    codes = codec.quantizer.encode(torch.from_numpy(found.features.astype(np.float32)).transpose(1, 2), None)
    assert np.array_equal(found.tokens(codec), codes.permute(1, 2, 0).numpy())


@torch.no_grad()
def test_what_another_network_computed_is_not_taken_from_the_cache(segments, tiny_autoencoder, tmp_path):
    found, codec = segments
    before = np.array(found.embeddings(tiny_autoencoder.encodecmae))
    other = copy.deepcopy(tiny_autoencoder.encodecmae)
    other.projection.weight += 0.5
    assert np.abs(found.embeddings(other) - before).max() > 0.01
    assert np.array_equal(found.embeddings(tiny_autoencoder.encodecmae), before)
    store = WaveformStore([LabelledFile(Path(found.folder).parent / "long.wav", "a")], tmp_path, RATE)
    changed = copy.deepcopy(codec)
    changed.encoder.layers[-1].conv.bias += 1.0
    first, second = (
        segment_features(one, store, tmp_path, segment_seconds=0.4, stride_seconds=0.4).features for one in (codec, changed)
    )
    assert np.abs(first - second).max() > 0.01


def test_frames_beyond_the_length_are_padding():
    lengths, device = torch.tensor([3, 1]), torch.device("cpu")
    assert padding_mask(lengths, 3, device).tolist() == [[False] * 3, [False, True, True]]
    assert padding_mask(torch.tensor([3, 4]), 3, device) is None


def test_every_step_draws_other_segments_with_what_belongs_to_them(segments):
    found, _ = segments
    settings, accelerator = TrainingSettings(steps=40, batch_size=3, learning_rate=0.1), Accelerator(cpu=True)
    beside = np.arange(5, dtype=np.int16)[:, None, None] * np.ones((5, 30, 2), np.int16)
    make_batch = segment_batches(found, beside, settings.batch_size)
    drawn = []
    for step in range(settings.steps):
        features, numbers, mask = make_batch(step_context(step, settings, accelerator))
        rows = numbers[:, 0, 0]
        drawn.append(tuple(rows.tolist()))
        assert (features.dtype, numbers.dtype) == (torch.float32, torch.int64)
        assert torch.equal(features, torch.from_numpy(found.features[rows].astype(np.float32)))
        assert (mask is None) == (max(drawn[-1]) < 3)
        assert mask is None or mask.sum(1).tolist() == [30 - found.lengths[row] for row in drawn[-1]]
    assert {row for rows in drawn for row in rows} == set(range(5))
    assert len(set(drawn)) > 10


def test_a_track_comes_out_as_soon_as_it_is_whole(tiny_autoencoder, tone, monkeypatch):
    encoded, encode = [], tiny_autoencoder.encode
    monkeypatch.setattr(tiny_autoencoder, "encode", lambda wav, *lengths: encoded.append(len(wav)) or encode(wav, *lengths))
    tracks = embed_tracks(tiny_autoencoder, [tone, tone[:12_000], tone], sampling_rate=RATE, batch_size=2)
    assert len(next(tracks).z) == 3
    assert sum(encoded) == 4  # the batch in which its third segment lies, and no more
    assert [len(track.z) for track in tracks] == [2, 3]


def test_arrays_are_called_by_their_place_and_files_by_their_path(tiny_autoencoder, tone, tmp_path):
    silent = np.zeros_like(tone)
    soundfile.write(tmp_path / "silent.wav", silent, RATE)
    given = [tone, silent, tmp_path / "silent.wav", np.full_like(tone, np.nan)]
    with pytest.warns(AudioWarning) as warned:
        found = list(embed_tracks(tiny_autoencoder, given, sampling_rate=RATE))
    names = [str(warning.message).split(":")[0] for warning in warned]
    assert names == ["array 1", str(tmp_path / "silent.wav")]
    assert str(found[3]).startswith("array 3: holds NaN")
    with pytest.warns(AudioWarning, match=r"^one: is silent"):
        list(embed_tracks(tiny_autoencoder, [silent], sampling_rate=RATE, names=["one"]))
