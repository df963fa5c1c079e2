from pathlib import Path

import pytest

from audio_trees import write_tone
from pecmae import ConfigError
from pecmae.data.checks import check_collection
from pecmae.data.load import load_collection


@pytest.fixture
def audio(tmp_path) -> Path:
    """a/1.wav, a/2.wav, b/1.wav and b/2.wav."""
    for number, place in enumerate(("a/1", "a/2", "b/1", "b/2")):
        write_tone(tmp_path / f"{place}.wav", number)
    return tmp_path


def write(folder: Path, name: str, *lines: str) -> Path:
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


ROWS = [("a", "a/1.wav"), ("a", "a/2.wav"), ("b", "b/1.wav"), ("b", "b/2.wav")]


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("metadata.csv", "file_name,label", "{path},{label}"),
        ("pathfirst.csv", "", "{path},{label}"),
        ("semicolon.csv", "label;path", "{label};{path}"),
        ("semicolon_without_header.csv", "", "{label};{path}"),
        ("tabs.tsv", "Genre\tFile Name", "{label}\t{path}"),
        ("genre.csv", "genre,path", "{label},{path}"),
        ("category.csv", "filename,Category", "{path},{label}"),
        ("quoted.csv", '"label","path"', '"{label}","{path}"'),
        ("json.jsonl", "", '{{"file_name": "{path}", "label": "{label}"}}'),
    ],
)
def test_tables_as_people_write_them(audio, name, header, row):
    table = write(audio, name, header, *(row.format(label=label, path=path) for label, path in ROWS))
    found = load_collection(table)
    assert [(clip.label, clip.path.relative_to(audio).as_posix()) for clip in found.clips] == ROWS
    assert check_collection(found).ok


def test_a_label_with_a_file_of_its_name_is_still_a_label(audio):
    write_tone(audio / "a.wav", 9)
    write_tone(audio / "b.wav", 10)
    found = load_collection(write(audio, "list.csv", *(f"{path},{label}" for label, path in ROWS)))
    assert found.labels == ("a", "b")


def test_paths_without_extension_are_known_by_what_exists(audio):
    found = load_collection(write(audio, "list.csv", *(f"{path.removesuffix('.wav')},{label}" for label, path in ROWS)))
    assert check_collection(found).ok
    assert found.labels == ("a", "b")


def test_backslashes_of_windows_are_folders(audio):
    rows = (f"{label},{path}".replace("/", "\\") for label, path in ROWS)
    assert check_collection(load_collection(write(audio, "list.csv", "label,path", *rows))).ok


def test_the_hubs_metadata_describes_its_folder_and_those_of_its_splits(audio):
    write(audio, "metadata.csv", "file_name,label", *(f"{path},{label.upper()}" for label, path in ROWS))
    assert load_collection(audio).labels == ("A", "B")
    (audio / "metadata.csv").unlink()
    for split, label in (("train", "a"), ("test", "b")):
        (audio / label).rename(audio / split)
        write(audio / split, "metadata.jsonl", *(f'{{"file_name": "{n}.wav", "label": "{n}"}}' for n in (1, 2)))
    found = load_collection(audio)
    assert found.counts == {"train": {"1": 1, "2": 1}, "test": {"1": 1, "2": 1}}
    assert check_collection(found, minimum_clips=1).ok


def test_metadata_without_labels_leaves_the_folders_to_speak(audio):
    write(audio, "metadata.csv", "file_name,caption", "a/1.wav,loud")
    assert load_collection(audio).labels == ("a", "b")


@pytest.mark.parametrize("column", ["split", "subset", "Partition", "fold", "set"])
def test_a_column_of_splits_is_read_under_its_usual_names(audio, column):
    words = ("training", "Test", "training", "TEST")
    rows = (f"{label},{path},{word}" for (label, path), word in zip(ROWS, words, strict=True))
    found = load_collection(write(audio, "list.csv", f"label,path,{column}", *rows))
    assert {split: [clip.path.name for clip in clips] for split, clips in found.splits.items()} == {
        "train": ["1.wav", "1.wav"], "test": ["2.wav", "2.wav"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("label,path,fold", "a,a/1.wav,3", "the column 'fold' says 3, not which of them train and which test"),
        ("label,path,split,subset", "a,a/1.wav,train,test", "'split' and 'subset' both say splits"),
        ("label,path,path", "a,a/1.wav,a/1.wav", "'path' is there more than once"),
        ("label,path", "a/1.wav,a", "swap the two columns"),
        ("file_name,mood", "a/1.wav,calm", "none is called 'label'"),
        ("label,title", "a,song", "none is called 'path'"),
        ("kind,sound", "a,a/1.wav", "none is called 'path'"),
    ],
)
def test_a_table_that_does_not_say_what_it_means_is_refused(audio, header, row, message):
    with pytest.raises(ConfigError, match=message):
        load_collection(write(audio, "list.csv", header, row, row))


def test_an_empty_split_is_no_training_split(audio):
    with pytest.raises(ConfigError, match="row 3: the split is empty"):
        load_collection(write(audio, "list.csv", "label,path,split", "a,a/1.wav,train", "b,b/1.wav, "))


def test_rows_are_counted_as_an_editor_counts_lines(audio):
    lines = ["", "label,path,note", 'a,a/1.wav,"two', 'lines"', "", "a,,x"]
    with pytest.raises(ConfigError, match="row 6: "):
        load_collection(write(audio, "list.csv", *lines))
    with pytest.raises(ConfigError, match="row 3: is no JSON object"):
        load_collection(write(audio, "list.jsonl", '{"label": "a", "path": "a/1.wav"}', "", "[1]"))


def test_columns_are_told_that_are_read_under_another_name_or_not_at_all(audio):
    found = load_collection(write(audio, "list.csv", "genre,path,artist,year", "a,a/1.wav,Ann,1999"))
    assert found.notes == (f"{audio / 'list.csv'}: label from 'genre'; group from 'artist'; not read: 'year'.",)
    assert found.clips[0].group == "Ann"


def test_a_dot_in_a_name_is_part_of_it(audio):
    for name in ("song.wav", "song.v2.flac"):
        write_tone(audio / name, len(name))
    found = load_collection(write(audio, "list.csv", "a,song.v2", "a,song.v2.npy", "a,song.mp3"))
    assert [clip.path.name for clip in found.clips] == ["song.v2.flac", "song.v2.flac", "song.wav"]
    assert "song.mp3 by song.wav" in found.notes[0]


def test_a_split_that_is_none_of_the_three_is_told(audio):
    found = load_collection(write(audio, "list.csv", "label,path,split", "a,a/1.wav,train", "b,b/1.wav,unlabelled"))
    assert list(found.splits) == ["train", "unlabelled"]
    assert "the split 'unlabelled' is none of train, validation and test" in found.notes[0]


@pytest.mark.parametrize(("text", "message"), [(b'[{"label": "a"}]', "one JSON value"), (b"\xff\xfe\x00", "not UTF-8")])
def test_a_table_of_another_format_is_named(tmp_path, text, message):
    (tmp_path / "list.csv").write_bytes(text)
    with pytest.raises(ConfigError, match=message):
        load_collection(tmp_path / "list.csv")
