"""Batches shrink when memory runs out, and what comes out of them is the same."""

import numpy as np
import pytest
import torch

from pecmae import PECMAE, Autoencoder
from pecmae.autoencoder.embedding import embed_track
from pecmae.core.batches import BatchSize, is_out_of_memory

CPU_MESSAGE = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
)
ERRORS = [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU_MESSAGE), MemoryError()]


def limited(limit: int, error: Exception, calls: list[int]):
    """Work that takes `limit` rows at most."""

    def work(rows: slice) -> list[int]:
        calls.append(rows.stop - rows.start)
        if calls[-1] > limit:
            raise error
        return list(range(rows.start, rows.stop))

    return work


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved_for_good(error):
    calls: list[int] = []
    size = BatchSize(10)
    parts = list(size.run(limited(3, error, calls), 11))
    assert [row for part in parts for row in part] == list(range(11))
    assert calls == [10, 5, 2, 2, 2, 2, 2, 1]
    assert size.size == 2


def test_one_row_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        list(BatchSize(4).run(limited(0, ERRORS[0], []), 4))


def test_other_errors_are_not_taken_for_it():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(BatchSize(4).run(limited(2, RuntimeError("shapes"), []), 4))


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        BatchSize(0)


def limit_rows(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> list[int]:
    """Make a method of the autoencoder run out of memory above `limit` rows; return the sizes that it was called with."""
    original, calls = getattr(Autoencoder, name), []

    def method(self: Autoencoder, rows: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        calls.append(len(rows))
        if len(rows) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(self, rows, *arguments, **options)

    monkeypatch.setattr(Autoencoder, name, method)
    return calls


def test_embedding_goes_on_with_smaller_batches(tiny_autoencoder, monkeypatch):
    wave = np.random.default_rng(0).normal(0, 0.1, 9600 * 9).astype(np.float32)
    expected = embed_track(tiny_autoencoder, wave, sampling_rate=24_000, batch_size=8)
    calls = limit_rows(monkeypatch, "encode", 3)
    found = embed_track(tiny_autoencoder, wave, sampling_rate=24_000, batch_size=8)
    assert calls == [8, 4, 2, 2, 2, 2, 1]
    torch.testing.assert_close(found.z, expected.z, atol=1e-5, rtol=1e-4)
    np.testing.assert_array_equal(found.offsets, expected.offsets)


def test_sounds_are_the_same_in_smaller_batches(tiny_model: PECMAE, monkeypatch):
    expected = tiny_model.sonify(seed=3)
    calls = limit_rows(monkeypatch, "decode", 4)
    np.testing.assert_allclose(tiny_model.sonify(seed=3), expected, atol=1e-5)
    assert calls == [6, 3, 3]


def test_without_a_wish_the_device_decides():
    assert BatchSize.of_segments(torch.device("cpu")).size < BatchSize.of_segments(torch.device("cuda")).size
    assert BatchSize.of_segments(torch.device("cpu"), 7).size == 7
