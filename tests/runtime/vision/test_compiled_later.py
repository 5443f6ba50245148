"""Host steps start in NumPy, and machine code takes over behind the first calls."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from deploy.models.yolov3.anchors import ANCHORS
from deploy.models.yolov3.decoding import CompiledMapDecoder, Thresholds, make_map_decoder
from deploy.runtime.vision import compiled_later as module
from deploy.runtime.vision.compiled_later import (
    CALLS_BEFORE,
    CodeLoading,
    CompiledLater,
    compiled_first,
    compiled_later,
)
from deploy.runtime.vision.compiling import without_compiling

HALF = np.array(ANCHORS["darknet53"], np.float32) / 2


def wait() -> int:
    """Wait for what is being loaded: how many threads did so."""
    loading = [thread for thread in threading.enumerate() if isinstance(thread, CodeLoading)]
    for thread in loading:
        thread.join()
    return len(loading)


@pytest.fixture
def may_compile(monkeypatch):
    monkeypatch.setattr(module, "can_compile", lambda: True)
    monkeypatch.setattr(module, "import_compiler", lambda: None)


def in_numpy(number: int) -> str:
    return f"{number} in NumPy"


def load():
    return lambda number: f"{number} compiled"


def test_machine_code_takes_over_behind_the_first_calls(may_compile):
    function = compiled_later(in_numpy, load)
    first = [function(number) for number in range(CALLS_BEFORE - 1)]
    assert first == [in_numpy(number) for number in range(CALLS_BEFORE - 1)]
    assert wait() == 0
    function(0)
    wait()
    assert function(7) == "7 compiled"


def test_it_is_loaded_once_by_many_threads(may_compile):
    loads = []
    release = threading.Event()

    def slow():
        loads.append(1)
        release.wait(10)
        return load()

    function = compiled_later(in_numpy, slow)
    callers = [
        threading.Thread(target=lambda: [function(n) for n in range(CALLS_BEFORE)])
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert function(1) == "1 in NumPy"  # while it is loaded
    release.set()
    assert wait() <= 1
    assert loads == [1] and function(1) == "1 compiled"


def test_numpy_goes_on_where_loading_fails(may_compile, caplog):
    def broken():
        raise OSError("no library")

    function = compiled_later(in_numpy, broken)
    for number in range(CALLS_BEFORE):
        function(number)
    wait()
    assert function(3) == "3 in NumPy"
    assert "host steps go on in NumPy: OSError: no library" in caplog.text


def test_a_block_compiles_first_and_so_do_its_children(may_compile):
    with compiled_first():
        with compiled_first():
            pass
        assert compiled_later(in_numpy, load)(1) == "1 compiled"
        code = "import os; print(os.environ['DEPLOY_COMPILE_FIRST'])"
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert child.stdout == "1\n"
    assert isinstance(compiled_later(in_numpy, load), CompiledLater)


def test_nothing_is_loaded_where_nothing_may_be_compiled():
    with without_compiling(), compiled_first():
        assert compiled_later(in_numpy, load) is in_numpy


def test_a_decoder_is_compiled_later_or_first():
    assert isinstance(make_map_decoder(HALF, Thresholds()), CompiledLater)
    with compiled_first():
        assert isinstance(make_map_decoder(HALF, Thresholds()), CompiledMapDecoder)


def test_a_process_that_ends_while_code_is_loaded_ends_well_and_begins_no_further_step():
    code = """
import threading, time
from deploy.runtime.vision import compiled_later as module

module.can_compile = lambda: True
module.import_compiler = lambda: time.sleep(0.5)
function = module.compiled_later(abs, lambda: print("loaded"))
for number in range(module.CALLS_BEFORE):
    function(number)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pipeline_is_opened_and_used_a_little_without_the_compiler():
    code = """
import sys
import numpy as np
from deploy.models.yolov3.post import YoloPost

post = YoloPost("darknet53", 2)
maps = [np.zeros((1, 21, side, side), np.float32) for side in (2, 4, 8)]
for _ in range(20):
    post(maps)
print("numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
