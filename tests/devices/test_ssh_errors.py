"""What ssh says becomes one error, by its exit code and its last line."""

from __future__ import annotations

import pytest

from deploy.devices.ssh import connection_error, python_command, session_command, shared_options
from deploy.recipe.devices import DeviceRecipe

PI = DeviceRecipe("pi", host="pi@raspberrypi", ssh=["-p", "2222", "-o", "ConnectTimeout=3"])


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("ssh: connect to host pi port 22: Connection timed out", "it does not answer"),
        ("ssh: connect to host pi port 22: No route to host", "it does not answer"),
        ("Received disconnect: Too many authentication failures", "it accepts none of your keys"),
        ("Timeout, server pi not responding.", "the connection was lost"),
        ("client_loop: send disconnect: Broken pipe", "the connection was lost"),
        ("kex_exchange_identification: Connection closed by remote host", "the connection was los"),
        (
            "command-line: line 0: Bad configuration option: x",
            "cannot be reached: got command-line",
        ),
        ("no idea", "cannot be reached: got no idea. Try by hand: ssh pi@raspberrypi"),
    ],
)
def test_a_line_of_ssh_has_its_meaning(line, meaning):
    assert meaning in str(connection_error(PI, f"** WARNING: something\n{line}\n", 255))


def test_an_error_of_a_login_file_is_not_taken_for_one_of_ssh():
    printed = "bash: /etc/x: Permission denied\nConnection to pi closed by remote host.\n"
    assert "the connection was lost" in str(connection_error(PI, printed, 255))


def test_an_end_of_the_program_there_is_told_with_its_last_line():
    error = connection_error(PI, "Traceback\nMemoryError: \x1b[31m", 1)
    assert str(error) == r"device 'pi': its side has ended (exit code 1): got MemoryError: \x1b[31m"


def test_the_users_options_come_before_the_defaults_and_behind_what_must_hold(tmp_path):
    words = session_command(PI, tmp_path / "s", "true")
    assert words[0] == "ssh"
    assert words[-3:] == ["--", "pi@raspberrypi", "true"]
    assert words.index("BatchMode=yes") < words.index("2222") < words.index("ConnectTimeout=20")
    assert not [word for word in words if "StrictHostKey" in word or "KnownHosts" in word]


def test_programs_that_share_the_connection_know_no_other_way(tmp_path):
    words = shared_options(tmp_path / "s")
    assert words[:2] == ["-F", "none"]
    assert "ProxyCommand=false" in words


@pytest.mark.parametrize(
    ("python", "command"),
    [
        ("python3", "python3 -c 'x y'"),
        ("~/my env/bin/python", "\"$HOME\"/'my env/bin/python' -c 'x y'"),
        ("/opt/a;b/python", "'/opt/a;b/python' -c 'x y'"),
    ],
)
def test_the_shell_there_gets_one_command(python, command):
    assert python_command(DeviceRecipe("pi", host="pi", python=python), "x y") == command
