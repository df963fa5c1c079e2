"""Splits for data that comes without: stratified by class, repeatable from a seed, and no group in two of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from pecmae.data.collection import Clip, Collection, with_splits
from pecmae.data.split_names import SPLITS, split_order
from pecmae.errors import ConfigError

# Shares of a collection that validate and test where it has no splits of its own.
VALIDATION_SHARE = TEST_SHARE = 0.15
# What tells how far answers can be trusted: this share of the training clips, or more of them, to reach as many as it takes.
CALIBRATION = "calibration"
CALIBRATION_SHARE, LARGEST_CALIBRATION_SHARE = 0.1, 0.2


def complete_splits(
    collection: Collection,
    *,
    validation_share: float = VALIDATION_SHARE,
    test_share: float = TEST_SHARE,
    seed: int = 0,
) -> Collection:
    """Give a collection the splits it lacks.

    Given splits stay as they are. From "train" alone come validation and test; beside a given test split, only a
    validation split is taken from "train".

    Parameters
    ----------
    collection : Collection
    validation_share, test_share : float
        Of all clips that are divided, from 0 to below 0.5; a class with three clips or more gets at least one in each.
    seed : int
        The same seed divides the same files alike, wherever the folder lies.

    Raises
    ------
    ConfigError
        There is no "train", or too few groups of a class to divide.
    """
    given = dict(collection.splits)
    train = given.get("train", ())
    if not train:
        raise ConfigError(f"{collection.name}: no clips to train on; give a split called train, or no splits at all.")
    shares = {}
    if not given.get("test") and not given.get("validation"):
        shares["test"] = test_share
    if not given.get("validation"):
        shares["validation"] = validation_share
    for share in shares.values():
        if not 0 <= share < 0.5:
            raise ConfigError(f"{collection.name}: a share of {share:.2f} cannot be set apart; give one from 0 to below 0.5.")
    # Sorted by what does not depend on where the folder lies.
    clips = sorted(train, key=lambda clip: (clip.label, clip.group or "", clip.path.name, str(clip.path)))
    divide = _by_group if any(clip.group for clip in clips) else _by_class
    places = divide(clips, {name: share for name, share in shares.items() if share}, seed, collection.name)
    for name in ("train", *shares):
        given[name] = tuple(clip for clip, place in zip(clips, places, strict=True) if place == name)
    kept = (name for name, clips in given.items() if clips or name not in SPLITS)
    return with_splits(collection, {name: given[name] for name in sorted(kept, key=split_order)})


def hold_out_calibration(collection: Collection, share: float, *, at_least: int, seed: int = 0) -> Collection:
    """Take clips out of "train" into a split "calibration"; a collection that has too few, or such a split, stays as it is.

    Parameters
    ----------
    collection : Collection
    share : float
        Of the training clips, from 0 (none) to below 0.5; in each class, and no group in both.
    at_least : int
        Clips without which calibration promises nothing: the share grows up to `LARGEST_CALIBRATION_SHARE` to reach them.
    seed : int

    Raises
    ------
    ConfigError
        The share is too large, or a class has too few groups to divide.
    """
    if not 0 <= share < 0.5:
        raise ConfigError(f"calibration_share={share:g} cannot be held out; give one from 0 to below 0.5.")
    train = collection.splits.get("train", ())
    if not share or not train or CALIBRATION in collection.splits:
        return collection
    share = max(share, at_least / len(train))
    if share > LARGEST_CALIBRATION_SHARE:
        return collection
    clips = sorted(train, key=lambda clip: (clip.label, clip.group or "", clip.path.name, str(clip.path)))
    divide = _by_group if any(clip.group for clip in clips) else _by_class
    places = divide(clips, {CALIBRATION: share}, seed, collection.name)
    parts = {name: tuple(c for c, place in zip(clips, places, strict=True) if place == name) for name in ("train", CALIBRATION)}
    return with_splits(collection, {**collection.splits, **parts})


def _by_class(clips: Sequence[Clip], shares: Mapping[str, float], seed: int, name: str) -> np.ndarray:
    """Split of each clip; a class of one or two clips is not divided."""
    labels = np.array([clip.label for clip in clips])
    places = np.full(len(clips), "train", object)
    for number, label in enumerate(np.unique(labels).tolist()):
        rows = np.random.default_rng([seed, number]).permutation(np.flatnonzero(labels == label))
        start = 0
        for split, share in shares.items():
            count = max(1, round(share * len(rows))) if len(rows) > len(shares) and len(rows) > 2 else 0
            places[rows[start : start + count]] = split
            start += count
    return places


def _by_group(clips: Sequence[Clip], shares: Mapping[str, float], seed: int, name: str) -> np.ndarray:
    """Split of each clip, with no group in two."""
    places = np.full(len(clips), "train", object)
    for split, share in shares.items():
        rows = np.flatnonzero(places == "train")
        places[rows[_group_fold([clips[row] for row in rows.tolist()], share * len(clips) / len(rows), seed, name)]] = split
    return places


def _group_fold(clips: Sequence[Clip], share: float, seed: int, name: str) -> np.ndarray:
    """Rows of one of scikit-learn's stratified group folds; a clip without a group is a group of its own."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels = np.array([clip.label for clip in clips])
    groups = np.array([f"g {clip.group}" if clip.group else f"c {clip.path}" for clip in clips])
    for label in np.unique(labels).tolist():
        if len(np.unique(groups[labels == label])) < 2:
            raise ConfigError(
                f"{name}: all clips of {label!r} are of one group and cannot be divided; add others or give splits."
            )
    folds = min(max(2, round(1 / share)), len(np.unique(groups)))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    candidates = [fold for _, fold in splitter.split(np.zeros(len(clips)), labels, groups)]
    # The fold that is nearest to the wanted share in every class.
    wanted = {label: share * (labels == label).sum() for label in np.unique(labels).tolist()}

    def unfairness(fold: np.ndarray) -> float:
        return sum(abs((labels[fold] == label).sum() - count) / max(count, 1) for label, count in wanted.items())

    chosen = min(candidates, key=unfairness)
    for label in np.unique(labels).tolist():
        if (labels == label).sum() == (labels[chosen] == label).sum():
            raise ConfigError(f"{name}: {label!r} has too few groups to divide without crossing; add others or give splits.")
    return chosen
