"""accelerate's state, one for the whole process: what a run needs of it, without changing what the caller made of it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from pecmae.errors import ConfigError
from pecmae.training.settings import MIXED_PRECISIONS, TrainingSettings


@contextmanager
def own_accelerator(settings: TrainingSettings, given: Accelerator | None = None) -> Iterator[Accelerator]:
    """An accelerator with the precision of the settings: the one that is given, or one for the block.

    accelerate keeps its state in the class, so that an Accelerator of another precision is refused until "the runtime is
    restarted". The caller's state is put aside for the block. Processes and their group stay as they are.

    Raises
    ------
    ConfigError
        The one that is given has another precision than the settings.
    """
    if given is not None:
        if given.mixed_precision != settings.mixed_precision:
            raise ConfigError(
                f"The accelerator computes with mixed_precision={given.mixed_precision!r}, the settings say "
                f"{settings.mixed_precision!r}; make them alike, or leave the accelerator out."
            )
        yield given
        return
    states = (AcceleratorState._shared_state, GradientState._shared_state)
    before = [dict(state) for state in states]
    for state in states:
        state.clear()
    try:
        yield Accelerator(mixed_precision=settings.mixed_precision)
    finally:
        for state, contents in zip(states, before, strict=True):
            state.clear()
            state.update(contents)


def launched_precision(asked: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The precision to train with: what a script's own option asks for, or what `accelerate launch` was told.

    Parameters
    ----------
    asked : str, optional
        Of the script's option.
    environment : mapping
        Where `accelerate launch` leaves its options.

    Returns
    -------
    str, optional
        None where nobody said anything: the launcher's default is "no".

    Raises
    ------
    ConfigError
        Both say something and differ; or the launcher was told what the training loop does not do.
    """
    launched = environment.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if int(environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")) != 1:
        raise ConfigError(
            "accelerate launch was told to accumulate gradients, which has no effect here; use a larger --batch-size."
        )
    if launched == "no":
        return asked
    if launched not in MIXED_PRECISIONS:
        raise ConfigError(f"accelerate launch says mixed_precision={launched}; this trains with {', '.join(MIXED_PRECISIONS)}.")
    if asked not in (None, launched):
        raise ConfigError(
            f"accelerate launch says mixed_precision={launched}, --mixed-precision says {asked}; give one of them."
        )
    return launched
