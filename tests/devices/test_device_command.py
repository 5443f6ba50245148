"""The command ``device``: a list, a check that says what is in the way, and an end of all files."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.cli.main import main
from deploy.devices.holder import lock_device
from deploy.devices.session import open_session


@pytest.fixture
def device_command(device_test, tmp_path, monkeypatch, capsys):
    """The command with a file of one's own for the device; returns its code and what it prints."""
    folder = tmp_path / "my" / "device"
    folder.mkdir(parents=True)
    recipe = device_test.recipe
    lines = [f"host: {recipe.host}", f"python: {recipe.python}", f"folder: '{recipe.folder}'"]
    (folder / "pi.yaml").write_text("\n".join(lines))

    def run(*words: str) -> tuple[int, str]:
        typed = ["backend-chain", "device", *words, "--config-dir", str(folder.parent)]
        monkeypatch.setattr("sys.argv", typed)
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        if isinstance(code, str):
            return 1, code
        return int(code or 0), printed.out + printed.err

    return run


def reached(device_test) -> str:
    """The option that leads to the test's server."""
    return f"device.ssh=[-F,'{device_test.server.folder}/ssh_config']"


def test_the_list_has_the_projects_devices_and_ones_own(device_command):
    code, text = device_command("list")
    assert code == 0
    assert text.splitlines() == ["local             this machine", "pi                device"]


def test_a_check_says_what_is_there(device_command, device_test):
    code, text = device_command("check", "pi", reached(device_test))
    assert code == 0, text
    assert text.startswith("device pi: device\n")
    for words in ("architecture", "governor", "GiB free", "files by      sftp", "nobody", "none"):
        assert words in text
    assert not device_test.folder.exists(), "a check leaves nothing there"
    device_test.measure()
    _, text = device_command("check", "pi", reached(device_test))
    assert "runtimes      onnxruntime\n" in text
    assert "bundles       bundle-" in text


def test_a_check_says_who_works_there(device_command, device_test):
    with open_session(device_test.recipe, print) as session:
        lock_device(session, "bundle theirs")
        code, text = device_command("check", "pi", reached(device_test))
    assert code == 0
    assert "(bundle theirs) since" in text


def test_a_check_of_a_device_that_would_not_work_says_why(device_command, device_test):
    code, text = device_command("check", "pi", reached(device_test), "device.folder=/proc/x")
    assert code == 1
    assert "NOT READY: its folder /proc/x cannot be written" in text


def test_a_check_of_a_device_that_is_not_there(device_command):
    code, text = device_command("check", "pi", "device.host=nowhere.invalid")
    assert code == 1
    assert "error: device 'pi': its name is not known" in text


def test_a_clean_removes_what_was_put_there_and_nothing_else(device_command, device_test):
    device_test.measure()
    theirs = device_test.folder / "notes.txt"
    theirs.write_text("mine")
    code, text = device_command("clean", "pi", reached(device_test))
    assert code == 0
    assert "1 other files or folders are left there" in text
    assert {path.name for path in device_test.folder.iterdir()} <= {"notes.txt", "lock"}
    theirs.unlink()
    device_command("clean", "pi", reached(device_test))
    assert not Path(device_test.folder).exists()
    device_test.measure()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", "pie"], r"error: device 'pie': expected one of local, pi. Write a file of its"),
        (["check"], "error: no device is named. Name one of local, pi."),
        (["clean", "local"], "error: device 'local' is this machine: nothing was put there"),
        (["check", "pi", "device.hots=x"], "hots"),
    ],
)
def test_a_wrong_name_is_told(device_command, words, expected):
    code, text = device_command(*words)
    assert code == 1
    assert expected in text


def test_this_machine_is_checked_by_doctor(device_command):
    code, text = device_command("check", "local")
    assert (code, text) == (0, "this machine: backend-chain doctor says what works here\n")
