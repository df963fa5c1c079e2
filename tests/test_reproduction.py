"""A model again in two months: what it was made from is written down, and fitting it again gives the same weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pecmae import ConfigError, fit
from pecmae.core.files import file_sha256
from pecmae.prototypes.fitting import HEAD_SETTINGS
from pecmae.reproduction import reproduce
from pecmae.training.run_record import RUN_FILE, RunRecord
from test_own import run as run  # a fixture

SETTINGS = replace(HEAD_SETTINGS, steps=20, batch_size=8, seed=3)
RATE = 24_000


@pytest.fixture
def music(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label, pitch in (("low", 200), ("high", 3000)):
        (tmp_path / "music" / label).mkdir(parents=True)
        for number in range(7):
            t = np.arange(RATE) / RATE
            wave = 0.3 * np.sin(2 * np.pi * (pitch + 9 * number) * t) + rng.normal(0, 0.01, RATE)
            soundfile.write(tmp_path / "music" / label / f"{number}.wav", wave, RATE)
    return tmp_path / "music"


@pytest.fixture
def fitted(music, tiny_autoencoder, tmp_path) -> Path:
    fit(music, tmp_path / "run", autoencoder=tiny_autoencoder, settings=SETTINGS, prototypes_per_class=2, refit_penalty=0.01)
    return tmp_path / "run"


def test_the_record_says_what_the_model_was_made_from(fitted, music):
    record = RunRecord.load(fitted)
    assert len(record.clips) == 14
    clip = record.clips[0]
    assert file_sha256(Path(clip.path)) == clip.sha256
    assert {clip.split for clip in record.clips} == {"train", "validation", "test"}
    assert record.options["settings"]["seed"] == 3
    assert record.options["head"]["refit_penalty"] == 0.01
    assert record.versions["torch"]
    assert record.machine["threads"] >= 1
    assert not any(record.changes().values())
    sha256 = json.loads((fitted / "model" / "config.json").read_text())["sha256"]["model.safetensors"]
    assert record.model == sha256
    report = json.loads((fitted / "report.json").read_text())
    splits = {split: sum(clip.split == split for clip in record.clips) for split in ("train", "test")}
    assert splits == {split: sum(report["collection"]["counts"][split].values()) for split in splits}


def test_a_run_again_gives_the_same_weights_to_the_last_bit(fitted):
    found = reproduce(fitted)
    assert found.same
    assert found.largest_difference == 0
    assert not any(found.changes.values())
    assert all(before == now for before, now in found.accuracy.values())
    assert RunRecord.load(fitted / "reproduced").model == RunRecord.load(fitted).model
    with pytest.raises(ConfigError, match="fitted again there already"):  # it would find itself, and fit nothing
        reproduce(fitted)


def test_another_seed_is_noticed(fitted, tmp_path):
    record = json.loads((fitted / RUN_FILE).read_text())
    record["options"]["settings"]["seed"] = 4
    record["versions"]["torch"] = "1.0"
    (fitted / RUN_FILE).write_text(json.dumps(record))
    found = reproduce(fitted, tmp_path / "again")
    assert not found.same
    assert found.largest_difference > 0
    assert found.changes["versions"] == [f"torch: 1.0, now {RunRecord.load(tmp_path / 'again').versions['torch']}"]


def test_data_that_changed_is_named_and_nothing_is_fitted(fitted, music):
    soundfile.write(music / "low" / "3.wav", np.zeros(RATE), RATE)
    (music / "high" / "1.wav").unlink()
    with pytest.raises(ConfigError, match=r"\.wav: (is gone|holds something else), and so do or are 1 others"):
        reproduce(fitted)
    assert not (fitted / "reproduced").exists()


def test_a_run_that_was_stopped_is_to_be_continued_first(music, tiny_autoencoder, tmp_path):
    fit(music, tmp_path / "run", autoencoder=tiny_autoencoder, settings=SETTINGS, prototypes_per_class=1, stop_after=0)
    with pytest.raises(ConfigError, match="continue it"):
        reproduce(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "run.json"),
        ('{"format_version": 99, "clips": []}', "newer"),
        ('{"format_version": 1, "clips": [3]}', "cannot be read"),
    ],
)
def test_a_damaged_record_is_one_sentence(fitted, content, text):
    (fitted / RUN_FILE).write_text(content)
    with pytest.raises(ConfigError, match=text):
        reproduce(fitted)


def test_the_console_says_the_same(fitted, run, music, tmp_path):
    status, out, err = run("reproduce", fitted, "--output", tmp_path / "again")
    assert (status, out) == (0, "the same weights to the last bit\n"), err
    status, _, err = run("reproduce", music)
    assert status == 1
    assert "run.json" in err
