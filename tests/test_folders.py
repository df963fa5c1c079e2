from pathlib import Path

import pytest

from audio_trees import write_tone
from pecmae import ConfigError
from pecmae.data.load import load_collection
from pecmae.data.split_names import name_splits
from pecmae.data.splits import complete_splits


def tree(root: Path, *places: str) -> Path:
    """A folder with a sound of its own at every place."""
    for number, place in enumerate(places):
        write_tone(root / place, number)
    return root


def splits_of(root: Path, **options: str) -> dict[str, list[str]]:
    found = load_collection(root, **options).splits
    return {split: [f"{clip.label}/{clip.path.name}" for clip in clips] for split, clips in found.items()}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "VALID", "Test"),
        ("training", "dev", "testing"),
        ("train_set", "validation-set", "testset"),
        ("training data", "Development", "heldout split"),
        ("1_train", "2_valid", "3_test"),
        ("train", "eval", "test"),
        ("train", "dev", "eval"),
        ("Training", "validate", "Evaluation"),
    ],
)
def test_splits_are_known_by_their_usual_names(tmp_path, train, validation, test):
    tree(tmp_path, *(f"{split}/{label}/{split}.wav" for split in (train, validation, test) for label in "ab"))
    found = load_collection(tmp_path)
    assert {split: clips[0].path.stem for split, clips in found.splits.items()} == {
        "train": train, "validation": validation, "test": test
    }  # fmt: skip
    assert {clip.label for clip in found.clips} == {"a", "b"}
    assert found.notes == ()
    assert complete_splits(found).splits == found.splits


@pytest.mark.parametrize("name", ["trainer", "test tone", "validator", "evil", "contest", "train horn", "train1"])
def test_a_name_that_only_holds_such_a_word_is_no_split(name):
    assert name_splits([name, "jazz"]) == {}


def test_evaluation_tests_unless_there_is_a_test():
    assert name_splits(["train", "eval"])["eval"] == "test"
    assert name_splits(["train", "eval", "test"])["eval"] == "validation"
    assert "eval" not in name_splits(["train", "val", "eval", "test"])


def test_two_folders_for_one_split_are_named(tmp_path):
    tree(tmp_path, "train/a/1.wav", "dev/a/2.wav", "valid/a/3.wav")
    with pytest.raises(ConfigError, match="dev and valid are both for validation"):
        load_collection(tmp_path)


def test_what_lies_beside_splits_is_named_and_never_trained_on(tmp_path):
    places = ["train/a/1.wav", "train/b/2.wav", "test/a/3.wav", "test/b/4.wav"]
    tree(tmp_path, *places, "other/a/5.wav", "drafts/x/6.wav", "train/7.wav", "8.wav")
    (tmp_path / "plots").mkdir()
    found = load_collection(tmp_path)
    assert {split: len(clips) for split, clips in found.splits.items()} == {"train": 2, "test": 2, "other": 1}
    assert found.labels == ("a", "b")
    told = "\n".join(found.notes)
    for sentence in (
        "other: is none of train",
        "drafts: is neither",
        "train: 7.wav in no class",
        "8.wav in no",
        "plots: holds no audio",
    ):
        assert sentence in told
    assert "drafts" not in str(found.clips)


def test_a_class_that_is_called_like_a_split_is_a_class_where_only_that_makes_sense(tmp_path):
    tree(tmp_path, "bus/1.wav", "car/2.wav", "train/3.wav")
    found = load_collection(tmp_path)
    assert splits_of(tmp_path) == {"train": ["bus/1.wav", "car/2.wav", "train/3.wav"]}
    assert "'train' is taken for a class" in found.notes[0]


def test_a_layout_that_can_be_read_in_two_ways_is_asked_about(tmp_path):
    tree(tmp_path, *(f"{label}/rec{number}/{number}.wav" for label in ("bus", "car", "train") for number in (1, 2)))
    with pytest.raises(
        ConfigError, match=r"train can be a split \(with the classes rec1, rec2\) or a class beside bus, car; .*--layout"
    ):
        load_collection(tmp_path)
    assert load_collection(tmp_path, layout="classes").labels == ("bus", "car", "train")
    assert load_collection(tmp_path, layout="splits").splits["train"][0].label == "rec1"
    with pytest.raises(ConfigError, match="layout='folders' is not known"):
        load_collection(tmp_path, layout="folders")


def test_splits_without_class_folders_and_folds_are_refused(tmp_path):
    tree(tmp_path / "flat", "train/1.wav", "test/2.wav")
    with pytest.raises(ConfigError, match="test, train is named like a split but holds no class folders"):
        load_collection(tmp_path / "flat")
    tree(tmp_path / "folds", "fold1/1.wav", "fold2/2.wav")
    with pytest.raises(ConfigError, match="fold1, fold2 number folds"):
        load_collection(tmp_path / "folds")


def test_folders_that_systems_and_runs_leave_are_passed_over(tmp_path):
    tree(tmp_path, "a/1.wav", "b/2.wav", "__MACOSX/a/3.wav", "@eaDir/4.wav", "a/@eaDir/5.wav/6.wav", "run/sounds/7.wav")
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "settings.json").write_text("{}")
    assert splits_of(tmp_path) == {"train": ["a/1.wav", "b/2.wav"]}
    assert [note.split(": ")[1] for note in load_collection(tmp_path).notes] == [
        "holds a run or a model of pecmae's; passed over."
    ]


@pytest.mark.parametrize("group_by", ["subfolder", r"artist(\d+)"])
def test_a_way_to_group_that_finds_nothing_is_refused(tmp_path, group_by):
    tree(tmp_path, "a/1.wav", "b/2.wav")
    with pytest.raises(ConfigError, match="finds no group"):
        load_collection(tmp_path, group_by=group_by)


def test_clips_without_a_group_are_counted(tmp_path):
    tree(tmp_path, "a/x_1.wav", "a/x_2.wav", "b/y.wav")
    found = load_collection(tmp_path, group_by=r"(.)_")
    assert "no group for 1 of 3 clips, such as y.wav" in found.notes[0]
    assert "1 groups" in found.describe()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_by": "(.)_"}, "group_by=.* has no effect"),
        ({"layout": "classes"}, "layout='classes' has no effect"),
    ],
)
def test_an_option_that_a_table_ignores_is_refused(tmp_path, options, message):
    (tmp_path / "list.csv").write_text("a,1.wav\n")
    with pytest.raises(ConfigError, match=message):
        load_collection(tmp_path / "list.csv", **options)


def test_an_option_that_a_folder_or_a_data_set_ignores_is_refused(tmp_path):
    tree(tmp_path, "a/1.wav")
    with pytest.raises(ConfigError, match="root='x' has no effect"):
        load_collection(tmp_path, root="x")
    with pytest.raises(ConfigError, match="gtzan has its own layout, splits and groups; group_by='subfolder' has no effect"):
        load_collection(tmp_path, dataset="gtzan", group_by="subfolder")


def test_classes_that_differ_by_case_or_space_are_mentioned(tmp_path):
    tree(tmp_path, "Hip-Hop/1.wav", "hip hop/2.wav", "jazz/3.wav")
    assert "'Hip-Hop' and 'hip hop' are taken for different ones" in load_collection(tmp_path).notes[0]
