"""TensorFlow's start lines are in no log; everything else that is written to standard error is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOISE = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795929671.817414   21882 port.cc:153] oneDNN custom operations are on. You may see different results.
I0000 00:00:1795929671.826450   21882 cudart_stub.cc:31] Could not find cuda drivers on your machine.
E0000 00:00:1795929671.826450   21882 cuda_fft.cc:467] Unable to register cuFFT factory
"""
MEANT = "E0000 00:00:1795929671.8   21882 cuda_dnn.cc:1] The driver is too old\nUserWarning: something else\n"


def imported(folder, code, text=NOISE + MEANT, **environment):
    """Import a package named tensorflow that writes to standard error as C code does."""
    package = folder / "tensorflow"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(f"import os\nos.write(2, {text.encode()!r})\nmade = True\n{code}\n")
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    variables = {**kept, **environment, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    script = "import os, ml, tensorflow; assert tensorflow.made; os.write(2, b'later')"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=variables)


def test_start_lines_are_left_out_and_other_lines_stay(tmp_path):
    assert imported(tmp_path, "").stderr == f"{MEANT}later"


def test_an_import_that_fails_hides_nothing_of_its_error(tmp_path):
    told = imported(tmp_path, "raise RuntimeError('no such processor')").stderr
    assert told.startswith(MEANT)
    assert "RuntimeError: no such processor" in told
    assert "oneDNN" not in told


def test_whoever_asks_for_the_lines_gets_them(tmp_path):
    assert imported(tmp_path, "", TF_CPP_MIN_LOG_LEVEL="0").stderr == f"{NOISE}{MEANT}later"


@pytest.mark.slow
def test_tensorflow_itself_starts_without_a_line():
    code = "import ml, tensorflow as tf; tf.config.list_physical_devices(); tf.constant(1) + 1"
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=kept, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
