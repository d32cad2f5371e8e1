"""Encrypted fields for Django.

    # settings.py
    LIBKMS = {"location": BASE_DIR / "keys.db", "root_key_file": BASE_DIR / "root.key", "key": "alias/app"}

    # models.py
    class Customer(models.Model):
        card = EncryptedTextField(null=True)

`LIBKMS` holds the arguments of `libkms.open`, and `key`, a key id or "alias/NAME"; or `keystore`, an open keystore or a
function that gives one, in place of the arguments. A ciphertext is bound to its table and column by its encryption
context, so `db_table` and `db_column` must stay what they are. The database sees ciphertexts, each different even for
equal values: only `isnull` can be asked. `move_rows` brings old rows to the newest version of their key.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import connections, models, router

from ._keystore import Keystore, open
from ._moving import Background, Progress, ProgressCallback, Row, Stopped, move

__all__ = [
    "Background",
    "EncryptedBinaryField",
    "EncryptedTextField",
    "Progress",
    "Stopped",
    "keystore",
    "move_rows",
    "move_rows_in_background",
]

_lock = threading.Lock()
_opened: Keystore | None = None


def _settings() -> dict[str, Any]:
    found = getattr(settings, "LIBKMS", None)
    if not isinstance(found, dict) or "key" not in found:
        raise ImproperlyConfigured('settings.LIBKMS is needed: {"location": ..., "root_key_file": ..., "key": ...}')
    return found


def keystore() -> Keystore:
    """The keystore of the settings, opened on first use."""
    global _opened
    options = {name: value for name, value in _settings().items() if name != "key"}
    given = options.pop("keystore", None)
    if isinstance(given, Keystore):
        return given
    if callable(given):
        made: Keystore = given()
        return made
    with _lock:
        if _opened is None or _opened.closed:
            _opened = open(options.pop("location"), **options)
        return _opened


class _Encrypted(models.BinaryField):  # type: ignore[type-arg]
    empty_values = [None]

    def __init__(self, *args: Any, key: str | None = None, **kwargs: Any) -> None:
        """`key`: a key id or "alias/NAME", in place of that of the settings."""
        self.key = key
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        if self.key is not None:
            kwargs["key"] = self.key
        return name, path, args, kwargs

    def the_context(self) -> dict[str, str]:
        return {"table": self.model._meta.db_table, "column": str(self.column)}

    def encode(self, value: Any) -> bytes:
        return bytes(value)

    def decode(self, value: bytes) -> Any:
        return value

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is None:
            return None
        sealed = keystore().encrypt(self.key or _settings()["key"], self.encode(value), self.the_context())
        return connection.Database.Binary(sealed)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if value is None:
            return None
        return self.decode(keystore().decrypt(bytes(value), self.the_context()))

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name != "isnull":
            raise FieldError(f"an encrypted field can't be compared by its value: {lookup_name}; only isnull works")
        return super().get_lookup(lookup_name)


class EncryptedBinaryField(_Encrypted):
    """A field of bytes, encrypted."""


class EncryptedTextField(_Encrypted):
    """A field of text, encrypted as UTF-8."""

    def encode(self, value: Any) -> bytes:
        return str(value).encode()

    def decode(self, value: bytes) -> str:
        return value.decode()

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: Any) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(value)


def move_rows(
    model: type[models.Model],
    field: str,
    *,
    batch: int = 500,
    using: str | None = None,
    progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
) -> Progress:
    """Re-encrypts the rows of an encrypted field whose ciphertext is under an older version of its key.

    In pages of `batch` rows by primary key, one short statement for each row that is moved. A row that the program
    changes meanwhile keeps what the program wrote. A row that can't be decrypted is counted and left. `progress` is called
    after each page; what it raises ends the move. Raises `Stopped` once `stop` is set.
    """
    found = model._meta.get_field(field)
    if not isinstance(found, _Encrypted):
        raise TypeError(f"{field} isn't an encrypted field")
    connection = connections[using or router.db_for_write(model)]
    quote = connection.ops.quote_name
    primary = model._meta.pk
    assert primary is not None and primary.column is not None
    table, column, pk = quote(model._meta.db_table), quote(str(found.column)), quote(primary.column)

    def pages() -> Iterator[Sequence[Row]]:
        last: Any = None
        while True:
            more = "" if last is None else f" AND {pk} > %s"
            sql = f"SELECT {pk}, {column} FROM {table} WHERE {column} IS NOT NULL{more} ORDER BY {pk} LIMIT %s"
            with connection.cursor() as cursor:
                cursor.execute(sql, [batch] if last is None else [last, batch])
                rows = cursor.fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [(key, bytes(blob)) for key, blob in rows]

    def replace(changes: Sequence[tuple[Any, bytes, bytes]]) -> int:
        binary = getattr(connection, "Database").Binary  # what every backend has, but not its type
        sql = f"UPDATE {table} SET {column} = %s WHERE {pk} = %s AND {column} = %s"
        moved = 0
        with connection.cursor() as cursor:
            for key, old, new in changes:
                cursor.execute(sql, [binary(new), key, binary(old)])
                moved += cursor.rowcount
        return moved

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE {column} IS NOT NULL")
        total = cursor.fetchone()[0]
    return move(keystore(), found.the_context(), total, pages(), replace, progress, stop)


def move_rows_in_background(
    model: type[models.Model],
    field: str,
    *,
    batch: int = 500,
    using: str | None = None,
    progress: ProgressCallback | None = None,
) -> Background:
    """`move_rows` in a thread of its own, which has begun; `progress` is called there."""

    def run(stop: threading.Event) -> Progress:
        try:
            return move_rows(model, field, batch=batch, using=using, progress=progress, stop=stop)
        finally:
            connections.close_all()

    moving = Background(run)
    moving.start()
    return moving
