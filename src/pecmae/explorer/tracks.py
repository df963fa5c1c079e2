"""Tracks on the screen: labelled ones that edits are measured on, and files that somebody opened or dropped.

Shapes: T measured tracks, S segments of a track, D width, C classes, M prototypes.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pecmae.audio.compression import CompressedSound
from pecmae.autoencoder.embedding import TrackEmbedding, cut_segments, new_survey
from pecmae.core.files import display_name
from pecmae.editing.draft import Draft
from pecmae.editing.editor import Editor
from pecmae.errors import ConfigError, PecmaeError
from pecmae.explain.media import outline
from pecmae.explain.sounds import without_audio_warnings
from pecmae.explorer.background import Background
from pecmae.prototypes.outputs import Prediction, prediction_of

# A label with a lower score is unsure: all other classes together have more.
SURE = 0.5
# Prototypes that are named as reasons.
REASONS = 8
FROM_MEASURED, OPENED = "m", "f"

State = Literal["reading", "ready", "failed"]


@dataclass(eq=False)
class Heard:
    """The sound of a file, as the page plays and draws it."""

    file: Path
    outlines: list[list[int]]  # of each segment, peaks in thousandths of full scale
    seconds: list[float]  # of each segment, its real part


@dataclass(eq=False)
class Opened:
    """A file that somebody opened."""

    name: str
    path: Path
    state: State = "reading"
    problem: str = ""
    track: TrackEmbedding | None = None
    heard: Heard | None = None


@dataclass(eq=False)
class Shelf:
    """All tracks of a session, and what the edited model says of them.

    Parameters
    ----------
    editor : Editor
    folder : Path
        Where compressed sound is kept while the app runs.
    """

    editor: Editor
    folder: Path
    changed: Callable[[], None] = lambda: None  # called when a file was read
    opened: dict[str, Opened] = field(default_factory=dict)
    _heard: dict[str, Heard | None] = field(default_factory=dict)
    _background: Background = field(default_factory=lambda: Background("tracks"))

    def open(self, path: Path, name: str | None = None) -> str:
        """Read a file in the background; returns the id of the track."""
        key = f"{OPENED}{len(self.opened) + 1}"
        opened = self.opened[key] = Opened(display_name(path.name if name is None else name), path)
        self._background.ask(lambda: self._read(opened))
        return key

    def close(self) -> None:
        """Read no more."""
        self._background.close()

    def labels(self, draft: Draft) -> dict[str, int]:
        """Class number of each track by a draft."""
        predicted = self.editor.measured.evaluate(draft).predicted
        found = {f"{FROM_MEASURED}{index}": int(label) for index, label in enumerate(predicted)}
        for key, prediction in self._predictions(draft):
            found[key] = draft.labels.index(prediction.label)
        return found

    def rows(self, draft: Draft, changed: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
        """A row of JSON values for each track, those that somebody opened first; `changed` are those to be marked."""
        evaluation = self.editor.measured.evaluate(draft)
        predictions = dict(self._predictions(draft))
        rows = []
        for key, opened in reversed(self.opened.items()):
            answer = predictions.get(key)
            label, score = (None, None) if answer is None else (answer.label, answer.score)
            rows.append(
                _row(key, opened.name, None, label, score, changed) | {"state": opened.state, "problem": opened.problem}
            )
        names, labels = evaluation.names, draft.labels
        for index, (true, predicted, score) in enumerate(
            zip(evaluation.true, evaluation.predicted, evaluation.scores, strict=True)
        ):
            key = f"{FROM_MEASURED}{index}"
            row = _row(key, display_name(names[index]), labels[true], labels[predicted], float(score), changed)
            rows.append(row | {"state": "ready", "problem": ""})
        return rows

    def embedding(self, key: str) -> TrackEmbedding:
        """z of the segments of a track.

        Raises
        ------
        ConfigError
            There is no such track, or it was not read yet.
        """
        if key in self.opened:
            opened = self.opened[key]
            if opened.track is None:
                raise ConfigError(opened.problem or f"{opened.name} is being read; wait a moment.")
            return opened.track
        return self._measured(self._measured_index(key))

    def details(self, key: str, draft: Draft) -> dict[str, Any]:
        """What the page shows of one track: scores, reasons, and the timeline of its segments."""
        track = self.embedding(key)
        head = draft.head()
        answer = prediction_of(head, draft.labels, track)
        heard = self._sound_of(key)
        return {
            "id": key,
            "name": self._name(key),
            "label": answer.label,
            "true": None if key in self.opened else self._true(key, draft),
            "scores": [[label, score] for label, score in answer.scores.items()],
            "notes": list(answer.notes),
            "segments": self._segments(track, answer, draft, heard),
            "reasons": _reasons(answer, draft),
            "sound": "ready" if heard is not None else "waiting" if self._path(key) is not None else "none",
        }

    def sound(self, key: str) -> Path | None:
        """The compressed sound of a track's file; None while there is none."""
        heard = self._sound_of(key)
        return None if heard is None else heard.file

    def z(self, key: str, segment: int) -> np.ndarray:
        """z of one segment [shape=(D,)].

        Raises
        ------
        ConfigError
            There is no such track or segment.
        """
        track = self.embedding(key)
        if not 0 <= segment < len(track.z):
            raise ConfigError(f"The track has {len(track.z)} segments, and none with the number {segment}.")
        return track.z[segment].numpy()

    def place_name(self, key: str, segment: int) -> str:
        """A moment of a track for people, such as "song.wav 0:08"."""
        track = self.embedding(key)
        start = float(track.offsets[segment]) / track.sampling_rate
        moment = f" {int(start) // 60}:{int(start) % 60:02}" if np.isfinite(start) and len(track.z) > 1 else ""
        return f"{self._name(key)}{moment}"

    # One track.

    def _measured_index(self, key: str) -> int:
        number = key.removeprefix(FROM_MEASURED)
        count = len(self.editor.tracks.measured.track_labels)
        if not key.startswith(FROM_MEASURED) or not (number.isascii() and number.isdecimal()) or int(number) >= count:
            raise ConfigError(f"There is no track {key!r}; choose one of the list.")
        return int(number)

    def _measured(self, index: int) -> TrackEmbedding:
        tracks, config = self.editor.tracks.measured, self.editor.model.autoencoder.config
        rows = (tracks.tracks == index).nonzero()[:, 0]
        rate, length = config.sampling_rate, config.segment_samples
        starts = np.arange(len(rows)) * length if tracks.offsets is None else (tracks.offsets[rows].numpy() * rate).round()
        weights = np.ones(len(rows), np.float32) if tracks.weights is None else tracks.weights[rows].numpy()
        offsets = np.asarray(starts).astype(np.int64)
        return TrackEmbedding(tracks.z[rows].float(), offsets, int(offsets[-1]) + length, rate, weights, float("nan"))

    def _name(self, key: str) -> str:
        if key in self.opened:
            return self.opened[key].name
        index, names = self._measured_index(key), self.editor.tracks.measured.names
        return display_name(names[index] if names else str(index))

    def _true(self, key: str, draft: Draft) -> str:
        return draft.labels[int(self.editor.tracks.measured.track_labels[self._measured_index(key)])]

    def _path(self, key: str) -> Path | None:
        """The file of a track, where it is known."""
        if key in self.opened:
            return self.opened[key].path
        paths = self.editor.tracks.paths
        return paths[self._measured_index(key)] if paths else None

    def _predictions(self, draft: Draft) -> Iterator[tuple[str, Prediction]]:
        ready = [(key, opened.track) for key, opened in list(self.opened.items()) if opened.track is not None]
        head = draft.head() if ready else None
        for key, track in ready:
            assert head is not None
            yield key, prediction_of(head, draft.labels, track)

    def _segments(self, track: TrackEmbedding, answer: Prediction, draft: Draft, heard: Heard | None) -> list[dict[str, Any]]:
        winners = answer.segment_similarities.argmax(1)
        best = answer.segment_logits.argmax(1)
        segments = []
        for s, winner in enumerate(winners.tolist()):
            drawn = heard is not None and s < len(heard.outlines)
            segments.append(
                {
                    "start": float(track.offsets[s]) / track.sampling_rate,
                    "seconds": heard.seconds[s] if heard is not None and drawn else None,
                    "outline": heard.outlines[s] if heard is not None and drawn else None,
                    "label": draft.labels[int(best[s])],
                    "prototype": draft.ids[winner],
                    "similarity": float(answer.segment_similarities[s, winner]),
                    "silent": bool(track.weights[s] == 0),
                }
            )
        return segments

    # Files.

    def _read(self, opened: Opened) -> None:
        try:
            with without_audio_warnings():
                opened.track = self.editor.model.embed_track(opened.path)
            opened.state = "ready"
            self.changed()  # a label is there; the sound follows
            opened.heard = self._compressed(opened.path)
        except (PecmaeError, OSError) as error:
            if opened.track is None:
                opened.state, opened.problem = "failed", _problem(error, opened)
        self.changed()

    def _sound_of(self, key: str) -> Heard | None:
        """The sound of a track; of a labelled file it is made once somebody looks at it."""
        if key in self.opened:
            return self.opened[key].heard
        path = self._path(key)
        if path is not None and key not in self._heard:
            self._heard[key] = None
            self._background.ask(lambda: self._hear(key, path))
        return self._heard.get(key)

    def _hear(self, key: str, path: Path) -> None:
        try:
            self._heard[key] = self._compressed(path)
        except (PecmaeError, OSError):  # it was moved since it was embedded; its z is known all the same
            return
        self.changed()

    def _compressed(self, path: Path) -> Heard:
        """Cut a file as it is embedded, so that the timeline and the sound fit each other."""
        model = self.editor.model
        rate = model.autoencoder.config.sampling_rate
        sound, outlines, seconds = CompressedSound(rate), [], []
        with without_audio_warnings():
            for segment in cut_segments(model.autoencoder, path, survey=new_survey(model.autoencoder, model.preparation)):
                real = segment.samples[: segment.length]
                sound.write(real)
                outlines.append(outline(real))
                seconds.append(segment.length / rate)
        file = self.folder / f"{secrets.token_hex(8)}{'.mp3' if sound.media_type == 'audio/mpeg' else '.ogg'}"
        file.write_bytes(sound.close())
        return Heard(file, outlines, seconds)


def _problem(error: Exception, opened: Opened) -> str:
    """What is wrong with a file, which people know by its own name."""
    return str(error).replace(os.fspath(opened.path), opened.name)


def _row(
    key: str, name: str, true: str | None, label: str | None, score: float | None, changed: frozenset[str]
) -> dict[str, Any]:
    return {
        "id": key,
        "name": name,
        "true": true,
        "label": label,
        "score": score,
        "wrong": true is not None and label != true,
        "unsure": score is not None and score < SURE,
        "changed": key in changed,
    }


def _reasons(answer: Prediction, draft: Draft) -> dict[str, Any]:
    """What speaks for the label against the runner-up; the parts sum to the difference of the logits."""
    order = np.argsort(-answer.logits, kind="stable")
    label, rival = int(order[0]), int(order[min(1, len(order) - 1)])
    worth = answer.segment_weights
    averages = np.average(answer.segment_similarities.astype(np.float64), axis=0, weights=worth)  # (M,)
    parts = averages * (draft.weight[label].astype(np.float64) - draft.weight[rival])  # (M,)
    shown = np.argsort(-np.abs(parts), kind="stable")[:REASONS]
    return {
        "label": draft.labels[label],
        "rival": draft.labels[rival],
        "prototypes": [{"prototype": draft.ids[m], "part": float(parts[m])} for m in shown],
        "others": float(parts.sum() - parts[shown].sum()),
        "bias": float(draft.bias[label].astype(np.float64) - draft.bias[rival]),
        "total": float(answer.logits[label].astype(np.float64) - answer.logits[rival]),
    }
