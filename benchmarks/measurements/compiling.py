"""Whether `torch.compile` pays: encoder and denoiser as they run, and compiled, with what compiling costs."""

import time
from collections.abc import Callable

import torch

from measurements.embedding import part_inputs, reference_parts
from measurements.subjects import Subject
from measurements.table import Row
from measurements.timing import interleaved


def compile_rows(subject: Subject, batch: int, rounds: int) -> list[Row]:
    """Encoder and denoiser in the precision that "auto" chooses, plain and compiled: milliseconds a segment or a pass."""
    precision = subject.fastest
    autoencoder = subject.models[precision].autoencoder
    wav, features, z = part_inputs(subject, batch)
    plain = reference_parts(subject, wav[:1], features[:1], z[:1])
    features, z, sigma = features.to(autoencoder.dtype), z.to(autoencoder.dtype), torch.full((batch,), 0.5)
    parts: dict[str, tuple[Callable[..., object], tuple[torch.Tensor, ...]]] = {
        "encoder": (autoencoder.encode_frames, (features,)),
        "denoiser": (autoencoder.denoise, (features, sigma, z)),
    }
    rows = []
    for name, (function, inputs) in parts.items():
        compiled = torch.compile(function)
        started = time.perf_counter()
        _call(compiled, inputs)()
        first = time.perf_counter() - started
        work = {"reference": plain[name], "as it runs": _call(function, inputs), "compiled": _call(compiled, inputs)}
        times = interleaved(work, rounds)
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


def _call(function: Callable[..., object], inputs: tuple[torch.Tensor, ...]) -> Callable[[], object]:
    def work() -> None:
        with torch.no_grad():
            function(*inputs)

    return work
