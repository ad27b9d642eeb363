from __future__ import annotations

import importlib.metadata
import runpy
import sys
from pathlib import Path

import pytest

from mitogen import cli

PACKAGES = Path(__file__).parents[2] / "packages"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The distributions that importlib.metadata will find; the test fills it."""
    versions: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return versions


def test_installed_distributions_are_printed_lowest_layer_first(
    installed: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    installed.update({"mitogen": "1.2", "mitogen-core": "1.2", "rich": "15.0"})
    assert cli.main([]) == 0
    assert capsys.readouterr().out == "mitogen-core 1.2\nmitogen 1.2\n"


@pytest.mark.usefixtures("installed")
def test_nothing_installed_is_said_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "no mitogen distribution is installed" in capsys.readouterr().out


def test_an_argument_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--frob"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "'--frob'" in printed.err


def test_python_dash_m_mitogen_runs_the_command_line(
    installed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installed["mitogen-core"] = "1.2"
    monkeypatch.setattr(sys, "argv", ["mitogen"])
    monkeypatch.delitem(sys.modules, "mitogen.__main__", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("mitogen", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == "mitogen-core 1.2\n"


def test_every_distribution_of_the_workspace_is_asked_for() -> None:
    assert set(cli.DISTRIBUTIONS) == {package.name for package in PACKAGES.iterdir()}
