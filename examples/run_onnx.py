"""Label a file with an exported model, by onnxruntime and soundfile alone.

    pecmae export --output onnx
    python examples/run_onnx.py onnx song.wav

The file has to be at the model's sampling rate: resample it with what your program has.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile


def main(folder: str, path: str) -> dict[str, float]:
    """Print and return the score of each class, the best first."""
    facts = json.loads((Path(folder) / "model.json").read_text())
    wav, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != facts["sampling_rate"]:
        raise SystemExit(f"{path}: is at {rate} Hz; resample it to {facts['sampling_rate']} Hz.")
    size, mono = facts["segment_samples"], wav.mean(1)
    segments = [mono[start : start + size] for start in range(0, len(mono), size)]
    segments = [part - part.mean() for part in segments if len(part) >= facts["shortest_segment"] or len(segments) == 1]
    lengths = np.array([len(part) for part in segments])
    padded = np.stack([np.pad(part, (0, size - len(part))) for part in segments])
    session = onnxruntime.InferenceSession(Path(folder) / "model.onnx")
    logits = session.run(["logits"], {"wav": padded, "num_samples": lengths})[0]
    track = np.average(logits, 0, weights=lengths) / facts["scores"].get("temperature", 1)
    scores = np.exp(track - track.max()) / np.exp(track - track.max()).sum()
    found = {facts["labels"][index]: float(scores[index]) for index in np.argsort(-scores)}
    print(*(f"{label} {score:.3f}" for label, score in found.items()), sep="\n")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
