"""Seconds of audio that are embedded in a second, and how close encoder, denoiser and codec come to the machine's limit."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from measurements.products import denoiser_products, encoder_products, product_runs, total_flop
from measurements.subjects import Subject
from measurements.table import Row
from measurements.timing import interleaved

UNIT = "s of audio / s"


def embedding_rows(
    subject: Subject, batches: Sequence[int], precisions: Sequence[str], rounds: int, *, group: str = "embedding"
) -> list[Row]:
    """From waveform to z, in each precision and for each number of segments encoded together."""
    wav, seconds = subject.wav(max(batches)), subject.config.segment_seconds
    cases = {(precision, batch): embed(subject, precision, wav[:batch]) for precision in precisions for batch in batches}
    limits, runs = product_runs(encoder_products(subject.config, max(batches)), dtypes(subject, precisions))
    named = {f"{precision} {batch}": case for (precision, batch), case in cases.items()}
    times = interleaved({"reference": lambda: subject.reference.encode(wav[:1]), **named, **limits}, rounds)
    return [
        Row(
            group=group,
            what=f"{subject.name}, {subject.label(precision)}, batch {batch}",
            unit=UNIT,
            ours=batch * seconds / times[f"{precision} {batch}"],
            reference=seconds / times["reference"],
            limit=seconds * runs[precision].rate(times[f"limit {precision}"]) / subject.embedding_flop,
            more_is_better=True,
        )
        for precision, batch in cases
    ]


def part_rows(subject: Subject, batch: int, rounds: int) -> list[Row]:
    """The codec's encoder, EnCodecMAE's encoder and the denoiser on their own: milliseconds a segment or a pass."""
    config, inputs = subject.config, part_inputs(subject, batch)
    plain = reference_parts(subject, *(part_input[:1] for part_input in inputs))
    flop = {
        "codec encoder": subject.codec_flop("encoder"),
        "encoder": total_flop(encoder_products(config)),
        "denoiser": total_flop(denoiser_products(config)),
    }
    # The codec's products are convolutions of many shapes: they are held against the encoder's rate.
    products = {"encoder": encoder_products(config, batch), "denoiser": denoiser_products(config, batch)}
    rows = []
    for name, work in plain.items():
        limits, runs = product_runs(products.get(name, products["encoder"]), dtypes(subject, subject.models))
        ours = {precision: part(subject, name, precision, *inputs) for precision in subject.models}
        times = interleaved({"reference": work, **ours, **limits}, rounds)
        rows += [
            Row(
                group="parts",
                what=f"{name}, {subject.name}, {subject.label(precision)}, batch {batch}",
                unit="ms",
                ours=1000 * times[precision] / batch,
                reference=1000 * times["reference"],
                limit=1000 * flop[name] / runs[precision].rate(times[f"limit {precision}"]),
            )
            for precision in subject.models
        ]
    return rows


def embed(subject: Subject, precision: str, wav: Tensor) -> Callable[[], object]:
    """Encode `wav` [shape=(B, N)] at once."""

    def work() -> None:
        with torch.no_grad():
            subject.models[precision].autoencoder.encode(wav)

    return work


def part_inputs(subject: Subject, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise for the parts: segments [shape=(B, N)], codec features [shape=(B, T, F)] and z [shape=(B, D)]."""
    config, generator = subject.config, torch.Generator().manual_seed(0)
    features = torch.randn(batch, config.segment_frames, config.feature_dim, generator=generator)
    return subject.wav(batch), features, torch.randn(batch, config.embedding_dim, generator=generator)


def reference_parts(subject: Subject, wav: Tensor, features: Tensor, z: Tensor) -> dict[str, Callable[[], object]]:
    """The reference's parts, one segment or latent after the other."""
    reference = subject.reference
    padding_mask = torch.zeros(1, features.shape[1], dtype=torch.bool)
    return {
        "codec encoder": lambda: [reference.extract_features(row[None]) for row in wav],
        "encoder": lambda: [reference.encode_frames(row[None], padding_mask) for row in features],
        "denoiser": lambda: [reference.denoise(row[None], 0.5, one[None]) for row, one in zip(features, z, strict=True)],
    }


def part(subject: Subject, name: str, precision: str, wav: Tensor, features: Tensor, z: Tensor) -> Callable[[], object]:
    """One of the library's parts on a whole batch."""
    autoencoder = subject.models[precision].autoencoder
    features, z = features.to(autoencoder.dtype), z.to(autoencoder.dtype)
    sigma = torch.full((len(z),), 0.5)
    calls: dict[str, Callable[[], Tensor]] = {
        "codec encoder": lambda: autoencoder.extract_features(wav),
        "encoder": lambda: autoencoder.encode_frames(features),
        "denoiser": lambda: autoencoder.denoise(features, sigma, z),
    }
    call = calls[name]

    def work() -> Tensor:  # returned, so that a compiler leaves nothing out
        with torch.no_grad():
            return call()

    return work


def dtypes(subject: Subject, precisions: Iterable[str]) -> dict[str, torch.dtype]:
    """Of each precision's weights."""
    return {precision: subject.dtype(precision) for precision in precisions}
