# mypy: allow-untyped-defs, allow-untyped-calls, ignore-missing-imports, allow-any-unimported
"""What contexts do with packages that only the master has; each function imports what it uses."""

from __future__ import annotations

import sys


def origin(name):
    """Return the file of a loaded module."""
    return sys.modules[name].__file__


def fetch(url):
    """Get a page, and say which bundle of certificates would be used for a safe one."""
    import requests
    import requests.utils

    response = requests.get(url, params={"q": "\u20ac"}, timeout=20)
    with open(requests.utils.DEFAULT_CA_BUNDLE_PATH, "rb") as f:
        certificates = f.read()
    return response.json(), response.status_code, certificates, origin("requests")


def render(package, names):
    """Render a template that lies in a package, and includes another one."""
    import importlib.resources

    import jinja2

    folder = importlib.resources.files(package).joinpath("templates")
    loader = jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8"))
    environment = jinja2.Environment(loader=loader, autoescape=True)
    return environment.get_template("page.html").render(names=names), origin("jinja2")


def load_yaml(text):
    """Load YAML and dump it again."""
    import yaml

    value = yaml.safe_load(text)
    return value, yaml.safe_dump(value), yaml.__with_libyaml__, origin("yaml")


def use_django():
    """Set up Django, use its database and its templates."""
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        INSTALLED_APPS=["django.contrib.contenttypes"],
        USE_I18N=False,
    )
    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.template import Context, Template

    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from django_content_type")
        (count,) = cursor.fetchone()
    template = Template("{% for n in names %}{{ n|upper }} {{ n|length }}{% endfor %}")
    text = template.render(Context({"names": ["a<b"]}))
    return text.encode().decode(), count, origin("django")


def import_only(name):
    """Import a module, and return how many modules of its package are loaded."""
    __import__(name)
    return len([other for other in sys.modules if other.partition(".")[0] == name.partition(".")[0]])


def use_sqlalchemy():
    """Map a class to a table in sqlite, write and read."""
    from sqlalchemy import String, create_engine, select
    from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class Host(Base):
        __tablename__ = "hosts"
        id = mapped_column(String(20), primary_key=True)
        name = mapped_column(String(20))

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Host(id="1", name="one"), Host(id="2", name="two")])
        session.commit()
        found = [str(name) for name in session.scalars(select(Host.name).order_by(Host.name))]
    engine.dispose()
    return found, origin("sqlalchemy")


def use_click(arguments):
    """Run a command with options."""
    import click
    from click.testing import CliRunner

    @click.command()
    @click.option("--count", default=1)
    @click.argument("name")
    def greet(count, name):
        for _ in range(count):
            click.echo("hello " + name)

    result = CliRunner().invoke(greet, arguments)
    return result.exit_code, result.output, origin("click")


def use_attrs():
    """Make a class, and validate."""
    import attrs

    @attrs.define(order=True)
    class Point:
        x: int = attrs.field(validator=attrs.validators.instance_of(int))
        y: int = 0

    try:
        Point("1")  # type: ignore[arg-type]
    except TypeError as e:
        refused = "must be <class 'int'>" in str(e)
    return attrs.asdict(Point(1, 2)), Point(1) < Point(2), refused, origin("attrs")


def version_of(name):
    """Return the version of an installed distribution."""
    import importlib.metadata

    return importlib.metadata.version(name)
