import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open

from pecmae import AudioError, Autoencoder
from pecmae.autoencoder.embedding import TrackEmbedding, embed_track, embed_tracks
from pecmae.data import embedding_cache as module
from pecmae.data.embedding_cache import EmbeddingCache


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Tracks of 0.1 to 1.3 seconds: from one to four tiny segments."""
    paths = []
    for number, seconds in enumerate((0.1, 1.3, 0.4, 0.2, 0.9)):
        t = np.arange(round(24_000 * seconds)) / 24_000
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], 0.3 * np.sin(2 * np.pi * (200 + 50 * number) * t), 24_000)
    return paths


def encoded(monkeypatch, autoencoder: Autoencoder) -> list[int]:
    """Sizes of the batches that are encoded from here on."""
    sizes: list[int] = []
    encode = Autoencoder.encode

    def count(self, wav, lengths=None):
        sizes.append(len(wav))
        return encode(self, wav, lengths)

    monkeypatch.setattr(Autoencoder, "encode", count)
    return sizes


def test_segments_of_different_tracks_fill_a_batch_and_change_nothing(tiny_autoencoder, files, monkeypatch):
    alone = [embed_track(tiny_autoencoder, path) for path in files]
    sizes = encoded(monkeypatch, tiny_autoencoder)
    together = list(embed_tracks(tiny_autoencoder, files, batch_size=4))
    assert sizes == [4, 4, 2]
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, TrackEmbedding)
        assert torch.allclose(one.z, other.z, atol=1e-5)
        assert (one.offsets == other.offsets).all()
        assert one.num_samples == other.num_samples


def test_a_bad_track_is_answered_in_its_place(tiny_autoencoder, files, tmp_path):
    (tmp_path / "bad.wav").write_text("no audio")
    soundfile.write(tmp_path / "nan.wav", np.r_[np.zeros(60_000), np.nan], 24_000, subtype="FLOAT")
    results = list(
        embed_tracks(tiny_autoencoder, [files[0], tmp_path / "bad.wav", tmp_path / "nan.wav", files[1]], batch_size=2)
    )
    assert [type(result) for result in results] == [TrackEmbedding, AudioError, AudioError, TrackEmbedding]
    assert "NaN" in str(results[2])
    assert len(results[3].z) == 4


def test_what_is_cached_is_not_computed_again(tiny_autoencoder, files, tmp_path, monkeypatch):
    first = EmbeddingCache(tmp_path / "cache", tiny_autoencoder).embed(files)
    sizes = encoded(monkeypatch, tiny_autoencoder)
    moved = [Path(shutil.copy(path, tmp_path / f"moved-{path.name}")) for path in files]
    again = EmbeddingCache(tmp_path / "cache", tiny_autoencoder).embed(moved)
    assert sizes == []
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.z, other.z)
        assert (one.offsets == other.offsets).all()
        assert (one.num_samples, one.sampling_rate) == (other.num_samples, other.sampling_rate)


def test_a_changed_file_is_noticed(tiny_autoencoder, files, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", tiny_autoencoder)
    before = cache.embed(files)
    shutil.copy(files[1], files[0])
    after = cache.embed(files)
    assert torch.equal(after[0].z, before[1].z)


def test_another_autoencoder_is_noticed(tiny_autoencoder, files, tmp_path):
    EmbeddingCache(tmp_path / "cache", tiny_autoencoder).embed(files)
    other = Autoencoder(tiny_autoencoder.config).eval()
    other.load_state_dict(tiny_autoencoder.state_dict())
    assert len(EmbeddingCache(tmp_path / "cache", other)) == len(files)
    with torch.no_grad():
        next(other.denoiser.parameters()).add_(1e-3)  # z does not depend on it
    assert len(EmbeddingCache(tmp_path / "cache", other)) == len(files)
    with torch.no_grad():
        other.summarizer.cls.add_(1e-3)
    assert len(EmbeddingCache(tmp_path / "cache", other)) == 0


def test_weights_of_any_type_have_a_key(tiny_autoencoder):
    half = Autoencoder(tiny_autoencoder.config).to(torch.bfloat16)
    assert module.autoencoder_key(half) != module.autoencoder_key(tiny_autoencoder)


def test_a_damaged_part_is_made_again(tiny_autoencoder, files, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART_TRACKS", 2)
    cache = EmbeddingCache(tmp_path / "cache", tiny_autoencoder)
    before = cache.embed(files)
    parts = sorted(cache.folder.iterdir())
    assert len(parts) == 3
    parts[0].write_bytes(parts[0].read_bytes()[:-7])
    reopened = EmbeddingCache(tmp_path / "cache", tiny_autoencoder)
    assert 3 <= len(reopened) < 5
    for one, other in zip(before, reopened.embed(files), strict=True):
        assert torch.allclose(one.z, other.z, atol=1e-5)
    assert len(EmbeddingCache(tmp_path / "cache", tiny_autoencoder)) == 5


def test_a_bad_file_does_not_stop_the_others_and_is_tried_again(tiny_autoencoder, files, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    cache = EmbeddingCache(tmp_path / "cache", tiny_autoencoder)
    results = cache.embed([files[0], bad, tmp_path / "gone.wav", files[2]])
    assert [type(result) for result in results] == [TrackEmbedding, AudioError, FileNotFoundError, TrackEmbedding]
    shutil.copy(files[3], bad)
    assert len(cache.embed([bad])[0].z) == 1


KILLED = """
import os, sys
from pathlib import Path
import pecmae.data.embedding_cache as module
from pecmae import Autoencoder
module.PART_TRACKS = 1
after = int(sys.argv[4])
write = module.EmbeddingCache._write
def limited(self, part):
    global after
    if after == 0:
        # Killed in the middle of a write: bytes are on the disk under the temporary name.
        replace = Path.replace
        Path.replace = lambda *args: os.kill(os.getpid(), 9)
    after -= 1
    write(self, part)
module.EmbeddingCache._write = limited
cache = module.EmbeddingCache(sys.argv[2], Autoencoder.from_directory(sys.argv[1]))
cache.embed(sorted(Path(sys.argv[3]).glob("*.wav")), batch_size=1)
"""


def test_a_kill_loses_only_the_part_that_was_being_written(tiny_autoencoder, files, tmp_path, monkeypatch):
    tiny_autoencoder.save_pretrained(tmp_path / "model")
    arguments = [sys.executable, "-c", KILLED, tmp_path / "model", tmp_path / "cache", tmp_path, "3"]
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[1])}
    assert subprocess.run(arguments, env=environment, check=False).returncode == -signal.SIGKILL
    cache = EmbeddingCache(tmp_path / "cache", Autoencoder.from_directory(tmp_path / "model"))
    assert sorted(path.suffix for path in cache.folder.iterdir()) == [".part", *3 * [".safetensors"]]
    assert len(cache) == 3
    sizes = encoded(monkeypatch, tiny_autoencoder)
    results = cache.embed(files)
    assert sum(sizes) == sum(len(result.z) for result in results[3:])
    for path, result in zip(files, results, strict=True):
        assert torch.allclose(result.z, embed_track(cache.autoencoder, path).z, atol=1e-5)


def test_parts_are_plain_safetensors(tiny_autoencoder, files, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", tiny_autoencoder)
    cache.embed(files[:1])
    (part,) = cache.folder.iterdir()
    with safe_open(part, framework="np") as file:
        metadata = file.metadata()
        (facts,) = json.loads(metadata.pop("tracks")).values()
        assert metadata == {"format_version": "1", "sampling_rate": "24000"}
        assert facts == {"audible_duration": pytest.approx(0.1), "notes": []}
        assert sorted(file.get_tensor(name).shape for name in file.keys()) == [(1,), (1, 16), (2,)]  # noqa: SIM118
