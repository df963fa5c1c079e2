"""Which operators take the time of encoder and denoiser, in the reference schedule and in the library."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

from measurements.embedding import part, part_inputs, reference_parts
from measurements.subjects import Subject
from measurements.table import markdown

SHOWN = 6


def profiles(subject: Subject, batch: int) -> str:
    """A table for each part: share of the time of its most expensive operators, one segment or latent a row of the batch."""
    inputs = part_inputs(subject, batch)
    sections = []
    for name, work in reference_parts(subject, *inputs).items():
        sections.append(f"{name}, {subject.name}, reference schedule\n\n{top_operators(work)}")
        for precision in subject.models:
            ours = part(subject, name, precision, *inputs)
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
