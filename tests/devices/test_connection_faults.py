"""What is wrong with the way to a device is one error, and the next run completes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.devices.device_program import device_program
from deploy.devices.errors import DeviceError
from deploy.devices.facts import find_facts
from deploy.devices.holder import lock_device
from deploy.devices.session import DeviceSession, open_session
from deploy.devices.ssh import check_device
from deploy.recipe.devices import DeviceRecipe
from tests.devices.ssh_server import new_key

STAGES = (
    "probe", "lock", "installed", "stale", "missing", "assemble", "install", "run", "prune"
)  # fmt: skip
LOST = "device 'pi': the connection was lost.*Run it again: what has arrived there is not sent"


def wait_until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("stage", STAGES)
def test_a_connection_that_is_cut_before_a_stage(device_test, monkeypatch, stage):
    ask = DeviceSession.ask

    def cut_and_ask(session, reply, do, /, **arguments):
        if do == stage:
            device_test.server.cut()
        return ask(session, reply, do, **arguments)

    with monkeypatch.context() as patched, pytest.raises(DeviceError, match=LOST):
        patched.setattr(DeviceSession, "ask", cut_and_ask)
        device_test.measure()
    assert device_test.measure().status == "passed"


def test_a_connection_that_is_cut_while_a_file_is_sent_goes_on_from_there(device_test):
    size = 200_000_000
    engine = device_test.add_file("large", size)
    part = device_test.folder / "objects" / f"{engine}.part"

    def cut() -> None:
        wait_until(lambda: part.exists() and part.stat().st_size > size // 20, "nothing is sent")
        device_test.server.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(DeviceError, match=LOST):
        device_test.measure()
    thread.join()
    assert 0 < part.stat().st_size < size
    device_test.measure()
    (line,) = [line for line in device_test.told if line.startswith("sending")]
    assert float(line.split(", ")[1].split()[0]) < 0.96 * size / 1e6


def test_a_connection_that_is_cut_while_the_bundle_is_measured_ends_the_program(device_test):
    started = device_test.server.home / "pid"
    device_test.does(f"pathlib.Path({str(started)!r}).write_text(str(os.getpid())); time.sleep(90)")
    thread = threading.Thread(
        target=lambda: (wait_until(started.exists, "no start"), device_test.server.cut())
    )
    thread.start()
    with pytest.raises(DeviceError, match=LOST):
        device_test.measure()
    thread.join()
    pid = int(started.read_text())
    wait_until(lambda: not is_running(pid), "the program there goes on")
    device_test.does_nothing_else()
    device_test.measure()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_desk_that_is_killed_or_cancelled_ends_the_program_on_the_device(device_test, number):
    started = device_test.server.home / "pid"
    device_test.does(f"pathlib.Path({str(started)!r}).write_text(str(os.getpid())); time.sleep(90)")
    desk = os.fork()
    if desk == 0:
        try:
            device_test.measure()
        finally:
            os._exit(1)
    wait_until(lambda: started.exists() and started.read_text() != "", "no start")
    os.kill(desk, number)
    os.waitpid(desk, 0)
    pid = int(started.read_text())
    wait_until(lambda: not is_running(pid), "the program there goes on")
    device_test.does_nothing_else()
    assert device_test.measure().status == "passed"


def test_a_key_that_the_device_does_not_know(device_test, tmp_path):
    allowed = device_test.server.folder / "authorized_keys"
    right = allowed.read_text()
    new_key(tmp_path / "other")
    allowed.write_text((tmp_path / "other.pub").read_text())
    expected = (
        r"device 'pi': it accepts none of your keys \(.*Permission denied \(publickey\)\.\)\. "
        r"Put your public key there \(ssh-copy-id device\)"
    )
    with pytest.raises(DeviceError, match=expected):
        device_test.measure()
    allowed.write_text(right)
    device_test.measure()


def test_a_host_key_that_is_not_known(device_test):
    (device_test.server.folder / "known_hosts").write_text("")
    expected = "device 'pi': its host key is not known here .* compare the fingerprint: ssh device"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure()
    device_test.server.know(device_test.server.folder / "host_key.pub")
    device_test.measure()


def test_a_host_key_that_has_changed(device_test, tmp_path):
    new_key(tmp_path / "other")
    device_test.server.know(tmp_path / "other.pub")
    expected = "device 'pi': its host key is not the one that you have accepted before .*keygen -R"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure()
    device_test.server.know(device_test.server.folder / "host_key.pub")
    device_test.measure()


def test_a_server_that_does_not_run(device_test):
    device_test.server.stop()
    with pytest.raises(DeviceError, match=r"device 'pi': nothing listens there .*refused"):
        device_test.measure()


def test_a_name_that_is_not_known(device_test):
    options = [*device_test.recipe.ssh, "-o", "HostName=nowhere.invalid"]
    with pytest.raises(DeviceError, match=r"device 'pi': its name is not known .*Check"):
        device_test.measure(ssh=options)


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch x", "pi -oProxyCommand=x", "pi;x", "a@-x", "", "pi\nx"]
)
def test_a_host_that_ssh_or_a_shell_could_take_for_something_else(device_test, host):
    expected = "device 'pi': host: expected a name as ssh takes it, such as pi@raspberrypi, got"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(host=host)


@pytest.mark.parametrize("host", ["pi", "pi@raspberry.local", "ssh://pi@10.0.0.7:2222", "a@[::1]"])
def test_a_host_as_users_write_it_is_taken(host):
    check_device(DeviceRecipe("pi", host=host))


def test_a_device_that_another_desk_uses(device_test, monkeypatch):
    monkeypatch.setattr("deploy.devices.holder._WAIT", 0.5)
    with open_session(device_test.recipe, print) as other:
        lock_device(other, "bundle theirs")
        expected = r"the device is in use by .*@.* \(bundle theirs\) since .*Wait until that run"
        with pytest.raises(DeviceError, match=expected):
            device_test.measure()
    device_test.measure()


def test_a_desk_that_falls_silent_is_taken_for_gone(device_test, monkeypatch):
    program = device_program(device_test.recipe.folder)
    assert "SILENCE = 180.0" in program
    hasty = program.replace("SILENCE = 180.0", "SILENCE = 1.0")
    monkeypatch.setattr("deploy.devices.session.device_program", lambda folder: hasty)
    with open_session(device_test.recipe, print) as session:
        lock_device(session, "bundle mine")
        time.sleep(2)
        with pytest.raises(DeviceError, match="device 'pi'"):
            find_facts(session)


def test_a_command_that_takes_too_long(device_test):
    device_test.does("time.sleep(90)")
    expected = "device 'pi': 'run' takes longer than 4 s. Give it more time with device.timeout"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure(timeout=4)
    device_test.does_nothing_else()
    device_test.measure()


def test_a_device_without_sftp_gets_its_files_by_rsync(device_test, tmp_path):
    device_test.server.stop()
    device_test.server.start(sftp=False)
    device_test.measure()
    device_test.measure()
    assert "nothing to send: all files are there" in device_test.told


def test_a_device_with_neither_sftp_nor_rsync(device_test, tmp_path):
    device_test.server.stop()
    device_test.server.start(sftp=False, path=Path("/nowhere"))
    expected = "device 'pi' has neither sftp nor rsync, by which files are sent.*Subsystem sftp"
    with pytest.raises(DeviceError, match=expected):
        device_test.measure()
