"""The explanation report: for each track a page on which its reasons can be read and heard.

Shapes: S segments, C classes, K prototypes per class, M prototypes.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from pecmae.audio.compression import CompressedSound, compressed, encoded
from pecmae.autoencoder.embedding import TrackEmbedding, cut_segments, new_survey
from pecmae.classifier import TrackClassifier
from pecmae.errors import PecmaeError
from pecmae.explain.media import outline, picture_uri
from pecmae.explain.pages import Page, model_facts, readable, render_page
from pecmae.explain.sounds import PrototypeSounds, sounds_of, without_audio_warnings
from pecmae.model import PECMAE
from pecmae.prototypes.calibration import RISK
from pecmae.prototypes.counterfactuals import Counterfactual
from pecmae.prototypes.explanations import Explanation, explanation_of
from pecmae.prototypes.neighbours import Neighbours
from pecmae.prototypes.outputs import Prediction

# Prototypes that get a sound for one track, unless the caller says otherwise.
SOUNDS_PER_TRACK = 24
# Of those, the ones that most segments are closest to, and that gave most to the predicted class and to the runner-up.
_MOST_HEARD = 6
_FOR_PREDICTED, _FOR_RUNNER_UP = 6, 3


@dataclass(frozen=True, kw_only=True)
class SegmentView:
    """A segment as the page shows it."""

    # In seconds: where it begins, and how long its real part is; the rest of a segment is padding.
    start: float
    seconds: float
    # No sample of it reaches -80 dB of full scale: what the model makes of it means nothing.
    silent: bool
    # Peaks along its real part, in thousandths of full scale.
    outline: list[int]
    # Spectrogram of its real part, a data URI.
    picture: str


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackReport:
    """One track: the explanation, and what there is to see and hear of it."""

    name: str
    explanation: Explanation
    # Of every class, the best first.
    scores: dict[str, float]
    # In seconds.
    duration: float
    segments: tuple[SegmentView, ...]
    # The whole track: {"type": media type, "data": base64}.
    sound: dict[str, str]
    # How likely the label is right; None where the model is not calibrated. And why to doubt it, in sentences.
    probability: float | None = None
    doubts: tuple[str, ...] = ()
    # What would have to be different for another label; None where nobody asked.
    counterfactual: Counterfactual | None = None
    # What scores are the softmax of the logits divided by; None where they are none.
    temperature: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all but the sound."""
        return {
            "name": self.name,
            "duration": self.duration,
            "label": self.explanation.label,
            "score": self.scores[self.explanation.label],
            "probability": self.probability,
            "doubts": list(self.doubts),
            "temperature": self.temperature,
            "scores": self.scores,
            "explanation": self.explanation.to_dict(),
            "winners": self.explanation.winners.tolist(),
            "segments": [asdict(segment) for segment in self.segments],
            "counterfactual": self._counterfactual(),
        }

    def _counterfactual(self) -> dict[str, Any] | None:
        walk = self.counterfactual
        if walk is None:
            return None
        return walk.to_dict() | {"pictures": [picture_uri(sound, walk.sampling_rate) for sound in walk.sounds]}


@dataclass(frozen=True, kw_only=True, eq=False)
class Report(Page):
    """Tracks explained by one model, with the sounds of the prototypes that matter for them."""

    tracks: tuple[TrackReport, ...]
    # By prototype (0 … M-1): {"type", "data"} and a spectrogram.
    sounds: dict[int, dict[str, str]]
    pictures: dict[int, str]
    # Training segments nearest to each prototype in the report; None where the model does not store them.
    nearest: dict[int, list[dict[str, Any]]] | None
    # Tracks that could not be explained: path and error.
    failures: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what all tracks share."""
        return {
            **super().to_dict(),
            "pictures": {str(prototype): uri for prototype, uri in self.pictures.items()},
            "nearest": None if self.nearest is None else {str(key): value for key, value in self.nearest.items()},
        }

    def to_html(self) -> str:
        """Return the page: one file that needs nothing else."""
        data = {"page": self.to_dict()} | {f"track-{index}": track.to_dict() for index, track in enumerate(self.tracks)}
        sounds = {f"sound-track-{index}": track.sound for index, track in enumerate(self.tracks)}
        sounds |= {f"sound-prototype-{prototype}": sound for prototype, sound in self.sounds.items()}
        for index, track in enumerate(self.tracks):
            if (walk := track.counterfactual) is not None:
                for k, wave in enumerate(walk.sounds):
                    sounds[f"sound-counterfactual-{index}-{k}"] = compressed(wave, walk.sampling_rate)
        names = [track.name for track in self.tracks] or [failure["path"] for failure in self.failures]
        title = names[0] if len(names) == 1 else f"{len(names)} tracks"
        return render_page("report", data, sounds, report=self, title=title)


def describe_track(
    model: TrackClassifier,
    path: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    counterfactual: str | None = None,
    seed: int = 0,
) -> TrackReport:
    """Explain one track and take in what the page shows of it.

    Parameters
    ----------
    model : TrackClassifier
        `PECMAE`, or a model over embeddings that was given its encoder.
    path : path
        An audio file; it is streamed.
    batch_size : int, optional
        Segments that are encoded together.
    counterfactual : str, optional
        A class: tell what would have to be different for the track to be called that. Nothing for a track that is called that.
    seed : int
        Of the counterfactual's sounds.

    Raises
    ------
    FileNotFoundError, AudioError
        There is no such file; or it holds no usable audio.
    """
    track = model.embed_track(path, batch_size=batch_size)
    prediction = model.classify(track)
    explanation = explanation_of(model.head, model.labels, prediction)
    views, sound = _look_and_listen(model, path)
    scores = model.head.scores(torch.from_numpy(explanation.logits)).numpy()
    order = np.argsort(-scores, kind="stable")
    return TrackReport(
        name=readable(path),
        explanation=explanation,
        scores={model.labels[index]: float(scores[index]) for index in order},
        duration=views[-1].start + views[-1].seconds,
        segments=views,
        sound=sound,
        probability=prediction.probability,
        counterfactual=_walk(model, track, prediction.label, counterfactual, seed),
        doubts=_doubts(prediction),
        temperature=model.head.config.temperature if model.head.config.classification_loss == "cross_entropy" else None,
    )


def _walk(model: TrackClassifier, track: TrackEmbedding, label: str, rival: str | None, seed: int) -> Counterfactual | None:
    """What would have to be different for a track to be called `rival`, if anybody asks and something would."""
    if rival is None or rival == label:
        return None
    if not isinstance(model, PECMAE):
        raise PecmaeError("A counterfactual is made audible by a decoder, which this model does not have; leave it out.")
    return model.counterfactual(track, rival, seed=seed)


def _doubts(prediction: Prediction) -> tuple[str, ...]:
    """Why not to rely on a label, where the model knows."""
    doubts = []
    if prediction.unsure:
        doubts.append(f"The model is unsure: of such labels more than {100 * RISK:.0f} % may be wrong.")
    if prediction.known is False:
        doubts.append("The track is unlike all that it knows; a label says little then.")
    return tuple(doubts)


def _look_and_listen(model: TrackClassifier, path: str | os.PathLike[str]) -> tuple[tuple[SegmentView, ...], dict[str, str]]:
    """Views of a track's segments, and its compressed sound."""
    rate = model.sampling_rate
    sound = CompressedSound(rate)
    views: list[SegmentView] = []
    # The same cuts as those that were embedded; a tail too short to be one of them is not heard either.
    survey = new_survey(model.encoder, model.preparation)
    cuts = cut_segments(model.encoder, path, survey=survey)
    with without_audio_warnings():  # explaining gave them
        for segment in cuts:
            real = segment.samples[: segment.length]
            sound.write(real)
            views.append(
                SegmentView(
                    start=segment.offset / rate,
                    seconds=segment.length / rate,
                    silent=False,
                    outline=outline(real),
                    picture=picture_uri(real, rate),
                )
            )
    # How loud a track is shows in its end.
    heard = (replace(view, silent=bool(silent)) for view, silent in zip(views, survey.silent, strict=True))
    return tuple(heard), encoded(sound)


def prototypes_to_hear(track: TrackReport, count: int = SOUNDS_PER_TRACK) -> list[int]:
    """Choose the prototypes whose sound matters most for a track, at most `count`, the most important first.

    First those that most segments are closest to, then those that gave most to the predicted class and to the runner-up, then
    all others that a segment is closest to.
    """
    explanation = track.explanation
    order = np.argsort(-explanation.logits, kind="stable")
    chosen: list[int] = []
    for index, wanted in zip(order, (_FOR_PREDICTED, _FOR_RUNNER_UP), strict=False):
        given = explanation.contributions if explanation.differences is None else explanation.differences
        chosen += np.argsort(-np.abs(given[index]), kind="stable")[:wanted].tolist()
    heard = [winner for winner, view in zip(explanation.winners, track.segments, strict=True) if not view.silent]
    wins = np.bincount(np.array(heard, int), minlength=len(explanation.prototype_labels))
    winners = [int(m) for m in np.argsort(-wins, kind="stable") if wins[m]]
    return list(dict.fromkeys([*winners[:_MOST_HEARD], *chosen, *winners]))[:count]


def build_report(
    model: TrackClassifier,
    tracks: Sequence[TrackReport],
    *,
    name: str,
    neighbours: Neighbours | None = None,
    sounds: PrototypeSounds | None = None,
    sounds_per_track: int = SOUNDS_PER_TRACK,
    seed: int = 0,
    failures: Sequence[dict[str, Any]] = (),
    progress: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> Report:
    """Put explained tracks together and make the prototypes' sounds.

    Parameters
    ----------
    model : TrackClassifier
        `PECMAE`, or a model over embeddings that was given its encoder.
    tracks : sequence of TrackReport
    name : str
        Of the model, as people should read it.
    neighbours : Neighbours, optional
        Without it the page says that nearest training segments are not known.
    sounds : PrototypeSounds, optional
        Where the prototypes' sounds come from; by default the cache of the user.
    sounds_per_track : int
        Prototypes to sonify for each track, at most.
    seed : int
        Of the sounds.
    failures : sequence of dict
        `path` and `error` of tracks that could not be explained; the page lists them.
    progress : callable
        Called with the number of sounds to make; returns what is called after each.
    """
    source = sounds or sounds_of(model)
    important = {prototype for track in tracks for prototype in prototypes_to_hear(track, sounds_per_track)}
    wanted = sorted(filter(source.has, important))
    source.make([(prototype, seed) for prototype in wanted], progress(len(wanted)))
    samples = {prototype: source.get(prototype, seed) for prototype in wanted}
    shown = {int(m) for track in tracks for m in track.explanation.winners} | set(wanted)
    return Report(
        **model_facts(model, name),
        tracks=tuple(tracks),
        sounds={prototype: compressed(wave, model.sampling_rate) for prototype, wave in samples.items()},
        pictures={prototype: picture_uri(wave, model.sampling_rate) for prototype, wave in samples.items()},
        nearest=None if neighbours is None else {m: neighbours.nearest(m) for m in sorted(shown)},
        failures=tuple({"path": readable(item["path"]), "error": readable(item["error"])} for item in failures),
    )


def explain_tracks(
    model: TrackClassifier, paths: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str], **options: Any
) -> Report:
    """Explain tracks and write the page; options as for `build_report`, errors as for `describe_track`."""
    tracks = [describe_track(model, path) for path in paths]
    report = build_report(model, tracks, **{"name": "", **options})
    report.write(output)
    return report
