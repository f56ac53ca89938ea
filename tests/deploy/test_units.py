"""The systemd units, checked by systemd itself."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.shipped import UNITS, joined_lines, read

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here")


def parse(name):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string("\n".join(joined_lines(read(name))))
    return parser


@pytest.fixture(params=UNITS)
def unit(request, tmp_path):
    """The unit with this environment's `ray`: systemd checks that the program exists."""
    path = tmp_path / request.param
    text = read(request.param)
    assert "/opt/embsweep/.venv/bin/ray " in text
    path.write_text(text.replace("/opt/embsweep/.venv/bin/ray ", f"{Path(sys.executable).with_name('ray')} "))
    return path


@needs_systemd
def test_systemd_reports_no_problem(unit):
    done = subprocess.run([ANALYZE, "verify", unit], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_reports_an_unknown_key(unit):
    """Checks that the test above can fail."""
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHouse="))
    done = subprocess.run([ANALYZE, "verify", unit], check=False, capture_output=True, text=True, timeout=60)
    assert "ProtectHouse" in done.stderr


@needs_systemd
def test_exposure_stays_low(unit):
    """The threshold is in tenths of systemd's own scale: 10.0 is a unit without any protection."""
    command = [ANALYZE, "security", "--offline=true", "--threshold=45", unit]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("name", UNITS)
def test_token_is_readable_by_ray_only(name):
    service = parse(name)["Service"]
    credential, _, file = service["LoadCredential"].partition(":")
    assert file == "/etc/embsweep/auth_token"
    assert f"RAY_AUTH_TOKEN_PATH=%d/{credential}" in service["Environment"].split()
    assert "RAY_AUTH_MODE=token" in service["Environment"].split()


@pytest.mark.parametrize("name", UNITS)
def test_storage_is_mounted_first_and_can_be_written(name):
    parsed = parse(name)
    assert parsed["Unit"]["RequiresMountsFor"] == parsed["Service"]["ReadWritePaths"] == "/srv/embsweep"


def test_variables_of_the_units_are_set_by_their_environment_file():
    variables = {line.partition("=")[0] for line in read("ray.env").splitlines() if line and line[0] != "#"}
    assert "${RAY_HEAD_ADDRESS}" in parse("embsweep-ray-worker.service")["Service"]["ExecStart"]
    assert "RAY_HEAD_ADDRESS" in variables
