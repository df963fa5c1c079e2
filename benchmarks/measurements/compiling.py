"""Whether `torch.compile` pays: encoder and denoiser as they run, and compiled, with what compiling costs."""

import time

import torch

from measurements.embedding import part, part_inputs, reference_parts
from measurements.subjects import Subject
from measurements.table import Row
from measurements.timing import interleaved


def compile_rows(subject: Subject, batch: int, rounds: int) -> list[Row]:
    """Encoder and denoiser in the precision that "auto" chooses, plain and compiled: milliseconds a segment or a pass."""
    precision, inputs = subject.fastest, part_inputs(subject, batch)
    references = reference_parts(subject, *(part_input[:1] for part_input in inputs))
    rows = []
    for name in ("encoder", "denoiser"):
        plain = part(subject, name, precision, *inputs)
        compiled = torch.compile(plain)
        started = time.perf_counter()
        compiled()
        first = time.perf_counter() - started
        times = interleaved({"reference": references[name], "as it runs": plain, "compiled": compiled}, rounds)
        what = f"{name}, {subject.name}, {subject.label(precision)}, batch {batch}"
        rows += [
            Row(
                group="compiling",
                what=f"{what}, {case}",
                unit="ms",
                ours=1000 * times[case] / batch,
                reference=1000 * times["reference"],
            )
            for case in ("as it runs", "compiled")
        ]
        rows.append(Row(group="compiling", what=f"{what}, the first call", unit="s", ours=first))
    return rows
