"""A process that reads what it is given, watched by another, which tells what takes too long or too much, or dies."""

import math
import multiprocessing
import os
import resource
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from hostile.cases import Case

SECONDS, MEGABYTES = 20.0, 2048.0
# A process may ask for this much beyond what it has at the start; then it gets a MemoryError, before the machine suffers.
_ROOM = 4 << 30
_START_SECONDS = 300.0
# By the clock, a case may take this many times what it may take of the processor.
_PATIENCE = 5


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    case: Case
    verdict: str  # "read", "refused": well; "traceback", "wrong", "died", "late", "large": not
    message: str
    seconds: float  # of the processor
    megabytes: float  # at most, of the whole process; 0 where it is not known

    @property
    def well(self) -> bool:
        """Whether it was read or refused in a sentence."""
        return self.verdict in ("read", "refused")


def judged(case: Case, answer: Callable[[Case], None]) -> tuple[str, str]:
    """Verdict and message of an answer: the package's own errors are a refusal, all others are tracebacks."""
    from pecmae import PecmaeError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer(case)
    except (PecmaeError, FileNotFoundError) as error:
        return "refused", str(error)
    except AssertionError as error:
        return "wrong", str(error)
    except BaseException as error:  # MemoryError and RecursionError, too
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}:{last.lineno})"
    return "read", ""


def library() -> Callable[[Case], None]:
    """What a user does with a file of each kind; an AssertionError where the answer is nonsense."""
    import numpy as np
    import torch

    from hostile.models import tiny_model
    from pecmae import PECMAE
    from pecmae.audio.segments import audio_duration, iter_segments
    from pecmae.data.load import load_collection
    from pecmae.prototypes.neighbours import Neighbours

    torch.set_num_threads(1)
    model = tiny_model()
    tone = np.sin(np.arange(30_000) / 10).astype(np.float32) / 4

    def answer(case: Case) -> None:
        if case.kind == "table":
            load_collection(case.path)
        elif case.kind == "model":
            loaded = PECMAE.from_pretrained(case.path, device="cpu")
            Neighbours.load(case.path)
            check(loaded, tone, sampling_rate=24_000)
            assert np.isfinite(loaded.sonify(loaded.labels[0], prototype=0)).all(), "a sound that is no number"
        else:
            duration = audio_duration(case.path)
            assert math.isfinite(duration), f"a duration of {duration}"
            assert duration >= 0, f"a duration of {duration}"
            for segment in iter_segments(case.path, segment_samples=24_000, target_rate=24_000):
                assert np.isfinite(segment.samples).all(), "samples that are no numbers"
            check(model, case.path)

    def check(model: PECMAE, source: object, **options: int) -> None:
        prediction = model.predict(source, **options)  # type: ignore[arg-type]
        assert math.isfinite(prediction.score), f"a score of {prediction.score}"
        assert np.isfinite(prediction.logits).all(), "logits that are no numbers"
        assert np.isfinite(model.embed(source, **options)).all(), "embeddings that are no numbers"  # type: ignore[arg-type]

    return answer


class Trials:
    """A process that answers one case after the other, started anew when it is stopped or dies.

    Parameters
    ----------
    make_answer : callable
        Called once in the process; returns what answers a case. Importable there, so a function of a module.
    seconds, megabytes : float
        What a case may take: of the processor, since the machine may be used by others, and of memory.
    """

    def __init__(
        self,
        make_answer: Callable[[], Callable[[Case], None]] = library,
        *,
        seconds: float = SECONDS,
        megabytes: float = MEGABYTES,
    ) -> None:
        self._make_answer, self._seconds, self._megabytes = make_answer, seconds, megabytes
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def run(self, case: Case) -> Outcome:
        """What becomes of a case."""
        connection = self._started()
        try:
            connection.send(case)
            if not self._answered(connection):
                self._stop()
                return Outcome(case, "late", f"no answer after {self._seconds:g} s", self._seconds, 0.0)
            verdict, message, seconds, megabytes = connection.recv()
        except (EOFError, OSError):
            process = self._process
            assert process is not None
            process.join(5)
            code = process.exitcode
            self._stop()
            return Outcome(case, "died", f"the interpreter ended with {code}", 0.0, 0.0)
        if megabytes > self._megabytes:
            verdict, message = "large", f"{megabytes:.0f} MB ({verdict} {message})"
        return Outcome(case, verdict, message, seconds, megabytes)

    def _answered(self, connection: Connection) -> bool:
        """Whether an answer comes before the process has worked, or done nothing, for too long."""
        assert self._process is not None
        watched, began = psutil.Process(self._process.pid), time.monotonic()
        before = _worked(watched)
        while not connection.poll(0.5):
            if _worked(watched) - before > self._seconds or time.monotonic() - began > _PATIENCE * self._seconds:
                return False
        return True

    def _started(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(theirs, self._make_answer), daemon=True)
            self._process.start()
            theirs.close()
            try:
                if not self._connection.poll(_START_SECONDS):
                    raise EOFError
                self._connection.recv()
            except EOFError:
                raise RuntimeError("The process that reads does not start; run its function here to see why.") from None
        return self._connection

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _work(connection: Connection, make_answer: Callable[[], Callable[[Case], None]]) -> None:
    """Answer cases until the other side hangs up."""
    # Decoders write notes to standard error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    answer = make_answer()
    resource.setrlimit(resource.RLIMIT_AS, (_virtual_bytes() + _ROOM,) * 2)
    connection.send("ready")
    while True:
        try:
            case = connection.recv()
        except EOFError:
            return
        _forget_peak()
        began = time.process_time()
        verdict, message = judged(case, answer)
        connection.send((verdict, message, time.process_time() - began, _peak_megabytes()))


def _worked(process: psutil.Process) -> float:
    """Seconds of the processor that a process has used; none where it has just died."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _status(name: str) -> int:
    """A figure of this process in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def _virtual_bytes() -> int:
    return _status("VmSize") * 1024


def _forget_peak() -> None:
    """Let the largest memory so far be that of now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_megabytes() -> float:
    return _status("VmHWM") / 1024
