"""What an archive holds, in numbers."""

from collections import Counter
from typing import Any

import pyarrow.compute as pc

from pecmae.catalogue.store import Catalogue

# Prototypes and tracks that a summary names.
NAMED = 10


def summarise(catalogue: Catalogue) -> dict[str, Any]:
    """Counts, hours, and what explains the archive.

    Returns
    -------
    dict
        `tracks`, `errors`, `hours`; `labels` (tracks of each), `unsure` and `unknown` (tracks; None where the model is not
        calibrated); where the catalogue holds reasons, `prototypes` (segments that each is the closest to, the most first) and
        `unexplained` (paths of the tracks that are the least similar to any prototype, the least first).
    """
    tracks = catalogue.dataset().to_table(["path", "id", "label", "duration", "unsure", "unknown", "error"])
    whole = tracks.filter(pc.is_null(tracks["error"]))
    found: dict[str, Any] = {
        "tracks": tracks.num_rows,
        "errors": tracks.num_rows - whole.num_rows,
        "hours": float(pc.sum(whole["duration"]).as_py() or 0) / 3600,
        "labels": dict(Counter(whole["label"].to_pylist()).most_common()),
        **{name: _count(whole, name) for name in ("unsure", "unknown")},
    }
    if "reasons" in catalogue.facts.what:
        segments = catalogue.dataset("segments").to_table(["id", "prototype", "similarity", "weight"])
        heard = segments.filter(pc.greater(segments["weight"], 0))
        found["prototypes"] = dict(Counter(heard["prototype"].to_pylist()).most_common(NAMED))
        means = heard.group_by("id").aggregate([("similarity", "mean")]).sort_by("similarity_mean").slice(0, NAMED)
        paths = dict(zip(whole["id"].to_pylist(), whole["path"].to_pylist(), strict=True))
        found["unexplained"] = {
            paths.get(name, name): similarity
            for name, similarity in zip(means["id"].to_pylist(), means["similarity_mean"].to_pylist(), strict=True)
        }
    return found


def _count(tracks: Any, name: str) -> int | None:
    values = tracks[name]
    return None if values.null_count == len(values) else int(pc.sum(values.cast("int64")).as_py() or 0)
