"""Memory that is freed stays with the process, where glibc can be told so."""

import json
import os
import platform
import subprocess
import sys

import pytest

from pecmae.core.devices import SETTINGS, keep_freed_memory

GLIBC = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"
# In a process of its own: page faults while 20 MB are filled and freed again and again, before and after.
CODE = """
import json, resource
import numpy as np
from pecmae.core.devices import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        first, second = np.ones(20 << 17), np.ones(20 << 17)
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
print(json.dumps([keep_freed_memory(), before, faults()]))
"""


@pytest.mark.skipif(not GLIBC, reason="only glibc has these limits")
def test_what_is_freed_is_used_again():
    other = (*SETTINGS, "GLIBC_TUNABLES", "LD_PRELOAD")
    environment = {name: value for name, value in os.environ.items() if name not in other}
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment)
    kept, before, after = json.loads(result.stdout)
    assert kept
    assert after < before / 5


@pytest.mark.parametrize(("name", "value"), [*((name, "1") for name in SETTINGS), ("GLIBC_TUNABLES", "glibc.malloc.perturb=0")])
def test_limits_of_the_environment_stand(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert keep_freed_memory() is False


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
