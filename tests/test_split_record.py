"""What a model remembers of its data, and what it is measured on."""

import json
from pathlib import Path

import pytest

from audio_trees import write_tone
from pecmae import ConfigError
from pecmae.data.collection import Collection
from pecmae.data.load import load_collection
from pecmae.data.split_record import SplitRecord, choose_clips
from pecmae.data.splits import complete_splits
from pecmae.errors import CheckpointError


@pytest.fixture
def fitted(tmp_path) -> tuple[Path, Collection, SplitRecord]:
    """A folder of two classes, the splits that were made of it, and their record."""
    for number in range(20):
        write_tone(tmp_path / "data" / "ab"[number % 2] / f"{number}.wav", number)
    splits = complete_splits(load_collection(tmp_path / "data"))
    return tmp_path / "data", splits, SplitRecord.of(splits)


def names(clips) -> set[str]:
    return {clip.path.stem for clip in clips}


def test_a_record_is_read_as_it_was_written(fitted, tmp_path):
    _, _, record = fitted
    record.save(tmp_path)
    assert SplitRecord.load(tmp_path) == record
    assert {split: len(found) for split, found in record.splits.items()} == {"train": 12, "validation": 4, "test": 4}
    assert SplitRecord.load(tmp_path / "data") is None
    assert SplitRecord.load(None) is None


@pytest.mark.parametrize("text", ["", "[]", '{"format_version": 1}', '{"format_version": 1, "splits": 3}', "[" * 9999])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"splits\.json: cannot be read"):
        SplitRecord.load(tmp_path)
    (tmp_path / "splits.json").write_text(json.dumps({"format_version": 2, "splits": {}}))
    with pytest.raises(CheckpointError, match="version 2 is newer"):
        SplitRecord.load(tmp_path)


def test_splits_are_remembered_when_files_are_added_renamed_and_removed(fitted):
    folder, splits, record = fitted
    tested = splits.splits["test"]
    write_tone(folder / "a" / "00.wav", 999)
    splits.splits["train"][0].path.unlink()
    moved = tested[0].path.rename(folder / "zz.wav")
    moved.rename(folder / tested[0].label / "zz.wav")
    chosen = choose_clips(load_collection(folder), "test", record)
    assert names(chosen.clips) == names(tested[1:]) | {"zz"}
    assert names(chosen.training) == names(splits.splits["train"][1:])
    assert chosen.notes == ("data: 1 of 20 clips were in none of the model's splits, they are left out (00.wav).",)


def test_all_says_what_was_seen_in_training(fitted):
    folder, _, record = fitted
    chosen = choose_clips(load_collection(folder), "all", record)
    assert len(chosen.clips) == 20
    assert "16 of 20 clips were seen in training" in chosen.notes[0]


def test_clips_of_a_given_split_that_were_trained_on_are_left_out(fitted, tmp_path):
    _, splits, record = fitted
    trained, tested = splits.splits["train"][0], splits.splits["test"][0]
    (tmp_path / "other" / "train" / "a").mkdir(parents=True)
    for number, clip in enumerate((trained, tested)):
        (tmp_path / "other" / "test" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "other" / "test" / "a" / f"{number}.wav").write_bytes(clip.path.read_bytes())
    write_tone(tmp_path / "other" / "test" / "a" / "new.wav", 777)
    chosen = choose_clips(load_collection(tmp_path / "other"), "test", record)
    assert names(chosen.clips) == {"1", "new"}
    assert "1 of 3 clips were seen in training (0.wav); they are left out" in chosen.notes[0]


def test_nothing_is_guessed(fitted, tmp_path):
    folder, splits, record = fitted
    with pytest.raises(ConfigError, match="there is no split 'test'; nor does the model say which clips it was fitted on"):
        choose_clips(load_collection(folder), "test", None)
    assert len(choose_clips(load_collection(folder), "all", None).clips) == 20
    for clip in splits.splits["test"]:
        clip.path.unlink()
    with pytest.raises(ConfigError, match="none of its 16 clips was in the split 'test'"):
        choose_clips(load_collection(folder), "test", record)
    write_tone(tmp_path / "given" / "test" / "a" / "1.wav", 1)
    write_tone(tmp_path / "given" / "train" / "a" / "2.wav", 2)
    given = load_collection(tmp_path / "given")
    assert names(choose_clips(given, "test", None).clips) == {"1"}
    assert names(choose_clips(given, "test", None).training) == {"2"}
    with pytest.raises(ConfigError, match="there is no split 'other'; it has train, test"):
        choose_clips(given, "other", None)


def test_a_file_of_two_splits_counts_as_trained_on(fitted):
    _, splits, record = fitted
    clip = splits.splits["test"][0]
    digest = record.splits["test"]
    both = SplitRecord({"test": digest, "train": record.splits["train"] | digest})
    assert both.split_of(clip) == "train"
