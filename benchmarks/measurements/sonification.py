"""Seconds until prototypes are sound."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from measurements.embedding import dtypes
from measurements.products import denoiser_products, product_runs, total_flop
from measurements.reference import STEPS
from measurements.subjects import Subject
from measurements.table import Row
from measurements.timing import interleaved
from pecmae import Autoencoder

# Of the reference's steps, all of which cost the same.
STEPS_TIMED = 2


def sonification_rows(
    subject: Subject, counts: tuple[int, ...], precisions: tuple[str, ...], rounds: int, *, group: str = "sonification"
) -> list[Row]:
    """`PECMAE.sonify` with default settings, for several numbers of prototypes at once.

    The reference schedule makes one latent after the other; its time is that of a few of its steps, times their number, and of
    the codec's decoder.
    """
    config = subject.config
    reference_steps, reference_decoder = reference_work(subject)
    limits, runs = product_runs(denoiser_products(config, 2 * max(counts)), dtypes(subject, precisions))
    cases = {f"{precision} {count}": sonify(subject, precision, count) for precision in precisions for count in counts}
    passes = denoiser_rows(subject, precisions[0])
    work = {"steps": reference_steps, "decoder": reference_decoder, **cases, **limits}
    times = interleaved(work, rounds, warm_up=rounds > 1)
    one = times["steps"] * STEPS / STEPS_TIMED + times["decoder"]
    flop = passes * total_flop(denoiser_products(config)) + subject.codec_flop("decoder")
    return [
        Row(
            group=group,
            what=f"{count} {'prototype' if count == 1 else 'prototypes'}, {subject.name}, {subject.label(precision)}",
            unit="s",
            ours=times[f"{precision} {count}"],
            reference=count * one,
            limit=count * flop / runs[precision].rate(times[f"limit {precision}"]),
        )
        for precision in precisions
        for count in counts
    ]


def reference_work(subject: Subject) -> tuple[Callable[[], object], Callable[[], object]]:
    """A few steps of the reference's sampling of one latent, and its decoding."""
    reference, config = subject.reference, subject.config
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, config.embedding_dim, generator=generator)
    latents = torch.randn(1, config.segment_frames, config.feature_dim, generator=generator)
    return (
        lambda: reference.generate(z, latents, config.guidance_scale, STEPS, STEPS_TIMED),
        lambda: reference.features_to_wav(latents),
    )


def sonify(subject: Subject, precision: str, count: int) -> Callable[[], object]:
    """Sonify prototypes until there are `count`, a class after the other."""
    model = subject.models[precision]
    per_class = model.head.config.prototypes_per_class
    if count == 1:
        return lambda: model.sonify(model.labels[0], prototype=0)
    if count % per_class or count > model.head.config.num_prototypes:
        return lambda: model.sonify(model.labels[:count], prototype=0)
    return lambda: model.sonify(model.labels[: count // per_class])


def denoiser_rows(subject: Subject, precision: str) -> int:
    """How many latents pass the denoiser, conditional and unconditional ones, until one prototype is sound."""
    with rows_denoised(subject.models[precision].autoencoder) as rows:
        sonify(subject, precision, 1)()
    return sum(rows)


@contextmanager
def rows_denoised(autoencoder: Autoencoder) -> Iterator[list[int]]:
    """Inside the block, how many rows each pass of the denoiser has is added to what is yielded."""
    rows: list[int] = []
    handle = autoencoder.denoiser.register_forward_pre_hook(lambda module, arguments: rows.append(len(arguments[0])))
    try:
        yield rows
    finally:
        handle.remove()
