"""A net that no converter wrote is refused before ncnn's parser sees it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from backends.contract import Artifact, Dynamic, EngineError, TensorSpec
from backends.ncnn.checking import check_net, read_axes
from tests.backends.ncnn_nets import FP16, NETS, specs, text_of, weights_of, write

if "ncnn" not in os.environ.get("DEPLOY_TEST_BACKENDS", "ncnn").split(","):
    pytest.skip("ncnn is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

from backends.ncnn.run import load

CONV = "Convolution conv 1 1 in0 a 0=4 1=3 4=1 5=1 6=108 9=2 -23310=1,0.1"
TEXT = text_of(1, [CONV, "Split split 1 2 a b out0", "Pooling pool 1 1 b out1 0=0 1=2 2=2"])
INPUTS = specs("x", [(3, 8, 12)])
OUTPUTS = specs("y", [(4, 8, 12), (4, 4, 6)])
AXES = {"in0": 233, "out0": 233, "out1": 233}
SIZE = 4 + 4 * 108 + 4 * 4


@pytest.fixture
def check(tmp_path):
    def run(text=TEXT, weights=bytes(SIZE), *, inputs=INPUTS, outputs=OUTPUTS, axes=AXES, has=str):
        param, binary = write(tmp_path, text, weights)
        check_net(param, binary, inputs, outputs, axes, has=lambda kind: bool(has(kind)))

    return run


def test_a_net_as_pnnx_writes_it_passes(check):
    check()
    check(TEXT.replace("Input in0 ", "Input                    in0                      "))
    check(TEXT.removesuffix("\n"))
    check(TEXT.replace("-23310=1,0.1", "10=0.1,1.0"))
    check(TEXT.replace(" in0 a", " in0 größe").replace("2 a b", "2 größe b"))


DAMAGED = [
    ("7767517\n", "7767518\n", "expected ncnn's magic 7767517, got '7767518'"),
    (TEXT, "", "expected ncnn's magic 7767517, got ''"),
    ("4 5\n", "4\n", "expected two counts in line 2, got '4'"),
    ("4 5\n", "4 -5\n", "expected two counts in line 2, got '4 -5'"),
    ("4 5\n", "4 0\n", "expected 1 to 16384 layers and 1 to 65536 blobs, got 4 and 0"),
    ("4 5\n", "99999 5\n", "expected 1 to 16384 layers and 1 to 65536 blobs, got 99999 and 5"),
    ("4 5\n", "5 5\n", "expected 5 layers, a line for each, got 4 lines"),
    ("4 5\n", "3 5\n", "expected 3 layers, a line for each, got 4 lines"),
    ("4 5\n", "4 6\n", "'net.param': expected 6 blobs, got 5"),
    ("conv 1", "con\tv 1", "expected printable text, got control characters"),
    ("conv 1", "con\0v 1", "expected printable text, got control characters"),
    ("conv 1", "c" * 256 + " 1", "line 4': expected words of at most 255 bytes, got 'cccc"),
    ("conv 1", "ö" * 128 + " 1", "expected words of at most 255 bytes, got 'öö"),
    (" 9=2", " " * (1 << 18) + "9=2", "line 4': expected at most 262144 characters, got 262"),
    ("Convolution conv 1 1", "7 conv 1 1", "expected a layer's kind, name and two counts, got '7"),
    ("conv 1 1", "conv 1 x", "expected the counts of bottoms and tops, got '1 x'"),
    ("out1 0=0 1=2 2=2", "", "expected 2 blobs, got 1 words"),
    ("conv 1 1", "conv 99999999 1", "expected 100000000 blobs, got 9 words"),
    (" 9=2", " 9", "expected parameters such as 1=2, got '9'"),
    (" 9=2", " 32=2", "expected parameters 0 to 31, got '32=2'"),
    (" 9=2", " -1=2", "expected parameters 0 to 31, got '-1=2'"),
    (" 9=2", " 9=2 9=2", "expected each parameter once, got 0=4"),
    (" 9=2", " 9=", "expected parameters such as 1=2, got '9='"),
    (" 9=2", " 9=0x2", "expected a number or a text, got '9=0x2'"),
    (" 9=2", ' 9="a" b"', "expected a number or a text, got '9=\"a\"'|parameters such as"),
    (" 9=2", " 9=2147483648", "expected an integer of 32 bits, got 2147483648"),
    (" 9=2", " 9=0000000000000002", "expected a number of at most 15 characters, got '0000"),
    (" 9=2", " 9=1e999", "expected a number or a text, got '9=1e999'"),
    ("=1,0.1", "=2,0.1", "expected an array's length and as many numbers, got '2,0.1'"),
    ("=1,0.1", "=-1", "expected an array's length and as many numbers, got '-1'"),
    ("=1,0.1", "=1,", "expected a number of at most 15 characters, got ''"),
    ("=1,0.1", "=9999" + ",0" * 9999, "expected arrays of at most 4096, got 10000"),
    ("-23310=1,0.1", "10=1,0.1", "expected integers or floats, got '1,0.1'"),
    ("conv 1 1 in0 a", "conv 1 1 in1 a", "bottoms: expected a blob that an earlier layer .*'in1'"),
    ("1 1 in0 a", "1 1 b a", "bottoms: expected a blob that an earlier layer makes.* got 'b'"),
    ("1 1 b out1", "1 1 a out1", "bottoms: expected a blob that .* and no other takes, got 'a'"),
    ("2 a b out0", "2 a b b", "tops: expected new blobs, got b, b"),
    ("2 a b out0", "2 a b in0", "tops: expected new blobs, got b, in0"),
    ("conv 1 1 in0", "conv 0 1", "bottoms: expected 1 to 3, got 0"),
    ("split 1 2 a b out0", "split 1 0 a", "tops: expected 1 to 65536, got 0"),
    ("2 a b out0", "2 a b c", "'net.param': expected the outputs out0, out1, got c, out1"),
    ("Input in0", "MemoryData m", "'net.param': expected the inputs in0, got none"),
    ("Pooling pool", "SPP pool", "layer 'pool' (SPP): kind: expected one that pnnx writes"),
    (" 4=1", " 4=2147483647", "parameter 4: expected 0 to 65536 or -233 or -234, got 2147483647"),
    (" 4=1", " 4=-1", "parameter 4: expected 0 to 65536 or -233 or -234, got -1"),
    (" 1=3", " 1=0", "parameter 1: expected 1 to 65536, got 0"),
    (" 1=3", " 1=3.0", "parameter 1: expected 1 to 65536, got 3.0"),
    (" 1=3", "", "parameter 1: expected 1 to 65536, got none"),
    (" 9=2", " 9=7", "parameter 9: expected 0 to 6, got 7"),
    (" 9=2", " 8=1", "parameter 8: expected 0 to 0, got 1"),
    (" -23310=1,0.1", "", "numbers of its activation: expected 1, got 0"),
    (" 9=2", " 26=16777217", "parameter 26: expected -16777216 to 16777216 or 2147483647 or"),
    (" 9=2", " -23330=2,1,9", "parameter 30: expected no sizes of its tops, got (1, 9)"),
    (" 6=108", " 6=54", "weights: expected 108 for 3 channels, got 54"),
    ("1=2 2=2", "1=2 2=1", "'net.param': 'y1': expected 96 numbers, got 308"),
]


@pytest.mark.parametrize(("old", "new", "message"), DAMAGED)
def test_a_damaged_param_is_refused(check, old, new, message):
    assert TEXT.count(old) == 1 or old == TEXT
    text = TEXT.replace(old, new)
    pattern = message if "|" in message or ".*" in message else re.escape(message)
    weights = bytes(4 + 4 * 54 + 16) if "6=54" in new else bytes(SIZE)
    with pytest.raises(EngineError, match=pattern) as caught:
        check(text, weights)
    assert str(caught.value).endswith("Convert again.")


def test_a_layer_that_the_engine_lacks_is_named(check):
    with pytest.raises(EngineError, match=r"\(Pooling\): kind: expected one that this ncnn has"):
        check(has=lambda kind: kind != "Pooling")


def test_of_a_layer_of_a_later_ncnn_what_can_be_checked_is(check):
    later = TEXT.replace("Pooling pool", "Novelty new")
    check(later)
    with pytest.raises(EngineError, match="parameter 2: expected -16777216 to 16777216"):
        check(later.replace(" 2=2", " 2=99999999"))
    with pytest.raises(
        EngineError, match=r"'new' \(Novelty\): bottoms: expected 1 to 65535, got 0"
    ):
        check(later.replace("new 1 1 b", "new 0 1"))
    with pytest.raises(EngineError, match="expected at least 452 bytes for 'conv', got 451 bytes"):
        check(later, bytes(SIZE - 1))


def flagged(flag):
    return flag.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (bytes(SIZE - 1), "'net.bin': expected at least 452 bytes for 'conv', got 451 bytes"),
        (bytes(SIZE + 4), "'net.bin': expected 452 bytes, got 456 bytes"),
        (b"", "'net.bin': expected at least 436 bytes for 'conv', got 0 bytes"),
        (flagged(FP16) + bytes(SIZE - 4), "'net.bin': expected 236 bytes, got 452 bytes"),
        (flagged(1) + bytes(SIZE - 4), "expected at least 1136 bytes for 'conv', got 452 bytes"),
        (
            flagged(0x000D4B38) + bytes(SIZE),
            "'conv' .*: weights: expected 32 or 16 bits, got 8 bits",
        ),
    ],
)
def test_weights_of_another_length_are_refused(check, weights, message):
    with pytest.raises(EngineError, match=message):
        check(weights=weights)


def test_weights_are_as_long_as_their_flags_say(check):
    check(weights=flagged(0x0002C056) + bytes(SIZE - 4))
    check(weights=flagged(FP16) + bytes(2 * 108 + 16))
    check(weights=flagged(1) + bytes(1024 + 108 + 16))


def test_a_net_without_weights_has_four_bytes_for_ncnn_crashes_on_none(check):
    text, tensors = text_of(1, ["ReLU relu 1 1 in0 out0"]), specs("y", [(3, 8, 12)])
    axes = {"in0": 233, "out0": 233}
    check(text, bytes(4), outputs=tensors, axes=axes)
    for length in (0, 8):
        with pytest.raises(EngineError, match=f"'net.bin': expected 4 bytes, got {length} bytes"):
            check(text, bytes(length), outputs=tensors, axes=axes)


def link(path):
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["net.param", "net.bin"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (link, "is a symbolic link, not a regular file"),
        (fifo, "is a FIFO, not a regular file"),
        (folder, "is a folder, not a regular file"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_only_regular_files_are_opened(check, tmp_path, name, damage, message):
    check()
    damage(tmp_path / name)
    files = tmp_path / "net.param", tmp_path / "net.bin"
    with pytest.raises(EngineError, match=f"'{name}' {message}"):
        check_net(*files, INPUTS, OUTPUTS, AXES, has=bool)


def test_a_param_that_is_too_long_or_no_text_is_refused(check, tmp_path):
    check()
    param, weights = tmp_path / "net.param", tmp_path / "net.bin"
    param.write_bytes(b"7767517\n\xff\n")
    with pytest.raises(EngineError, match=r"'net.param' cannot be read: 'utf-8'"):
        check_net(param, weights, INPUTS, OUTPUTS, AXES, has=bool)
    with param.open("wb") as file:
        file.truncate((1 << 24) + 1)
    with pytest.raises(
        EngineError, match=r"'net.param': expected at most 16777216 bytes, got more"
    ):
        check_net(param, weights, INPUTS, OUTPUTS, AXES, has=bool)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((replace(INPUTS[0], dtype="int64"),), "'x0' of an ncnn net: expected float32, and 1 to"),
        ((replace(INPUTS[0], shape=(3, 8, 0)),), r"got float32\[3, 8, 0\]"),
        ((replace(INPUTS[0], shape=(1 << 20, 1 << 20)),), "expected float32, and 1 to 536870912"),
        ((replace(INPUTS[0], shape=None),), r"got float32\[\.\.\.\]"),
        (
            (replace(INPUTS[0], shape=(3, Dynamic("h", 1, 8, 99), 12)),),
            "an ncnn net: expected fixed sizes, or rows that vary",
        ),
    ],
)
def test_tensors_that_no_net_is_made_for_are_refused(check, inputs, message):
    with pytest.raises(EngineError, match=message):
        check(inputs=inputs)


IMAGE = TensorSpec("x", "float32", (1, 3, 8, 12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("[]", "expected an axis for each of in0, out0, got list"),
        ('{"in0": 0}', "expected an axis for each of in0, out0, got in0"),
        ('{"in0": 0, "out0": 0, "out1": 0}', "expected an axis for each .*, got in0, out0, out1"),
        ('{"in0": true, "out0": 0}', "expected 0 to 3 or 233 for 'in0', got True"),
        ('{"in0": 0.0, "out0": 0}', "expected 0 to 3 or 233 for 'in0', got 0.0"),
        ('{"in0": 0, "out0": 4}', "expected 0 to 3 or 233 for 'out0', got 4"),
        ('{"in0": -1, "out0": 0}', "expected 0 to 3 or 233 for 'in0', got -1"),
        (" " * (1 << 20) + "{}", "expected at most 1048576 bytes, got more"),
    ],
)
def test_axes_that_are_not_those_of_the_tensors_are_refused(tmp_path, text, message):
    path = tmp_path / "axes.json"
    path.write_text(text)
    with pytest.raises(EngineError, match=f"'axes.json': {message}"):
        read_axes(path, (IMAGE,), (IMAGE,))


@pytest.mark.parametrize(("shape", "axis"), [((1,), 0), ((1,) * 5, 233), ((1,) * 6, 0)])
def test_an_input_has_one_to_four_axes_beside_the_batch(tmp_path, shape, axis):
    path = tmp_path / "axes.json"
    path.write_text(json.dumps({"in0": axis}))
    with pytest.raises(EngineError, match="expected 1 to 4 axes beside the batch of 'in0'"):
        read_axes(path, (replace(IMAGE, shape=shape),), ())


def artifact(folder, text, weights):
    write(folder, text, weights)
    (folder / "axes.json").write_text(json.dumps(AXES))
    return Artifact("net", "ncnn", ("net.param", "net.bin", "axes.json"), INPUTS, OUTPUTS)


def test_loading_checks_the_net_first(tmp_path):
    whole = artifact(tmp_path, TEXT, weights_of(TEXT))
    with load(whole, tmp_path) as runner:
        assert runner({"x0": np.ones((3, 8, 12), "f4")})["y1"].shape == (4, 4, 6)
    with pytest.raises(EngineError, match="an ncnn artifact: expected 3 files, got 2"):
        load(replace(whole, files=whole.files[:2]), tmp_path)
    artifact(tmp_path, TEXT.replace(" 4=1", " 4=2147483647"), weights_of(TEXT))
    with pytest.raises(
        EngineError, match=r"ncnn layer 'conv' .*: parameter 4: expected 0 to 65536"
    ):
        load(whole, tmp_path)


FUZZ = """
import random, re, sys
from pathlib import Path
import numpy as np, ncnn
from backends.contract import EngineError
from backends.ncnn.checking import check_net
from tests.backends.ncnn_nets import NETS, specs, text_of, weights_of, write
folder, name, mutants = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
shapes, lines = NETS[name]
whole, inputs = text_of(len(shapes), lines), specs("x", shapes)
values = [0, -1, 1, 2, 3, 4, 8, 16, 2**31 - 1, -(2**31), 10**9, -233, -234]
accepted = 0
for seed in range(mutants):
    rng = random.Random(f"{name} {seed}")
    words = whole.split(" ")
    at = rng.choice([at for at, word in enumerate(words) if "=" in word])
    words[at] = re.sub(r"-?[0-9.]+(?!.*[0-9])", str(rng.choice(values)), words[at])
    text = " ".join(words)
    try:
        param, weights = write(folder, text, weights_of(text))
        axes = {f"in{at}": 233 for at in range(len(shapes))}
        check_net(param, weights, inputs, (), axes, bool)
    except (EngineError, ZeroDivisionError):  # of the weights that are made here
        continue
    accepted += 1
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    if net.load_param(str(param)) or net.load_model(str(weights)):
        continue
    extractor = net.create_extractor()
    arrays = [np.zeros(shape, "f4") for shape in shapes]
    for at, array in enumerate(arrays):
        extractor.input(f"in{at}", ncnn.Mat(array).clone())
    for top in re.findall(r"\\bout[0-9]\\b", text):
        extractor.extract(top)
print(accepted)
"""


@pytest.mark.parametrize("name", ["convolutions", "layouts", "parts", "matrices", "recurrent"])
def test_nothing_that_is_accepted_ends_the_process(tmp_path, name):
    command = [sys.executable, "-c", FUZZ, str(tmp_path), name, "400"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10


def test_the_nets_of_these_tests_pass_as_wholes(tmp_path):
    for shapes, lines in NETS.values():
        text = text_of(len(shapes), lines)
        param, weights = write(tmp_path, text, weights_of(text))
        axes = {f"in{at}": 233 for at in range(len(shapes))}
        check_net(param, weights, specs("x", shapes), (), axes, has=bool)
