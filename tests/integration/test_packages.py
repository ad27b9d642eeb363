"""Packages of PyPI that only the master has, imported and used in contexts.

The interpreters that contexts run on here have none of them installed.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mitogen.master
from mitogen.core import CallError
from tests import interpreters
from tests.integration import remote_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitogen.parent import Context


@pytest.fixture(scope="module", params=["3.12", "3.13"])
def context(request: pytest.FixtureRequest) -> Iterator[Context]:
    """A context that has none of the packages."""
    with mitogen.master.Router() as router:
        yield router.local(python_path=[interpreters.find(request.param), "-W", "error"])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield "http://127.0.0.1:%d/" % server.server_port
        server.shutdown()
        thread.join()


def test_requests_and_its_certificates(context: Context, url: str) -> None:
    found, status, certificates, origin = context.call(remote_packages.fetch, url)
    assert (found, status) == ({"path": "/?q=%E2%82%AC"}, 200)
    # Not equal to those of here: some machines add their own authorities, when they install or import it.
    assert certificates.count(b"BEGIN CERTIFICATE") > 50
    assert origin.startswith("master:")
    assert context.call(remote_packages.version_of, "requests") == version("requests")


def test_jinja2_with_templates_in_a_package(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with_templates"
    (folder / "templates").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "templates/page.html").write_text(
        "{% for n in names %}{% include 'item.html' %}{% endfor %}"
    )
    (folder / "templates/item.html").write_text("<li>{{ n }}")
    monkeypatch.syspath_prepend(tmp_path)
    text, origin = context.call(remote_packages.render, "with_templates", ["a", "<"])
    assert text == "<li>a<li>&lt;"
    assert origin.startswith("master:")


def test_pyyaml_does_without_its_extension(context: Context) -> None:
    value, text, has_extension, origin = context.call(remote_packages.load_yaml, "a: [1, {b: x}]")
    assert value == {"a": [1, {"b": "x"}]}
    assert text == "a:\n- 1\n- b: x\n"
    assert not has_extension
    assert origin.startswith("master:")


def test_django_with_a_database_and_a_template(context: Context) -> None:
    text, count, origin = context.call(remote_packages.use_django)
    assert text == "A&lt;B 3"
    assert count == 1
    assert origin.startswith("master:")


def test_sqlalchemy_with_sqlite(context: Context) -> None:
    names, origin = context.call(remote_packages.use_sqlalchemy)
    assert names == ["one", "two"]
    assert origin.startswith("master:")


def test_click(context: Context) -> None:
    code, text, origin = context.call(remote_packages.use_click, ["--count", "2", "you"])
    assert (code, text) == (0, "hello you\nhello you\n")
    assert origin.startswith("master:")


def test_attrs(context: Context) -> None:
    values, is_less, is_refused, origin = context.call(remote_packages.use_attrs)
    assert values == {"x": 1, "y": 2}
    assert is_less
    assert is_refused
    assert origin.startswith("master:")


def test_pydantic_is_refused_with_the_reason(context: Context) -> None:
    with pytest.raises(CallError) as info:
        context.call(remote_packages.import_only, "pydantic")
    assert info.value.type_name == "ImportError"
    for words in "pydantic_core._pydantic_core", "compiled for the master's platform", "install":
        assert words in info.value.text
    assert context.call(abs, -1) == 1


def asked(router: mitogen.master.Router) -> int:
    """Return how many modules were asked for by the direct children of the master."""
    return sum(link["modules_asked"] for link in router.stats()["links"])


def test_a_large_package_costs_three_round_trips_and_the_second_child_none() -> None:
    import django.db  # noqa: F401

    name = "3.12"
    with mitogen.master.Router() as router:
        top = router.local(python_path=interpreters.find(name))
        below = [router.local(via=top, python_path=interpreters.find(name)) for _ in range(2)]
        for context in (top, *below):
            # Whatever its site-packages do at the first import that is not from there.
            assert context.call(remote_packages.import_only, "json") == 4
        before = asked(router)
        assert below[0].call(remote_packages.import_only, "django.db") > 10
        assert asked(router) - before <= 3
        before = asked(router)
        sent = router.stats()["links"][0]["bytes_sent"]
        assert below[1].call(remote_packages.import_only, "django.db") > 10
        assert top.call(remote_packages.import_only, "django.db") > 10
        assert asked(router) == before
        # The calls themselves, but no module.
        assert router.stats()["links"][0]["bytes_sent"] - sent < 2000
