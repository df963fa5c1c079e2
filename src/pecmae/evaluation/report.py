"""All that can be measured of a model on labelled audio, as one report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pecmae.core.files import cache_root
from pecmae.data.collection import Clip, Collection
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.split_record import ChosenClips, SplitRecord, choose_clips
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.evaluation.confidence import confidence_report
from pecmae.evaluation.faithfulness import evidence_of, faithfulness_report
from pecmae.evaluation.listening_for import listening_report
from pecmae.evaluation.prototypes import PrototypeHealth, prototype_health
from pecmae.evaluation.sounds import check_round_trip, check_sonification
from pecmae.evaluation.stability import splice_report, stability_report
from pecmae.evaluation.tracks import Evaluation, evaluate_embedded
from pecmae.evaluation.unknown import unknown_report
from pecmae.model import PECMAE
from pecmae.prototypes.measures import track_reasons

# Tracks that are changed a little, and pairs of tracks that are put together, to see what becomes of the reasons.
DRAWN_TRACKS = 20


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """What `evaluate_model` measured."""

    evaluation: Evaluation  # of the labels
    notes: tuple[str, ...]  # what people should know of the data
    values: dict[str, Any] = field(repr=False)  # all of it, for JSON


def cache_beside(directory: Path | None) -> Path:
    """Where the embeddings of a model's data are: in the run that fitted it, or beside the Hub's cache."""
    beside = None if directory is None else directory.parent / "cache"
    return beside if beside is not None and beside.is_dir() else cache_root() / "embeddings"


def evaluate_model(
    model: PECMAE,
    collection: Collection,
    *,
    split: str = "test",
    cache: Path | None = None,
    seeds: int = 8,
    round_trips: int = 20,
    health: bool = True,
    explanations: bool = False,
    unknown: Sequence[Path] = (),
    progress: bool = False,
) -> EvaluationReport:
    """Measure a model on labelled audio, on the sounds of its prototypes, and its prototypes among the training data.

    Parameters
    ----------
    model : PECMAE
    collection : Collection
        Where it has no splits, the model says which clips it was not fitted on, known by their content.
    split : str
        "train", "validation", "test", another split of the collection, or "all", which is right for audio that the model has
        not met.
    cache : Path, optional
        Where embeddings are kept; see `cache_beside`.
    seeds : int
        Sounds of each prototype that are made and heard; 0 leaves them out.
    round_trips : int
        Tracks that are decoded and encoded again, all segments of each.
    health : bool
        Compare the prototypes with the training split, where it is known.
    explanations : bool
        Ask whether the reasons are true, see `explanations_report`; some of it reads the audio again.
    unknown : sequence of Path
        Files and folders of sound that is none of the classes, see `pecmae.evaluation.unknown.unknown_report`.
    progress : bool
        Show progress bars on standard error.

    Raises
    ------
    ConfigError
        There is no such split, or none of its clips can be used; or `unknown` is asked of a model that is not calibrated.
    """
    chosen = choose_clips(collection, split, SplitRecord.load(model.directory))
    store = EmbeddingCache(cache_beside(model.directory) if cache is None else cache, model.autoencoder, model.preparation)
    tracks, failed = embed_files(store, chosen.clips, model.labels, skip_bad=True, progress=progress)
    evaluation = evaluate_embedded(model.head, model.labels, tracks, failed)
    notes = (*collection.notes, *chosen.notes)
    values: dict[str, Any] = {"data": collection.name, "split": split, "tracks": evaluation.to_dict(), "notes": list(notes)}
    values["confidence"] = confidence_report(model.head, model.calibration, tracks)
    values["reasons"] = track_reasons(model.head, tracks).to_dict()
    if unknown:
        values["unknown"] = unknown_report(model, tracks, unknown, store, progress=progress)
    if explanations:
        whole = [clip for clip in chosen.clips if str(clip.path) not in failed]
        values["explanations"] = explanations_report(model, whole, tracks)
    if round_trips:
        values["round_trip"] = check_round_trip(model, _drawn(chosen.clips, failed, round_trips))
    survival = None
    if seeds:
        sonification = check_sonification(model, range(seeds))
        values["sonification"], survival = sonification.to_dict(), sonification.own_class_by_prototype
    if health and split != "all" and chosen.training:
        values["prototypes"] = _health(model, chosen, store, progress).to_dict(survival)
    return EvaluationReport(evaluation=evaluation, notes=notes, values=values)


def explanations_report(model: PECMAE, clips: Sequence[Clip], tracks: EmbeddedTracks) -> dict[str, Any]:
    """All that can be measured of a model's reasons.

    Parameters
    ----------
    model : PECMAE
    clips : sequence of Clip
        Those that could be embedded.
    tracks : EmbeddedTracks
        Of the same clips, in their order.

    Returns
    -------
    dict
        What `faithfulness_report` returns; `stability` and `localisation` (`pecmae.evaluation.stability`), of tracks that are
        drawn; and `listens_to` (`pecmae.evaluation.listening_for`).
    """
    head, some = model.head, _drawn(clips, {}, DRAWN_TRACKS)
    similarities = evidence_of(head, tracks, model.calibration).similarities
    names = [model.prototype_name(m) for m in range(head.config.num_prototypes)]
    return {
        **faithfulness_report(head, tracks, model.calibration),
        "stability": stability_report(model, some),
        "localisation": splice_report(model, clips, count=DRAWN_TRACKS),
        "listens_to": listening_report(
            similarities, tracks.track_labels.numpy(), [clip.path for clip in clips], model.sampling_rate, names
        ),
    }


def _drawn(clips: Sequence[Clip], failed: Mapping[str, str], count: int) -> list[Clip]:
    readable = [clip for clip in clips if str(clip.path) not in failed]
    return [readable[index] for index in np.random.default_rng(0).permutation(len(readable))[:count]]


def _health(model: PECMAE, chosen: ChosenClips, store: EmbeddingCache, progress: bool) -> PrototypeHealth:
    train, _ = embed_files(store, chosen.training, model.labels, skip_bad=True, progress=progress)
    return prototype_health(model.head, model.labels, train)
