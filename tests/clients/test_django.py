"""Django's ORM over psycopg 3: two databases, the proxy and one PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import django
import pytest
from django.conf import settings
from django.db import DatabaseError, IntegrityError, connections, models, transaction
from django.db.models import Avg, Count, F, Max, Q, Sum
from django.db.models.functions import TruncYear

from tests.clients.fix_secure import READER, SECRET
from tests.clients.sides import Side, Sides
from tests.clients.values import ISBN, NEW_ISBN
from tests.fix_proxy import RunningProxy
from tests.fix_tls import Certificates

settings.configure(USE_TZ=True, DATABASES={"default": {"ENGINE": "django.db.backends.dummy"}}, INSTALLED_APPS=[])
django.setup()


class Book(models.Model):
    pk = models.CompositePrimaryKey("branch", "isbn")
    isbn = models.BigIntegerField()
    branch = models.TextField()
    book_name = models.TextField()
    author = models.TextField()
    genre = models.TextField(null=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    checked_out = models.BooleanField(default=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "clients"
        db_table = "books"
        managed = False


class Patron(models.Model):
    patron_id = models.BigIntegerField(primary_key=True)
    name = models.TextField()
    joined = models.DateField()

    class Meta:
        app_label = "clients"
        db_table = "patrons"
        managed = False


Program = Callable[[str], Any]


@pytest.fixture(params=[False, True], ids=["client-side", "server-side"])
def alike(request: pytest.FixtureRequest, sides: Sides) -> Iterator[Callable[[Program], Any]]:
    """Run a program with each side's alias; the parameters are bound by the client or by the server."""
    for alias, side in (("proxy", sides.proxy), ("reference", sides.reference)):
        connections.databases[alias] = connections.configure_settings({"default": _database(side, request.param)})[
            "default"
        ]
    yield lambda program: Sides.alike(_Aliases, program)  # type: ignore[arg-type]
    for alias in ("proxy", "reference"):
        connections[alias].close()
        del connections[alias]


class _Aliases:
    proxy, reference = "proxy", "reference"


def _database(side: Side, server_side: bool) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": side.host,
        "PORT": side.port,
        "USER": side.user,
        "NAME": side.database,
        "OPTIONS": {"server_side_binding": server_side},
    }


def test_queries(alike: Callable[[Program], Any]) -> None:
    def program(alias: str) -> Any:
        books, patrons = Book.objects.using(alias), Patron.objects.using(alias)
        found: list[Any] = [
            list(books.filter(branch="west", isbn=ISBN).values()),
            list(books.filter(isbn=ISBN).order_by("branch").values_list("branch", "price", "updated_at")),
            list(
                books.filter(price__gt=Decimal(15))
                .order_by("-price", "isbn", "branch")
                .values_list("isbn", "price")[2:7]
            ),
            list(books.filter(book_name__icontains="ring").order_by("isbn", "branch").values_list("book_name")),
            books.count(),
            books.filter(Q(genre="Classic") | Q(genre__isnull=True)).exclude(checked_out=True).count(),
            books.aggregate(Sum("price"), Avg("price"), Max("updated_at")),
            list(books.values("genre").annotate(n=Count("*"), total=Sum("price")).order_by("genre")),
            list(
                books.filter(price__gt=1)
                .values("genre")
                .annotate(n=Count("*"), most=Max("price"))
                .filter(n__gt=1, most__lt=Decimal(1000))
                .order_by("-n", "genre")[:3]
            ),
            list(
                patrons.annotate(year=TruncYear("joined"))
                .values("year")
                .annotate(n=Count("*"))
                .filter(n__gte=2)
                .order_by("year")
            ),
            list(books.values_list("branch", flat=True).distinct().order_by("branch")),
            books.get(pk=("west", ISBN)).book_name,
            patrons.get(patron_id=1005).joined,
            patrons.filter(joined__year=2020).count(),
            list(patrons.filter(patron_id__in=[1001, 1002, 1003]).order_by("patron_id").values_list("name", flat=True)),
            [patron.name for patron in patrons.order_by("patron_id").iterator(chunk_size=7)],
            books.filter(branch="nowhere").first(),
        ]
        found += [books.filter(branch="west", isbn=ISBN).exists(), patrons.earliest("joined").name]
        with pytest.raises(Book.DoesNotExist):
            books.get(branch="west", isbn=1)
        return found

    assert alike(program)[4] > 50


def test_writes(alike: Callable[[Program], Any]) -> None:
    def program(alias: str) -> Any:
        books = Book.objects.using(alias)
        mine = books.filter(branch="west", isbn__gte=NEW_ISBN)
        made = [Book(branch="west", isbn=NEW_ISBN + at, book_name=f"b{at}", author="me", price=at) for at in range(10)]
        found: list[Any] = []
        with transaction.atomic(using=alias):
            for book in made:  # bulk_create() is INSERT … SELECT, which is refused
                book.save(using=alias, force_insert=True)
            with pytest.raises(IntegrityError), transaction.atomic(using=alias):
                books.create(branch="west", isbn=NEW_ISBN, book_name="again", author="me")
            found.append(mine.update(price=F("price") * 2))
            book = books.get(pk=("west", NEW_ISBN))
            book.genre = "New"
            book.save()
            found += books.get_or_create(branch="west", isbn=NEW_ISBN, defaults={"author": "x"})[1:]
            transaction.set_rollback(True, using=alias)
        found.append(mine.count())
        made[0].save(using=alias, force_insert=True)
        found.append(list(mine.values_list("book_name", flat=True)))
        found.append(mine.delete()[0])
        return found

    assert alike(program) == [10, False, 0, ["b0"], 1]


def test_iterator(alike: Callable[[Program], Any]) -> None:
    """By a cursor of the server: WITH HOLD outside of a transaction."""

    def program(alias: str) -> Any:
        books = Book.objects.using(alias).order_by("isbn", "branch").values_list("isbn", "branch")
        found = list(books.iterator(chunk_size=10))
        with transaction.atomic(using=alias):
            mine = books.filter(branch="west").iterator(chunk_size=5)
            for at, row in enumerate(books.iterator(chunk_size=7)):
                found += [row, next(mine)] if at < 9 else [row]
        return found

    assert len(alike(program)) == 72 + 72 + 9


def test_errors(alike: Callable[[Program], Any]) -> None:
    def program(alias: str) -> Any:
        with connections[alias].cursor() as cursor:
            with pytest.raises(DatabaseError) as raised:
                cursor.execute("SELECT nope FROM books WHERE isbn = %s", [ISBN])
            cursor.execute("SELECT name FROM patrons WHERE joined > %s ORDER BY 1", [date(2022, 1, 1)])
            return raised.value.__cause__.sqlstate, cursor.fetchall()  # type: ignore[union-attr]

    assert alike(program)[0] == "42703"


def test_introspection(alike: Callable[[Program], Any]) -> None:
    def program(alias: str) -> Any:
        connection = connections[alias]
        with connection.cursor() as cursor:
            described = connection.introspection.get_table_description(cursor, "books")
            key = connection.introspection.get_primary_key_columns(cursor, "books")
            tables = {table.name for table in connection.introspection.get_table_list(cursor)}
        return [(column.name, column.type_code, column.null_ok) for column in described], key, {"books"} <= tables

    assert alike(program)[1:] == (["branch", "isbn"], True)


def test_logging_in_by_a_password_over_tls(secure_proxy: RunningProxy, certificates: Certificates) -> None:
    """With Django's own pool, too."""
    for password, pool in ((SECRET, False), (SECRET, {"min_size": 1, "max_size": 2}), ("wrong", False)):
        side = Side("localhost", secure_proxy.port, READER)
        database = _database(side, True) | {"PASSWORD": password}
        database["OPTIONS"] |= {"sslmode": "verify-full", "sslrootcert": certificates.ca, "pool": pool}
        connections.databases["secure"] = connections.configure_settings({"default": database})["default"]
        try:
            if password == SECRET:
                assert Book.objects.using("secure").filter(branch="west").count() == 24
            else:
                with pytest.raises(DatabaseError, match="password authentication failed"):
                    Book.objects.using("secure").count()
        finally:
            connections["secure"].close()
            if pool:
                connections["secure"].close_pool()
            del connections["secure"]
