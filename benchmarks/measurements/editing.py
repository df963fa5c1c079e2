"""How long an editor takes to say what an edit would do, beside answering for all tracks from nothing."""

from collections.abc import Iterator
from itertools import combinations

import torch

from measurements.table import Row
from measurements.timing import interleaved
from pecmae import PrototypeHead, PrototypeHeadConfig
from pecmae.data.tracks import EmbeddedTracks
from pecmae.editing.draft import Draft
from pecmae.editing.edits import Edit, Merge, Move, Remove, SetWeight
from pecmae.editing.effect import Effect
from pecmae.editing.measured import Measured
from pecmae.evaluation.tracks import evaluate_embedded
from pecmae.prototypes.refitting import fitted_linear

# Of GTZAN's order: ten segments of each of 1200 tracks.
CONFIG = PrototypeHeadConfig(embedding_dim=768, num_classes=10, prototypes_per_class=40, adaptor=False, kernel_scale=40.0)
TRACKS, SEGMENTS = 1200, 10


def editing_rows(config: PrototypeHeadConfig = CONFIG, tracks: int = TRACKS, rounds: int = 5) -> list[Row]:
    """Effects of edits of each kind, and a refit, with the similarities of the draft before known."""
    head, data = subject(config, tracks)
    draft, measured = Draft.of(head, tuple(map(str, range(config.num_classes)))), Measured(data)
    measured.evaluate(draft)
    size = f"{len(data.z)} segments, {config.num_prototypes} prototypes"
    rows: list[Row] = []
    for name, edits in kinds(config).items():

        def ours(edits: Iterator[Edit] = edits) -> None:
            effect = Effect(measured.evaluate(draft), measured.evaluate(next(edits).apply(draft)))
            effect.to_dict()

        def from_nothing(edits: Iterator[Edit] = edits) -> None:
            after = next(edits).apply(draft)
            Effect(*(evaluate_embedded(stand.head(), stand.labels, data) for stand in (draft, after))).to_dict()

        seconds = interleaved({"ours": ours, "from nothing": from_nothing}, rounds)
        milliseconds = {which: 1000 * value for which, value in seconds.items()}
        what = f"{name}, {size}"
        rows.append(
            Row(group="editing", what=what, unit="ms", ours=milliseconds["ours"], reference=milliseconds["from nothing"])
        )
    similarities = measured.similarities(draft)
    refit = interleaved({"ours": lambda: fitted_linear(similarities, data.labels, head.linear, config)}, rounds)
    return [*rows, Row(group="editing", what=f"refit, {size}", unit="ms", ours=1000 * refit["ours"])]


def subject(config: PrototypeHeadConfig, tracks: int) -> tuple[PrototypeHead, EmbeddedTracks]:
    """A head, and tracks around its prototypes that it labels better than chance and worse than perfectly."""
    generator = torch.Generator().manual_seed(0)
    head = PrototypeHead(config).requires_grad_(False)
    head.prototypes.copy_(torch.randn(head.prototypes.shape, generator=generator))
    near = torch.randint(config.num_prototypes, (tracks,), generator=generator)
    rows = near.repeat_interleave(SEGMENTS)
    z = head.prototypes[rows] * 0.4 + 0.9 * torch.randn(len(rows), config.embedding_dim, generator=generator)
    numbers = torch.arange(tracks).repeat_interleave(SEGMENTS)
    # One track in five has a label that its sound does not tell.
    untold = torch.rand(tracks, generator=generator) < 0.2
    labels = torch.where(untold, torch.randint(config.num_classes, (tracks,), generator=generator), head.prototype_labels[near])
    return head, EmbeddedTracks(z, numbers, labels)


def kinds(config: PrototypeHeadConfig) -> dict[str, Iterator[Edit]]:
    """Edits of each kind without end, no two at the same place: nothing is known of them before."""

    def places() -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        while True:
            yield torch.randn(config.embedding_dim, generator=generator)

    return {
        "remove": (Remove(0) for _ in places()),
        "set a weight": (SetWeight(0, "1", 0.5) for _ in places()),
        "merge": map(Merge, combinations(config.rows_of(0), 2)),
        "move": (Move(0, place.numpy()) for place in places()),
    }
