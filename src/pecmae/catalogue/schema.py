"""Columns of a catalogue's tables, and the rows that an answer makes.

Shapes: S segments, D width, M prototypes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pecmae.autoencoder.embedding import TrackEmbedding
from pecmae.classifier import TrackClassifier
from pecmae.prototypes.explanations import explanation_of
from pecmae.prototypes.outputs import Prediction

# Raised when a column changes its name, type or meaning.
SCHEMA_VERSION = 1
# Prototypes that a segment's row names.
REASONS = 3

TRACKS = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("probability", pa.float32()),
        ("unsure", pa.bool_()),
        ("unknown", pa.bool_()),
        ("scores", pa.map_(pa.string(), pa.float32())),
        ("duration", pa.float64()),
        ("audible_duration", pa.float64()),
        ("num_segments", pa.int32()),
        ("notes", pa.list_(pa.string())),
        ("error", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
        ("model_sha256", pa.string()),
    ]
)
SEGMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("number", pa.int32()),
        ("offset", pa.float64()),
        ("weight", pa.float32()),
        ("label", pa.string()),
        ("prototype", pa.string()),
        ("similarity", pa.float32()),
        ("reasons", pa.list_(pa.struct([("prototype", pa.string()), ("contribution", pa.float32())]))),
    ]
)


def embeddings_schema(width: int) -> pa.Schema:
    """Columns of the embeddings, whose z has this width."""
    return pa.schema(
        [("id", pa.string()), ("number", pa.int32()), ("offset", pa.float64()), ("weight", pa.float32()),
         ("z", pa.list_(pa.float16(), width))]
    )  # fmt: skip


@dataclass(frozen=True)
class SourceTrack:
    """A track of an archive."""

    id: str
    path: str  # or a URI
    # Of a local file: bytes, and the time of its last change in nanoseconds; None of what is elsewhere.
    size: int | None = None
    modified: int | None = None


Rows = dict[str, list[dict[str, Any]]]
"""Rows by table: "tracks", and "segments" and "embeddings" where they are wanted."""


def rows_of(model: TrackClassifier, source: SourceTrack, track: TrackEmbedding, what: Sequence[str], model_sha256: str) -> Rows:
    """What a catalogue holds of a track.

    Parameters
    ----------
    model : TrackClassifier
    source : SourceTrack
    track : TrackEmbedding
    what : sequence of {"labels", "reasons", "embeddings"}
    model_sha256 : str
        Of the model's weights.
    """
    prediction = model.classify(track)
    rows: Rows = {"tracks": [_track_row(source, prediction, model_sha256)]}
    if "reasons" in what:
        rows["segments"] = _segment_rows(model, source, track, prediction)
    if "embeddings" in what:
        z = track.z.numpy().astype(np.float16)
        rows["embeddings"] = [
            {**place, "z": z[place["number"]]} for place in _places(source, track)
        ]  # fmt: skip
    return rows


def failed_row(source: SourceTrack, error: str, model_sha256: str) -> Rows:
    """What a catalogue holds of a track that could not be read: a row with its error, never a hole."""
    row: dict[str, Any] = dict.fromkeys(TRACKS.names)
    known = {"id": source.id, "path": source.path, "size": source.size, "modified": source.modified}
    return {"tracks": [row | known | {"error": error, "model_sha256": model_sha256}]}


def _track_row(source: SourceTrack, prediction: Prediction, model_sha256: str) -> dict[str, Any]:
    found = prediction.to_dict()
    return {
        "id": source.id,
        "path": source.path,
        **{name: found.get(name) for name in ("label", "score", "probability", "unsure", "unknown")},
        "scores": list(found["scores"].items()),
        **{name: found[name] for name in ("duration", "audible_duration", "num_segments", "notes")},
        "error": None,
        "size": source.size,
        "modified": source.modified,
        "model_sha256": model_sha256,
    }


def _places(source: SourceTrack, track: TrackEmbedding) -> list[dict[str, Any]]:
    seconds = (track.offsets / track.sampling_rate).tolist()
    return [
        {"id": source.id, "number": number, "offset": offset, "weight": weight}
        for number, (offset, weight) in enumerate(zip(seconds, track.weights.tolist(), strict=True))
    ]


def _segment_rows(
    model: TrackClassifier, source: SourceTrack, track: TrackEmbedding, prediction: Prediction
) -> list[dict[str, Any]]:
    """Label, closest prototype and what gave most to the label, segment by segment."""
    explanation = explanation_of(model.head, model.labels, prediction)
    names = [model.prototype_name(m) for m in range(explanation.weight.shape[1])]
    usual = 0.0 if explanation.calibration is None else explanation.calibration.usual
    labels = prediction.segment_logits.argmax(1)  # (S,)
    given = explanation.weight[labels] * (explanation.segment_similarities - usual)  # (S, M)
    first = np.argsort(-given, axis=1, kind="stable")[:, :REASONS]
    return [
        {
            **place,
            "label": model.labels[labels[s]],
            "prototype": names[explanation.winners[s]],
            "similarity": float(explanation.segment_similarities[s].max()),
            "reasons": [{"prototype": names[m], "contribution": float(given[s, m])} for m in first[s]],
        }
        for s, place in enumerate(_places(source, track))
    ]


def as_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of these columns."""
    if "z" not in schema.names:
        return pa.Table.from_pylist(list(rows), schema)
    width = schema.field("z").type.list_size
    flat = np.stack([row["z"] for row in rows]).astype(np.float16) if rows else np.zeros((0, width), np.float16)
    columns = [pa.array([row[name] for row in rows], schema.field(name).type) for name in schema.names if name != "z"]
    z = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), width)
    return pa.Table.from_arrays([*columns, z], schema=schema)
