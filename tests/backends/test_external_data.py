"""External data: refused before anything opens it, unless it is a plain file of the folder."""

import os
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from backends.onnx.external_data import UnsafeFileError, check_external_data

pytestmark = pytest.mark.usefixtures("time_limit")

DATA = bytes(range(32))  # float32[4, 2]
GOOD = {"location": "w.bin", "offset": "0", "length": "32"}


@pytest.fixture
def model_folder(tmp_path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "outside.bin").write_bytes(DATA)
    (tmp_path / "model" / "w.bin").write_bytes(DATA)
    return tmp_path / "model"


def external(entries=None, dims=(4, 2), dtype=TensorProto.FLOAT, name="w") -> TensorProto:
    tensor = TensorProto(name=name, dims=dims, data_type=dtype, data_location=TensorProto.EXTERNAL)
    for key, value in dict(GOOD if entries is None else entries).items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(*tensors: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "g", [], [], list(tensors)))


def refusal(tensor: TensorProto, folder: Path) -> str:
    with pytest.raises(UnsafeFileError) as error:
        check_external_data(model(tensor), folder)
    assert f"'{tensor.name}'" in str(error.value)
    return str(error.value)


def link(folder: Path) -> None:
    (folder / "bad").symlink_to("../outside.bin")


def link_within(folder: Path) -> None:
    (folder / "bad").symlink_to("w.bin")


def link_to_device(folder: Path) -> None:
    (folder / "bad").symlink_to("/dev/zero")


def linked_parent(folder: Path) -> None:
    (folder / "bad").symlink_to("..")


def hard_link(folder: Path) -> None:
    (folder / "bad").hardlink_to(folder.parent / "outside.bin")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "bad")


def a_folder(folder: Path) -> None:
    (folder / "bad").mkdir()


def a_socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("bad")
    os.chdir(here)


def address(folder: Path) -> None:
    (folder / "*" / "MEM").mkdir(parents=True)
    (folder / "*" / "MEM" / "*").write_bytes(DATA)


def nothing(folder: Path) -> None:
    pass


RELATIVE = "expected a path relative to the model's folder, got "


@pytest.mark.parametrize(
    ("prepare", "location", "reason"),
    [
        (link, "bad", "expected a regular file, got a symbolic link"),
        (link_within, "bad", "expected a regular file, got a symbolic link"),
        (link_to_device, "bad", "expected a regular file, got a symbolic link"),
        (linked_parent, "bad/outside.bin", "expected a folder, got a symbolic link"),
        (linked_parent, "./bad//outside.bin", "expected a folder, got a symbolic link"),
        (hard_link, "bad", "expected a file of its own, got one of 2 hard links"),
        (fifo, "bad", "expected a regular file, got a FIFO"),
        (fifo, "bad/w.bin", "expected a folder, got a FIFO"),
        (a_folder, "bad", "expected a regular file, got a folder"),
        (a_socket, "bad", "expected a regular file, got a socket"),
        (nothing, ".", "got a path of a folder"),
        (nothing, "bad", "expected a regular file, got No such file or directory"),
        (nothing, "w" * 5000, "expected a regular file, got File name too long"),
        (nothing, "", RELATIVE + "none"),
        (nothing, "/dev/zero", RELATIVE + "an absolute path"),
        (nothing, "//host/share/w.bin", RELATIVE + "an absolute path"),
        (nothing, "\\\\host\\share\\w.bin", RELATIVE + "an absolute path"),
        (nothing, "C:\\w.bin", RELATIVE + "an absolute path"),
        (nothing, "C:w.bin", RELATIVE + "an absolute path"),
        (nothing, "..", RELATIVE + "'..' in it"),
        (nothing, "../outside.bin", RELATIVE + "'..' in it"),
        (nothing, "../model/w.bin", RELATIVE + "'..' in it"),
        (nothing, "a/../../outside.bin", RELATIVE + "'..' in it"),
        (nothing, "..\\outside.bin", RELATIVE + "a backslash in it"),
        (nothing, "w.bin\0", RELATIVE + "a character that no file name should have"),
        (address, "*/MEM/*", RELATIVE + "a character that no file name should have"),
    ],
)
def test_a_location_that_is_no_plain_file_of_the_folder_is_refused(
    model_folder, prepare, location, reason
):
    prepare(model_folder)
    message = refusal(external(GOOD | {"location": location}), model_folder)
    assert reason in message
    assert message.endswith("Copy the file into the model's folder.")


def test_a_device_is_refused():
    tensor = external({"location": "zero"})
    assert "expected a regular file, got a device" in refusal(tensor, Path("/dev"))


def test_a_location_that_is_no_text_is_refused(model_folder):
    tensor = external({"location": "w.bin"})
    tensor.ParseFromString(tensor.SerializeToString().replace(b"w.bin", b"w\xff\xfein"))
    assert RELATIVE + "none" in refusal(tensor, model_folder)


def test_a_tensor_whose_name_is_no_text_is_refused(model_folder):
    tensor = external(name="name")
    tensor.ParseFromString(tensor.SerializeToString().replace(b"name", b"n\xffme"))
    with pytest.raises(UnsafeFileError, match=r"have a name that is not UTF-8\. Save the model"):
        check_external_data(model(tensor), model_folder)


def test_a_tensor_without_a_location_is_refused(model_folder):
    assert RELATIVE + "none" in refusal(external({}), model_folder)


def test_what_looks_like_an_odd_dot_is_a_name(model_folder):
    (model_folder / "..w").write_bytes(DATA)
    check_external_data(model(external(GOOD | {"location": "..w"})), model_folder)


DIGITS = f"digits, up to {2**63 - 1}, got "


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": "-4"}, "offset of external data of tensor 'w': expected " + DIGITS + "'-4'"),
        ({"offset": ""}, DIGITS + "''"),
        ({"offset": "4.0"}, DIGITS + "'4.0'"),
        ({"offset": " 4"}, DIGITS + "' 4'"),
        ({"offset": "0x4"}, DIGITS + "'0x4'"),
        ({"offset": "\u0664"}, DIGITS + "'\u0664'"),
        ({"offset": "9223372036854775808"}, DIGITS + "'9223372036854775808'"),
        ({"offset": "9" * 100_000}, DIGITS + "'99"),
        ({"offset": "9223372036854775807"}, "end at byte 9223372036854775839: expected an end"),
        ({"offset": "1"}, "end at byte 33: expected an end within the 32 bytes of 'w.bin'"),
        ({"length": "-32"}, "length of external data of tensor 'w': expected " + DIGITS + "'-32'"),
        ({"length": "9" * 30}, DIGITS + "'99"),
        ({"length": "31"}, "length of external data of tensor 'w': expected 32 bytes, got 31"),
        ({"length": "33"}, "length of external data of tensor 'w': expected 32 bytes, got 33"),
        ({"length": "0"}, "length of external data of tensor 'w': expected 32 bytes, got 0"),
    ],
)
def test_an_offset_or_length_that_does_not_fit_is_refused(model_folder, entries, reason):
    assert reason in refusal(external(GOOD | entries), model_folder)


def test_without_a_length_the_rest_of_the_file_must_suffice(model_folder):
    check_external_data(model(external({"location": "w.bin"})), model_folder)
    message = refusal(external({"location": "w.bin", "offset": "4"}), model_folder)
    assert "end at byte 36: expected an end within the 32 bytes" in message


def test_a_key_with_two_values_is_refused(model_folder):
    tensor = external()
    tensor.external_data.add(key="location", value="w.bin")
    assert "have two values of 'location'. Save the model again" in refusal(tensor, model_folder)


@pytest.mark.parametrize(
    ("dims", "shape"),
    [((-1, 4), "'-1, 4'"), ((2**62, 2**62), ""), ((2**63 - 1, 0, 2), ""), ((2**62,) * 90_000, "")],
)
def test_an_impossible_shape_is_refused(model_folder, dims, shape):
    message = refusal(external({"location": "w.bin"}, dims), model_folder)
    assert f"shape of external data of tensor 'w': expected a possible one, got {shape}" in message


@pytest.mark.parametrize(
    ("dtype", "name"), [(TensorProto.UNDEFINED, "UNDEFINED"), (99, "99"), (8, "STRING")]
)
def test_a_dtype_without_a_size_is_refused(model_folder, dtype, name):
    message = refusal(external(dtype=dtype), model_folder)
    assert f"expected a dtype of fixed size, got {name}" in message


@pytest.mark.parametrize(
    ("dims", "dtype", "length"),
    [
        ((), TensorProto.FLOAT, 4),
        ((0, 7), TensorProto.FLOAT, 0),
        ((3, 3), TensorProto.BFLOAT16, 18),
        ((3, 3), TensorProto.INT4, 5),
        ((3, 3), TensorProto.BOOL, 9),
        ((2,), TensorProto.COMPLEX128, 32),
    ],
)
def test_the_length_follows_from_shape_and_dtype(model_folder, dims, dtype, length):
    tensor = external(GOOD | {"length": str(length)}, dims, dtype)
    check_external_data(model(tensor), model_folder)
    assert f"expected {length} bytes" in refusal(
        external(GOOD | {"length": str(length + 1)}, dims, dtype), model_folder
    )


def test_every_dtype_of_onnx_but_text_has_its_size(model_folder):
    for number in TensorProto.DataType.values():
        if number not in (TensorProto.UNDEFINED, TensorProto.STRING):
            check_external_data(model(external({"location": "w.bin"}, (2,), number)), model_folder)


def test_a_good_model_passes_with_keys_of_others_and_in_subfolders(model_folder):
    (model_folder / "deep" / "er").mkdir(parents=True)
    (model_folder / "deep" / "er" / "w.bin").write_bytes(DATA)
    checksum = external(GOOD | {"checksum": "none"})
    deep = external(GOOD | {"location": "deep/er/w.bin"}, name="deep")
    check_external_data(model(checksum, deep), model_folder)


def test_the_folder_itself_may_be_reached_through_a_link(model_folder, tmp_path):
    (tmp_path / "link").symlink_to(model_folder)
    check_external_data(model(external()), tmp_path / "link")


def test_a_known_file_needs_no_look(model_folder):
    tensor = external(GOOD | {"location": "none.onnx"})
    check_external_data(model(tensor), model_folder, {"none.onnx": 32})
    with pytest.raises(UnsafeFileError, match=r"within the 31 bytes of 'none\.onnx'"):
        check_external_data(model(tensor), model_folder, {"none.onnx": 31})


def test_a_file_is_looked_at_once_for_all_its_tensors(model_folder, monkeypatch):
    looks = []
    lstat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: looks.append(path) or lstat(path))
    check_external_data(model(*(external(name=f"w{index}") for index in range(1000))), model_folder)
    assert looks == [model_folder / "w.bin"]


def test_entries_without_the_flag_are_checked_too(model_folder):
    tensor = external(GOOD | {"location": "../outside.bin"})
    tensor.ClearField("data_location")
    assert "'..' in it" in refusal(tensor, model_folder)


def sparse(tensor: TensorProto, where: str) -> onnx.SparseTensorProto:
    fine = numpy_helper.from_array(np.zeros(2, np.int64), "fine")
    parts = {"values": fine, "indices": fine} | {where: tensor}
    return onnx.SparseTensorProto(dims=[9], **parts)


def with_attribute(**held) -> onnx.ModelProto:
    whole = model()
    node = whole.graph.node.add(op_type="Anything")
    node.attribute.append(onnx.AttributeProto(name="a", **held))
    return whole


def in_function(tensor: TensorProto) -> onnx.ModelProto:
    whole = model()
    node = whole.functions.add(name="f").node.add(op_type="Constant")
    node.attribute.add(name="value").t.CopyFrom(tensor)
    return whole


def in_default(tensor: TensorProto) -> onnx.ModelProto:
    whole = model()
    whole.functions.add(name="f").attribute_proto.add(name="value").t.CopyFrom(tensor)
    return whole


def in_training(tensor: TensorProto) -> onnx.ModelProto:
    whole = model()
    whole.training_info.add().algorithm.initializer.append(tensor)
    return whole


def in_sparse_weight(tensor: TensorProto) -> onnx.ModelProto:
    whole = model()
    whole.graph.sparse_initializer.append(sparse(tensor, "values"))
    return whole


def nested(tensor: TensorProto) -> onnx.ModelProto:
    inner = model(tensor)
    for _ in range(20):
        inner = with_attribute(g=inner.graph)
    return inner


PLACES = {
    "an initializer": model,
    "a sparse initializer": in_sparse_weight,
    "an attribute": lambda t: with_attribute(t=t),
    "an attribute of another type": lambda t: with_attribute(t=t, type=1),
    "an attribute's list": lambda t: with_attribute(tensors=[t]),
    "a sparse attribute": lambda t: with_attribute(sparse_tensor=sparse(t, "indices")),
    "a list of sparse ones": lambda t: with_attribute(sparse_tensors=[sparse(t, "values")]),
    "a list of graphs": lambda t: with_attribute(graphs=[model(t).graph]),
    "a graph in a graph": nested,
    "a function": in_function,
    "a function's default": in_default,
    "the training": in_training,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_is_found_wherever_it_is(model_folder, place):
    check_external_data(PLACES[place](external()), model_folder)
    hostile = PLACES[place](external(GOOD | {"location": "../outside.bin"}))
    with pytest.raises(UnsafeFileError, match=r"external data of tensor 'w' at '\.\./outside.bin'"):
        check_external_data(hostile, model_folder)
