"""A model is read without its weights, and a file that is none is refused without hanging."""

import os
import random
import socket
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from backends.contract import DeployError
from backends.onnx.external_data import UnsafeFileError
from backends.onnx.model_file import OnnxFileError, read_without_weights
from backends.onnx.protobuf import delimited
from backends.onnx.specs import read_segment
from tests.helpers.graphs import conv, kernel

pytestmark = pytest.mark.usefixtures("time_limit")

DTYPES = ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT64", "UINT8", "BOOL", "INT4", "COMPLEX64"]
EXTERNAL = TensorProto.EXTERNAL


def weight(name: str, dtype: int, *dims: int) -> TensorProto:
    drawn = np.random.default_rng(len(name)).integers(0, 2, dims)
    return helper.make_tensor(name, dtype, dims, drawn.flatten().tolist())


def raw(name: str, *dims: int) -> TensorProto:
    return numpy_helper.from_array(kernel(*dims), name)


def model(*tensors: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["c"], value=raw("inner", 30, 30))
    graph = helper.make_graph([node], "g", [], [], list(tensors), doc_string="a graph")
    whole = helper.make_model(graph, doc_string="a model", producer_name="me")
    whole.metadata_props.add(key="k", value="v")
    return whole


def put(path: Path, content: onnx.ModelProto | bytes) -> Path:
    message = isinstance(content, onnx.ModelProto)
    path.write_bytes(content.SerializeToString() if message else content)
    return path


def restored(skeleton: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    external_data_helper.load_external_data_for_model(skeleton, str(folder))
    return plain(skeleton)


def plain(whole: onnx.ModelProto) -> onnx.ModelProto:
    for tensor in whole.graph.initializer:
        if tensor.data_location != EXTERNAL:
            tensor.ClearField("data_location")
    return whole


def outside(skeleton: onnx.ModelProto) -> list[str]:
    return [t.name for t in skeleton.graph.initializer if t.data_location == EXTERNAL]


def check_same(path: Path, inline_bytes: int = 1024) -> onnx.ModelProto:
    skeleton = read_without_weights(path, inline_bytes)
    again = restored(onnx.ModelProto.FromString(skeleton.SerializeToString()), path.parent)
    assert again == plain(onnx.load(path, load_external_data=False))
    return skeleton


def test_only_long_initializers_become_external(tmp_path):
    typed = helper.make_tensor("typed", TensorProto.FLOAT, [300], [1.0] * 300)
    path = put(tmp_path / "m.onnx", model(raw("long", 20, 30), raw("short", 16, 16), typed))
    skeleton = check_same(path)
    assert outside(skeleton) == ["long"]
    entries = {entry.key: entry.value for entry in skeleton.graph.initializer[0].external_data}
    start = int(entries["offset"])
    assert (entries["location"], entries["length"]) == ("m.onnx", "2400")
    assert path.read_bytes()[start : start + 2400] == kernel(20, 30).tobytes()
    assert outside(check_same(path, 1023)) == ["long", "short"]


def test_a_model_without_weights_is_as_it_was(tmp_path):
    path = put(tmp_path / "m.onnx", model())
    assert read_without_weights(path) == onnx.load(path)


@pytest.mark.parametrize("name", DTYPES)
def test_both_libraries_find_the_weights_of_each_dtype(tmp_path, name):
    dtype = TensorProto.DataType.Value(name)
    tensor = weight("w", dtype, 7, 9, 3)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), "w"))
    assert tensor.data_type == dtype and tensor.HasField("raw_data")
    path = put(tmp_path / "m.onnx", model(raw("before", 3, 5), tensor, raw("after", 4)))
    skeleton = read_without_weights(path, 8)
    assert outside(skeleton) == ["before", "w", "after"]
    graph = ir.serde.deserialize_model(skeleton).graph
    ir.external_data.set_base_dir(graph, tmp_path)
    found = graph.initializers["w"].const_value
    assert isinstance(found, ir.ExternalTensor)
    expected = numpy_helper.to_array(tensor)
    assert found.numpy().dtype == expected.dtype and found.shape == [7, 9, 3]
    np.testing.assert_array_equal(found.numpy().astype("c16"), expected.astype("c16"))
    assert found.tobytes() == tensor.raw_data
    theirs = restored(skeleton, tmp_path).graph.initializer[1]
    np.testing.assert_array_equal(numpy_helper.to_array(theirs), expected)


def test_the_weights_are_not_read(tmp_path):
    tensors = [raw(f"w{index}", 1000, 1000) for index in range(8)]
    path = put(tmp_path / "m.onnx", model(*tensors))
    tracemalloc.start()
    skeleton = read_without_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 < 30_000_000 < path.stat().st_size
    assert len(outside(skeleton)) == 8


def reordered(tensor: TensorProto) -> bytes:
    """The tensor's fields in the opposite order, and not packed."""
    shape = b"".join(bytes([1 << 3, dim]) for dim in tensor.dims)
    head = delimited(9, tensor.raw_data) + delimited(8, tensor.name.encode())
    return head + bytes([2 << 3, tensor.data_type]) + shape


def whole_of(*graph: bytes) -> bytes:
    """A model whose graph comes first and is made of these parts."""
    return delimited(7, b"".join(graph)) + b"\x08\x0a"


LONG = raw("w", 20, 20)


@pytest.mark.parametrize(
    "content",
    [
        whole_of(delimited(5, reordered(LONG)), delimited(2, b"g")),
        whole_of(delimited(5, LONG.SerializeToString() + delimited(9, bytes(1600)))),
        whole_of(delimited(5, LONG.SerializeToString() + b"\x70\x00")),
        whole_of(delimited(5, LONG.SerializeToString() + delimited(77, b"unknown"))),
        whole_of(delimited(5, LONG.SerializeToString())) + delimited(99, b"x" * 5000),
        whole_of(b"\x2d1234", b"\x28\x01", delimited(5, LONG.SerializeToString())),
        b"\xba\x00" + whole_of(delimited(5, LONG.SerializeToString()))[1:],
    ],
    ids=["any order", "bytes twice", "default", "unknown", "unknown top", "kinds", "long tag"],
)
def test_odd_encodings_come_out_as_protobuf_reads_them(tmp_path, content):
    assert outside(check_same(put(tmp_path / "m.onnx", content))) == ["w"]


@pytest.mark.parametrize(
    "content",
    [
        whole_of(delimited(5, LONG.SerializeToString())) * 2,
        whole_of(delimited(5, LONG.SerializeToString())) + b"\xfb\x01\x08\x01\xfc\x01",
        whole_of(delimited(5, LONG.SerializeToString() + b"\xfb\x01\xfc\x01")),
        whole_of(delimited(5, LONG.SerializeToString() + delimited(9, b"1234" * 9))),
    ],
    ids=["two graphs", "group", "group in tensor", "short bytes last"],
)
def test_rare_files_keep_their_weights(tmp_path, content):
    tail = content.endswith(b"1234" * 9 + b"\x08\x0a")
    path = put(tmp_path / "m.onnx", content)
    assert outside(read_without_weights(path)) == []
    assert read_without_weights(path) == onnx.load(path)
    assert len(read_without_weights(path).graph.initializer[0].raw_data) == (36 if tail else 1600)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (fifo, "expected a regular file, got a FIFO"),
        (a_socket, "expected a regular file, got a socket"),
        (Path.mkdir, "expected a regular file, got a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "expected a regular file, got a device"),
        (lambda path: path.symlink_to(path), "does not open"),
        (lambda path: path.symlink_to("none"), "expected an ONNX file, got nothing"),
        (lambda path: None, "expected an ONNX file, got nothing"),
        (Path.touch, "is not an ONNX file: it is empty"),
        (lambda path: put(path, b"\xff garbage"), "is not an ONNX file: "),
        (lambda path: put(path, b"A longer text, of two lines.\n" * 99), "is not an ONNX file: "),
        (lambda path: put(path, b"\x08\x0a"), "is not an ONNX file: it has no graph"),
        (lambda path: put(path, model(LONG).SerializeToString()[:-50]), "is not an ONNX file: "),
    ],
)
def test_what_is_no_onnx_file_is_refused(tmp_path, make, reason):
    path = tmp_path / "m.onnx"
    make(path)
    with pytest.raises((OnnxFileError, UnsafeFileError)) as error:
        read_without_weights(path)
    assert f"model '{path}'" in str(error.value) and reason in str(error.value)


def test_a_fifo_in_the_place_of_the_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "folder")
    with pytest.raises(OnnxFileError, match="expected an ONNX file, got nothing"):
        read_without_weights(tmp_path / "folder" / "m.onnx")


def test_a_name_that_is_no_text_is_refused(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.onnx"))
    with pytest.raises(OnnxFileError, match=r"its path is not UTF-8. Rename it"):
        read_without_weights(put(path, model(LONG)))


def test_bytes_that_do_not_fill_the_shape_are_refused(tmp_path):
    tensor = TensorProto(name="w", data_type=1, dims=[20, 21], raw_data=bytes(1600))
    path = put(tmp_path / "m.onnx", model(tensor))
    with pytest.raises(UnsafeFileError, match="'w': expected 1680 bytes, got 1600"):
        read_without_weights(path)


def test_a_link_to_a_model_is_read_in_the_folder_of_the_model(tmp_path):
    real = put_external(tmp_path / "store" / "real.onnx")
    (tmp_path / "m.onnx").symlink_to(real)
    assert outside(read_without_weights(tmp_path / "m.onnx")) == ["w"]
    assert read_segment(tmp_path / "m.onnx", "m", {}).onnx == real
    real.with_name("real.onnx.data").rename(tmp_path / "real.onnx.data")
    with pytest.raises(UnsafeFileError, match="got No such file or directory"):
        read_without_weights(tmp_path / "m.onnx")


def test_a_model_with_hard_links_keeps_its_weights(tmp_path):
    path = put(tmp_path / "m.onnx", model(LONG))
    assert outside(check_same(path)) == ["w"]
    (tmp_path / "second.onnx").hardlink_to(path)
    assert outside(check_same(path)) == []


def put_external(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    segment = conv(path)
    whole = onnx.load(segment.onnx)
    data = f"{path.name}.data"
    onnx.save(whole, path, save_as_external_data=True, location=data, size_threshold=0)
    return path


def test_a_good_external_model_passes_and_stays_as_it_was(tmp_path):
    path = put_external(tmp_path / "m.onnx")
    assert read_without_weights(path) == onnx.load(path, load_external_data=False)
    segment = read_segment(path, "m", {})
    assert segment.onnx == path and [spec.name for spec in segment.inputs] == ["net.image"]
    ort.InferenceSession(path)


def to_fifo(data: Path) -> None:
    data.unlink()
    os.mkfifo(data)


def to_hard_link(data: Path) -> None:
    data.with_name("other").hardlink_to(data)


def to_link(data: Path) -> None:
    data.symlink_to(data.rename(data.with_name("other")))


@pytest.mark.parametrize(
    ("swap", "reason"),
    [(to_fifo, "got a FIFO"), (to_hard_link, "hard links"), (to_link, "got a symbolic link")],
)
def test_hostile_external_data_are_refused_before_a_segment_is_made(tmp_path, swap, reason):
    path = put_external(tmp_path / "m.onnx")
    swap(tmp_path / "m.onnx.data")
    with pytest.raises(UnsafeFileError, match=reason):
        read_segment(path, "m", {})


def mutated(content: bytes, seed: int) -> bytes:
    draw = random.Random(seed)
    changed = bytearray(content)
    if seed % 3 == 0:
        return bytes(changed[: draw.randrange(len(changed))])
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(len(changed))
        if draw.random() < 0.3:
            start = draw.randrange(len(changed))
            changed[at:at] = changed[start : start + draw.randrange(40)]
        else:
            changed[at] = draw.choice((draw.randrange(256), changed[at] ^ 1 << draw.randrange(8)))
    return bytes(changed)


def small() -> bytes:
    """A model of a few hundred bytes, with a weight in ``w.bin``."""
    elsewhere = TensorProto(name="d", data_type=1, dims=[3], data_location=EXTERNAL)
    elsewhere.external_data.add(key="location", value="w.bin")
    elsewhere.external_data.add(key="length", value="12")
    whole = model(raw("a", 3, 4), weight("b", TensorProto.INT64, 5), raw("c", 5), elsewhere)
    whole.graph.node[0].attribute[0].t.CopyFrom(raw("inner", 3))
    return whole.SerializeToString()


@pytest.mark.filterwarnings("ignore:Ignoring unknown external data key")
@pytest.mark.parametrize("start", range(0, 900, 300))
def test_damaged_files_are_read_as_protobuf_reads_them_or_refused(tmp_path, start):
    (tmp_path / "w.bin").write_bytes(bytes(12))
    read = 0
    for seed in range(start, start + 300):
        path = put(tmp_path / "m.onnx", mutated(small(), seed))
        try:
            skeleton = read_without_weights(path, 12)
        except DeployError:
            continue
        read += 1
        theirs = onnx.ModelProto.FromString(path.read_bytes())
        pair = [restored(each, tmp_path) for each in (skeleton, theirs)]
        # as bytes, for a damaged float may be NaN
        ours, theirs = (each.SerializeToString(deterministic=True) for each in pair)
        assert ours == theirs
    assert 30 < read < 300


def test_protobuf_refuses_what_is_refused_as_no_onnx_file(tmp_path):
    for seed in range(300):
        path = put(tmp_path / "m.onnx", mutated(small(), seed) or b"\xff")
        try:
            read_without_weights(path, 12)
        except OnnxFileError as error:
            if "it has no graph" not in str(error):
                with pytest.raises(DecodeError):
                    onnx.ModelProto.FromString(path.read_bytes())
        except UnsafeFileError:
            onnx.ModelProto.FromString(path.read_bytes())
