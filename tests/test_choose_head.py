"""How a head is fitted is chosen by a rule on validation tracks, and what is chosen is what is put into the package."""

import json
from dataclasses import replace
from pathlib import Path

import choose_head
import fit_heads
import numpy as np
import pytest
from models import MODELS

from pecmae import PECMAE
from pecmae.audio.segments import write_audio
from pecmae.hub.zoo import SHARED_AUTOENCODER

RATE = 24_000


def row(accuracy: float, cancellation: float, agreement: float = 0.8, low: float | None = None) -> dict:
    interval = [accuracy - 0.1 if low is None else low, accuracy + 0.1]
    return {"accuracy": accuracy, "interval_95": interval, "agreement": agreement, "cancellation": cancellation}


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        ([row(0.9, 0.5), row(0.85, 0.3), row(0.7, 0.1)], 1),  # the last is too far from the best
        ([row(0.9, 0.5, low=0.6), row(0.85, 0.3), row(0.7, 0.1)], 2),
        ([row(0.9, 0.3, 0.6), row(0.85, 0.3, 0.7), row(0.86, 0.3, 0.7)], 2),
        ([row(0.9, 0.2, 0.5), row(0.85, 0.4, 0.7)], 1),  # 0.40 against 0.42
        ([row(0.9, 0.5), row(0.8, 0.4)], 1),  # the end of the interval belongs to it
    ],
)
def test_the_crispest_within_the_interval_of_the_most_accurate_is_chosen(rows, index):
    assert choose_head.chosen(rows) is rows[index]


@pytest.fixture
def data(tmp_path) -> Path:
    """Tones of three pitches; a test set that nothing here may read."""
    draws, time = np.random.default_rng(0), np.arange(round(1.2 * RATE)) / RATE
    for split, count in {"train": 4, "validation": 2}.items():
        for label, pitch in {"blues": 200, "jazz-rock": 800, "rock": 3200}.items():
            (tmp_path / "data/genres" / split / label).mkdir(parents=True)
            for number in range(count):
                wave = 0.3 * np.sin(2 * np.pi * pitch * draws.uniform(0.9, 1.1) * time)
                write_audio(tmp_path / f"data/genres/{split}/{label}/{number}.wav", wave.astype(np.float32), RATE)
    (tmp_path / "data/genres/other/blues").mkdir(parents=True)
    (tmp_path / "data/genres/other/blues/broken.wav").write_text("no sound")
    return tmp_path / "data"


@pytest.fixture
def searched(data, tmp_path, tiny_model_dir, monkeypatch) -> list[str]:
    """The arguments of a search that has been made."""
    monkeypatch.setattr(choose_head, "SETTINGS", replace(choose_head.SETTINGS, steps=3, batch_size=8))
    arguments = ["genres", "--data", str(data), "--model", str(tiny_model_dir), "--cache", str(tmp_path / "cache")]
    arguments += ["--output", str(tmp_path / "heads.json"), "--prototypes", "1", "2", "--kernel-scales", "1", "10"]
    choose_head.main(arguments)
    return arguments


def test_every_choice_is_tried_as_fitted_and_with_prototypes_on_segments(searched, tmp_path):
    found = json.loads((tmp_path / "heads.json").read_text())["genres"]
    assert found["labels"] == ["blues", "jazz-rock", "rock"]
    assert found["clips"] == {"train": 12, "validation": 6}
    choices = [tuple(one["choice"].values()) for one in found["rows"]]
    assert len(set(choices)) == len(choices) == 2 * 2 * 2 * 2 * 2
    assert sum(one["chosen"] for one in found["rows"]) == 1
    assert choose_head.chosen(found["rows"])["chosen"]
    table = (tmp_path / "heads.md").read_text()
    assert table.count("**") == 2
    assert "12 training and 6 validation tracks of 3 classes" in table


def test_a_second_search_fits_nothing_again(searched, tmp_path, monkeypatch):
    before = (tmp_path / "heads.json").read_text()

    def forbidden(*args, **options):
        raise AssertionError("fitted again")

    monkeypatch.setattr(choose_head, "fit_head", forbidden)
    choose_head.main(searched)
    assert (tmp_path / "heads.json").read_text() == before


def test_rows_of_other_data_are_not_mixed_with_new_ones(searched, data):
    (data / "genres/train/rock/0.wav").unlink()
    with pytest.raises(SystemExit, match="rows of other data"):
        choose_head.main(searched)


def test_what_was_chosen_is_fitted_to_training_and_validation_tracks(searched, data, tmp_path, tiny_model_dir, monkeypatch):
    monkeypatch.setattr(fit_heads, "SETTINGS", choose_head.SETTINGS)
    monkeypatch.setattr(fit_heads, "SHARED_AUTOENCODER", str(tiny_model_dir / "autoencoder"))
    rows = json.loads((tmp_path / "heads.json").read_text())["genres"]["rows"]
    directory = fit_heads.fit_model(MODELS["mini"], rows, data, tmp_path / "runs", tmp_path / "cache")
    model = PECMAE.from_pretrained(directory)
    assert model.labels == ("blues", "jazz rock", "rock")
    choice = choose_head.chosen(rows)["choice"]
    assert model.head.config.kernel_scale == choice["kernel_scale"]
    assert model.head.config.prototypes_per_class == choice["prototypes_per_class"]
    assert set(json.loads((directory / "splits.json").read_text())["splits"]) == {"train", "validation"}


@pytest.mark.parametrize("shared", [False, True])
def test_a_model_is_put_into_the_package_without_its_autoencoder(shared, tiny_model_dir, tmp_path):
    fit_heads.install(tiny_model_dir, tmp_path / "model", shared=shared)
    assert not (tmp_path / "model" / "autoencoder").exists()
    assert (tmp_path / "model" / "scheduler" / "scheduler_config.json").is_file()
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["autoencoder"] == ({"repo_id": SHARED_AUTOENCODER, "revision": None} if shared else None)
    assert (tmp_path / "model/model.safetensors").read_bytes() == (tiny_model_dir / "model.safetensors").read_bytes()
