"""A bundle is measured on a device over a real SSH connection."""

from __future__ import annotations

import json

import pytest

from deploy.devices.errors import DeviceError
from deploy.devices.work import DeviceWork


def test_a_bundle_is_sent_and_measured_and_the_second_run_sends_nothing(device_test):
    first = device_test.measure()
    assert (first.device, first.status) == ("pi", "passed")
    assert first.at.endswith("+00:00")
    assert any(line.startswith("sending 4 files, ") for line in device_test.told)
    assert "checking" in device_test.told
    second = device_test.measure()
    assert second.machine == first.machine
    assert "nothing to send: all files are there" in device_test.told
    assert not [line for line in device_test.told if "sending" in line or "installing" in line]


def test_what_a_shell_prints_is_passed_over(device_test):
    (device_test.server.home / ".bashrc").write_text("echo welcome; printf '@backend-chain'\n")
    assert device_test.measure().status == "passed"


def test_only_what_changed_is_sent(device_test):
    device_test.measure()
    (device_test.bundle / "manifest.json").write_bytes(
        (device_test.bundle / "manifest.json").read_bytes() + b"\n"
    )
    device_test.measure()
    assert any(line.startswith("sending 1 files") for line in device_test.told)


def test_engines_that_were_built_there_stay(device_test):
    device_test.does(
        "bundle = pathlib.Path(words[1])\n"
        "built = bundle / 'engine.plan'\n"
        "print('built before' if built.exists() else 'built now', file=sys.stderr)\n"
        "built.write_text('x')\n"
        "(bundle / 'manifest.json').write_text('{}')\n"
    )
    device_test.measure()
    assert "built now" in device_test.told
    device_test.measure()
    assert "built before" in device_test.told


def test_the_runtime_is_told_what_to_measure(device_test, tmp_path):
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    (tmp_path / "pictures" / "a" / "1.png").write_bytes(b"picture")
    work = DeviceWork(rounds=3, seconds=2.0, dataset=tmp_path / "pictures")
    device_test.measure(work, tune=True)
    words = json.loads((device_test.server.home / "words.json").read_text())
    assert words[:1] == ["measure"]
    assert words[6:12] == ["--tune", "--rounds", "3", "--seconds", "2", "--dataset"]
    assert (device_test.folder / words[12] / "a" / "1.png").read_bytes() == b"picture"


def test_a_step_of_ones_own_is_sent(device_test, tmp_path, monkeypatch):
    (tmp_path / "own_post.py").write_text("def decode(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    device_test.does("import own_post; print(own_post.__file__, file=sys.stderr)")
    device_test.measure(DeviceWork(post="own_post:decode"))
    assert any("/code/own_post.py-" in line for line in device_test.told)


def test_a_step_of_this_project_need_not_be_sent(device_test):
    device_test.measure(DeviceWork(post="deploy.tasks.classify.post:Classify"))
    assert not (device_test.folder / "code").exists()


def test_a_step_that_is_not_found_here_cannot_be_sent(device_test):
    expected = "the post-processing step's module 'nowhere' is not found here, so it cannot be sent"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(DeviceWork(post="nowhere:decode"))


def test_the_runtimes_error_is_the_devices(device_test):
    device_test.does("sys.exit('error: the engine needs a newer kernel')")
    expected = "device 'pi': the bundle cannot be measured there: got the engine needs a newer ker"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure()
    device_test.does_nothing_else()
    device_test.measure()
