"""Which operators take the time of encoder and denoiser, in the reference schedule and in the library."""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from measurements.embedding import part
from measurements.subjects import Subject
from measurements.table import markdown

SHOWN = 6


def profiles(subject: Subject, batch: int) -> str:
    """A table for each part: share of the time of its most expensive operators, one segment or latent a row of the batch."""
    config, reference = subject.config, subject.reference
    wav, generator = subject.wav(batch), torch.Generator().manual_seed(0)
    features = torch.randn(batch, config.segment_frames, config.feature_dim, generator=generator)
    z = torch.randn(batch, config.embedding_dim, generator=generator)
    padding_mask = torch.zeros(1, config.segment_frames, dtype=torch.bool)
    plain: dict[str, Callable[[], object]] = {
        "codec encoder": lambda: [reference.extract_features(row[None]) for row in wav],
        "encoder": lambda: [reference.encode_frames(row[None], padding_mask) for row in features],
        "denoiser": lambda: [reference.denoise(row[None], 0.5, z[:1]) for row in features],
    }
    sections = []
    for name, work in plain.items():
        sections.append(f"{name}, {subject.name}, reference schedule\n\n{top_operators(work)}")
        for precision in subject.models:
            ours = part(subject, name, precision, wav, features, z)
            sections.append(f"{name}, {subject.name}, {subject.label(precision)}\n\n{top_operators(ours)}")
    return "\n".join(sections)


def top_operators(work: Callable[[], object]) -> str:
    """The operators with the largest share of the time."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    shown = [(event.key, event.count, event.self_cpu_time_total) for event in events[:SHOWN]]
    cells = [(key, str(count), f"{time / 1000:.1f}", f"{100 * time / total:.0f} %") for key, count, time in shown]
    return markdown(("operator", "calls", "ms", "share"), cells)
