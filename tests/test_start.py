"""What has to be installed, and what a command costs beside the work: imports, and memory, which no length changes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pecmae import __version__

UNUSED = (
    *("transformers", "diffusers", "accelerate", "sklearn", "pandas", "matplotlib", "PIL", "jinja2", "gradio", "ray"),
    *("sympy", "torch._dynamo", "torch.distributed.tensor"),
)
# In a process of its own: its peak memory after each file in MB, and what classifying and sonifying imported.
CODE = """
import contextlib, io, json, resource, sys
from pecmae.cli import main

def run(*arguments):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([*arguments, "--model", sys.argv[1]])

peaks = []
for path in sys.argv[3:]:
    run("classify", path, "--json")
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
run("sonify", "--class", "jazz", "--output", sys.argv[2])
print(json.dumps([peaks, sorted(sys.modules)]))
"""


# With neither accelerate nor transformers: which modules can be imported all the same, and what `fit` says.
WITHOUT_EXTRAS = """
import importlib, json, pkgutil, sys
sys.modules["accelerate"] = sys.modules["transformers"] = None
import pecmae
failed = []
names = sorted(module.name for module in pkgutil.walk_packages(pecmae.__path__, "pecmae."))
names = [name for name in names if not name.endswith("__main__")]
assert len(names) > 80
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name.split(".")[0] in ("accelerate", "transformers"), error
        failed.append(name)
try:
    pecmae.fit
except pecmae.PecmaeError as error:
    print(json.dumps([failed, str(error)]))
"""
TRAINED = (
    *("pecmae.baselines.apnet_fitting", "pecmae.evaluation.leave_one_out", "pecmae.finetuning", "pecmae.interop.embeddings"),
    *("pecmae.interop.estimator", "pecmae.prototypes.fitting", "pecmae.reproduction", "pecmae.training"),
)


def test_only_training_needs_the_extra_of_its_name():
    result = subprocess.run([sys.executable, "-c", WITHOUT_EXTRAS], capture_output=True, text=True, check=True)
    failed, message = json.loads(result.stdout)
    assert [name for name in failed if not name.startswith(TRAINED)] == []
    assert "pecmae.prototypes.fitting" in failed
    assert message == "pecmae.fit needs accelerate; install it with pip install 'pecmae[train]'."


@pytest.fixture(scope="module")
def classified(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], set[str]]:
    """Peaks of memory after 4 seconds and after 4 minutes, and the modules imported."""
    folder, draws = tmp_path_factory.mktemp("audio"), np.random.default_rng(0)
    for name, seconds in (("short.wav", 4), ("long.wav", 240)):
        soundfile.write(folder / name, draws.normal(0, 0.1, 8000 * seconds), 8000)
    sounds = folder / "sounds"
    arguments = [str(tiny_model_dir), str(sounds), str(folder / "short.wav"), str(folder / "long.wav")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    assert sorted(path.name for path in sounds.iterdir()) == ["jazz-0.wav", "jazz-1.wav"]
    peaks, modules = json.loads(result.stdout)
    return peaks, set(modules)


def test_classifying_and_sonifying_import_nothing_that_they_do_not_use(classified):
    assert sorted(classified[1] & set(UNUSED)) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
def test_memory_does_not_grow_with_the_length_of_the_audio(classified):
    short, long = classified[0]
    assert long - short < 15


@pytest.mark.parametrize("module", ["pecmae", "pecmae.cli"])
def test_the_modules_are_the_console_command(module):
    result = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"pecmae {__version__}\n"
    assert subprocess.run([sys.executable, "-m", module, "polka"], capture_output=True).returncode == 2
