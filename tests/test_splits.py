"""How data without splits is divided: shares, groups, seeds, and what cannot be divided."""

from pathlib import Path

import pytest

from pecmae import ConfigError
from pecmae.data.collection import Clip, Collection
from pecmae.data.splits import complete_splits


def clips(label: str, count: int, group_size: int = 0, root: str = "music") -> tuple[Clip, ...]:
    """Clips of a class, in groups of so many one after the other; 0: without groups."""
    groups = [f"{label}{number // group_size}" if group_size else None for number in range(count)]
    return tuple(Clip(Path(root, label, f"{number:03d}.wav"), label, group) for number, group in enumerate(groups))


def names(collection: Collection) -> dict[str, list[str]]:
    """Label and file name of the clips of each split."""
    return {split: [f"{clip.label} {clip.path.name}" for clip in found] for split, found in collection.splits.items()}


def whole(*parts: tuple[Clip, ...], **splits: tuple[Clip, ...]) -> Collection:
    """A collection with clips to train on, and the splits that are given."""
    return Collection("mine", {"train": sum(parts, ()), **splits})


@pytest.mark.parametrize("group_size", [0, 4])
def test_the_seed_divides_alike_wherever_the_folder_lies_and_in_whatever_order(group_size):
    here, there = (whole(clips("a", 40, group_size, root), clips("b", 60, group_size, root)) for root in ("music", "z/backup"))
    turned = Collection("mine", {"train": here.splits["train"][::-1]})
    expected = names(complete_splits(here, seed=3))
    assert names(complete_splits(there, seed=3)) == names(complete_splits(turned, seed=3)) == expected
    assert names(complete_splits(here, seed=4)) != expected
    assert names(complete_splits(here)) == names(complete_splits(here, seed=0))


@pytest.mark.parametrize("group_size", [0, 2, 5])
def test_every_class_gives_its_share_to_each_split(group_size):
    divided = complete_splits(
        whole(clips("a", 200, group_size), clips("b", 80, group_size)), validation_share=0.1, test_share=0.25
    )
    for label, count in (("a", 200), ("b", 80)):
        assert divided.counts["test"][label] == pytest.approx(0.25 * count, abs=max(group_size, 1))
        assert divided.counts["validation"][label] == pytest.approx(0.1 * count, abs=max(group_size, 1))
    assert sorted(str(clip.path) for clip in divided.clips) == sorted(f"music/{x}/{n:03d}.wav" for x, m in
        (("a", 200), ("b", 80)) for n in range(m))  # fmt: skip


def test_the_fold_that_is_fairest_to_all_classes_is_set_apart():
    # One group holds half of a class: no fold with it is near a fifth.
    large = tuple(Clip(Path(f"large/{n}.wav"), "a", "large") for n in range(30))
    divided = complete_splits(whole(large, clips("a", 30, 2), clips("b", 60, 2)), validation_share=0.2, test_share=0.2)
    assert all(clip.group != "large" for split in ("validation", "test") for clip in divided.splits[split])


def test_clips_without_a_group_are_divided_one_by_one_beside_groups():
    divided = complete_splits(whole(clips("a", 30), clips("b", 30, 3)))
    alone = {split: sum(clip.group is None for clip in found) for split, found in divided.splits.items()}
    assert sum(alone.values()) == 30
    assert all(alone[split] >= 2 for split in ("train", "validation", "test"))


def test_two_clips_are_not_divided_and_three_are():
    divided = complete_splits(whole(clips("a", 2), clips("b", 3), test=clips("c", 1)))
    assert divided.counts["train"] == {"a": 2, "b": 2, "c": 0}
    assert divided.counts["validation"] == {"a": 0, "b": 1, "c": 0}


def test_a_share_of_nothing_leaves_the_split_out():
    divided = complete_splits(whole(clips("a", 20)), validation_share=0)
    assert {split: len(found) for split, found in divided.splits.items()} == {"train": 17, "test": 3}


@pytest.mark.parametrize("share", [-0.1, 0.5, 1.2])
def test_a_share_that_leaves_too_little_to_train_on_is_refused(share):
    with pytest.raises(ConfigError, match=f"mine: a share of {share:.2f} cannot be set apart; give one from 0 to below 0.5"):
        complete_splits(whole(clips("a", 20)), test_share=share)


def test_what_cannot_be_divided_is_named():
    with pytest.raises(ConfigError, match="mine: no clips to train on; give a split called train, or no splits at all"):
        complete_splits(Collection("mine", {"test": clips("a", 3)}))
    with pytest.raises(ConfigError, match="mine: all clips of 'a' are of one group and cannot be divided"):
        complete_splits(whole(clips("a", 9, 9), clips("b", 40, 2)))
