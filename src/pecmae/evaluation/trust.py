"""How far a model's answers can be trusted, learned from labelled audio that it has not met."""

from dataclasses import dataclass
from pathlib import Path

from pecmae.data.collection import Clip, Collection
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.split_record import SplitRecord
from pecmae.data.splits import CALIBRATION
from pecmae.data.tracks import embed_files
from pecmae.errors import ConfigError
from pecmae.evaluation.report import cache_beside
from pecmae.model import PECMAE
from pecmae.prototypes.calibration import Calibration, calibrate


@dataclass(frozen=True)
class CalibrationClips:
    """What a model is calibrated on."""

    held_out: tuple[Clip, ...]
    # What it was fitted on, as far as it is among the data: tells what is usual. Without any, the others do.
    training: tuple[Clip, ...]


def choose_calibration_clips(collection: Collection, record: SplitRecord | None) -> CalibrationClips:
    """The clips of a collection that a model was neither fitted on, nor chosen by, nor will be tested on.

    The split "calibration", of the collection or of the model's record; else every clip that the model has not met, but those
    of a split "test".

    Parameters
    ----------
    collection : Collection
        As it was loaded, with the splits that it has of its own.
    record : SplitRecord, optional
        Of the model.

    Raises
    ------
    ConfigError
        There are none.
    """
    splits = collection.splits
    given = set(splits) != {"train"}  # where a collection has no splits of its own, all of it is in "train"
    met = {clip: record.split_of(clip) for clip in collection.clips} if record is not None else {}
    own = {clip: split for split, clips in splits.items() for clip in clips} if given else {}
    known = {clip: met.get(clip) or own.get(clip) for clip in collection.clips}
    held_out = tuple(clip for clip, split in known.items() if split == CALIBRATION)
    if not held_out:
        held_out = tuple(clip for clip, split in known.items() if split not in ("train", "validation", "test"))
    if not held_out:
        raise ConfigError(
            f"{collection.name}: holds no clips to calibrate on: the model was fitted on them, chosen by them or is to be "
            "tested on them; give others, or put some into a split 'calibration'."
        )
    return CalibrationClips(held_out, tuple(clip for clip, split in known.items() if split == "train"))


def calibrate_model(
    model: PECMAE, collection: Collection, *, cache: Path | None = None, progress: bool = False
) -> tuple[Calibration, dict[str, str]]:
    """Learn how far a model's answers can be trusted; the model stays as it is.

    Parameters
    ----------
    model : PECMAE
    collection : Collection
        See `choose_calibration_clips`.
    cache : Path, optional
        Where embeddings are kept; see `pecmae.evaluation.report.cache_beside`.
    progress : bool
        Show progress bars on standard error.

    Returns
    -------
    Calibration
    dict
        Path → what was wrong with it, for files that were left out.

    Raises
    ------
    ConfigError
        There are too few clips that the model has not met, or a class that it does not know.
    """
    if strangers := [label for label in collection.labels if label not in model.labels]:
        known = ", ".join(model.labels)
        raise ConfigError(f"{collection.name}: {strangers[0]!r} is no class of the model, which has {known}.")
    chosen = choose_calibration_clips(collection, SplitRecord.load(model.directory))
    store = EmbeddingCache(cache_beside(model.directory) if cache is None else cache, model.autoencoder, model.preparation)
    held_out, failed = embed_files(store, chosen.held_out, model.labels, skip_bad=True, progress=progress)
    training = held_out
    if chosen.training:
        training, bad = embed_files(store, chosen.training, model.labels, skip_bad=True, progress=progress)
        failed |= bad
    return calibrate(model.head, held_out, training), failed
