"""What libsndfile's mp3 decoder says by itself does not reach the terminal; everything else does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

SCRIPT = """
import os, subprocess, sys, warnings
from pecmae.audio.segments import load_audio
from pecmae.cli.decoder_notes import without_decoder_notes
from contextlib import nullcontext

warnings.simplefilter("ignore")
with without_decoder_notes() if sys.argv[2] == "kept out" else nullcontext():
    load_audio(sys.argv[1], target_rate=24_000)
    print("from Python", file=sys.stderr)
    os.write(2, b"from C\\n")
    subprocess.run([sys.executable, "-c", "import sys; sys.exit('from a child')"])
print("after", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def damaged_mp3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mp3 with bytes in its middle that are no frames."""
    path = tmp_path_factory.mktemp("mp3") / "damaged.mp3"
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal(48_000), 24_000)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + rng.bytes(3000) + whole[middle:])
    return path


def test_only_the_decoders_own_lines_are_kept_out(damaged_mp3: Path) -> None:
    def written(how: str) -> list[str]:
        command = [sys.executable, "-c", SCRIPT, str(damaged_mp3), how]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()

    others = ["from Python", "from C", "from a child", "after"]
    assert len(written("left")) > len(others)  # otherwise this test shows nothing
    assert sorted(written("kept out")) == sorted(others)
