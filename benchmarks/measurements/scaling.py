"""How the figures change with threads, batch, duration and number of prototypes."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from measurements.embedding import embedding_rows
from measurements.products import encoder_products, product_runs
from measurements.sonification import sonification_rows
from measurements.subjects import Subject
from measurements.table import Row
from measurements.timing import interleaved


def thread_rows(subject: Subject, threads: Sequence[int], batch: int, rounds: int) -> list[Row]:
    """Embedding with some of the cores."""
    before = torch.get_num_threads()
    rows = []
    try:
        for count in threads:
            torch.set_num_threads(count)
            name = f"{count} thread{'' if count == 1 else 's'}"
            rows += [
                relabelled(row, name) for row in embedding_rows(subject, [batch], list(subject.models), rounds, group="scaling")
            ]
    finally:
        torch.set_num_threads(before)
    return rows


def duration_rows(subject: Subject, durations: Sequence[float], rounds: int) -> list[Row]:
    """Embedding whole tracks, cut, padded and batched as `predict` does, in the precision that "auto" chooses."""
    precision, rate = subject.fastest, subject.config.sampling_rate
    model, generator = subject.models[precision], torch.Generator().manual_seed(0)
    tracks = {seconds: (0.1 * torch.randn(round(seconds * rate), generator=generator)).numpy() for seconds in durations}
    segment = subject.wav(1)
    limits, runs = product_runs(encoder_products(subject.config, 8), {precision: subject.dtype(precision)})
    work = {f"{seconds}": lambda track=track: model.embed(track, sampling_rate=rate) for seconds, track in tracks.items()}
    times = interleaved({"reference": lambda: subject.reference.encode(segment), **work, **limits}, rounds)
    limit = subject.config.segment_seconds * runs[precision].rate(times[f"limit {precision}"]) / subject.embedding_flop
    return [
        Row(
            group="scaling",
            what=f"embedding, {subject.name}, {subject.label(precision)}, a track of {seconds:g} s",
            unit="s of audio / s",
            ours=seconds / times[f"{seconds}"],
            reference=subject.config.segment_seconds / times["reference"],
            limit=limit,
            more_is_better=True,
        )
        for seconds in durations
    ]


def batch_rows(subject: Subject, batches: Sequence[int], rounds: int) -> list[Row]:
    """Embedding with more segments at once, in the precision that "auto" chooses."""
    return [relabelled(row) for row in embedding_rows(subject, batches, [subject.fastest], rounds, group="scaling")]


def prototype_rows(subject: Subject, counts: tuple[int, ...], rounds: int) -> list[Row]:
    """Sonifying more prototypes at once, in the precision that "auto" chooses."""
    return sonification_rows(subject, counts, (subject.fastest,), rounds, group="scaling")


def relabelled(row: Row, extra: str = "") -> Row:
    """The same figures, said to be of embedding."""
    return replace(row, what=f"embedding, {row.what}" + (f", {extra}" if extra else ""))
