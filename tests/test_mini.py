"""The embedded models do their job on the example clips, in any format, and prototypes are sounds of their class."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from pecmae import PECMAE
from pecmae.audio.segments import load_audio
from pecmae.data.embedding_cache import autoencoder_key
from pecmae.explain.sounds import PrototypeSounds
from pecmae.hub.zoo import embedded_directory

CLIPS = sorted((Path(__file__).parents[1] / "examples" / "audio").glob("*.ogg"))


# Of python -c "from pecmae import PECMAE; print(PECMAE.from_pretrained(device='cpu', dtype='float32')
# .predict('examples/audio/jazz.ogg').logits)", and the folders that its embeddings and sounds are cached in.
JAZZ = [0.1518, -0.2313, -0.1616, -0.2853, -0.1844, 0.2429, -0.2245, -0.2331, -0.0501, -0.2063]
EMBEDDINGS, SOUNDS = "e6d9459ca963032d", "7a133b513631f1f8"


@pytest.fixture(scope="module")
def mini() -> PECMAE:
    return PECMAE.from_pretrained()


def test_there_are_example_clips():
    assert len(CLIPS) >= 3
    assert sum(clip.stat().st_size for clip in CLIPS) < 600_000


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_example_clips_are_labelled_right_in_any_format(mini, clip, tmp_path):
    audio = load_audio(clip, target_rate=24_000)
    stereo = np.repeat(soxr.resample(audio, 24_000, 44_100)[:, None], 2, axis=1)
    soundfile.write(tmp_path / "stereo.mp3", stereo, 44_100)
    soundfile.write(tmp_path / "telephone.wav", soxr.resample(audio, 24_000, 8_000), 8_000, subtype="PCM_16")
    soundfile.write(tmp_path / "coarse.wav", audio, 24_000, subtype="PCM_U8")
    assert mini.predict(clip).label == clip.stem
    for name in ("stereo.mp3", "telephone.wav", "coarse.wav"):
        assert mini.predict(tmp_path / name).label == clip.stem, name


def test_the_sound_that_readme_makes_is_jazz(mini):
    sound = mini.sonify("jazz", prototype=0)[0]
    assert mini.predict(sound, sampling_rate=mini.sampling_rate).label == "jazz"


def test_prototypes_are_neither_silent_nor_clipped_and_follow_the_seed(mini):
    first, again, other = (mini.sonify("rock", prototype=1, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    for sound in (first, other):
        assert np.sqrt(np.square(sound).mean()) > 0.003
        assert np.abs(sound).max() < 1.0


def test_its_answers_and_what_users_have_cached_of_it_stay_what_they_were():
    # A new embedded model or another preparation of sound changes them, and CHANGELOG.md says so; moving code does not.
    model = PECMAE.from_pretrained(device="cpu", dtype="float32")
    assert autoencoder_key(model.autoencoder) == EMBEDDINGS
    assert PrototypeSounds(model).folder.name == SOUNDS
    logits = model.predict(CLIPS[0].with_name("jazz.ogg")).logits
    np.testing.assert_allclose(logits, JAZZ, atol=2e-3)


RECORDED = sorted((Path(__file__).parents[1] / "examples" / "audio" / "recorded").glob("*.ogg"))


@pytest.fixture(scope="module")
def styles(mini) -> PECMAE:
    return PECMAE.from_pretrained("mini-styles", autoencoder=mini.autoencoder)


@pytest.mark.parametrize("clip", RECORDED, ids=lambda clip: clip.stem)
def test_example_clips_of_recorded_music_are_labelled_right(styles, clip):
    assert styles.predict(clip).label == clip.stem


def test_recorded_clips_are_small_and_it_is_said_whose_they_are():
    assert len(RECORDED) == 3
    assert sum(clip.stat().st_size for clip in RECORDED) < 400_000
    said = (RECORDED[0].parent / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{clip.name}` |" in said for clip in RECORDED)
    assert "CC-BY-SA-3.0" in said


def test_a_copy_of_an_embedded_model_stands_alone(styles, mini, tmp_path):
    styles.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "autoencoder" / "model.safetensors").is_file()
    copied = PECMAE.from_pretrained(tmp_path / "copy")
    z = mini.embed(RECORDED[0])
    torch.testing.assert_close(copied.head(torch.as_tensor(z)), styles.head(torch.as_tensor(z)))


def test_all_are_small_enough_for_the_wheel():
    stored = [path for path in embedded_directory().parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in stored) < 25_000_000
