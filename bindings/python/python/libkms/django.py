"""Encrypted fields for Django.

    # settings.py
    LIBKMS = {"location": BASE_DIR / "keys.db", "root_key_file": BASE_DIR / "root.key", "key": "alias/app"}

    # models.py
    class Customer(models.Model):
        card = EncryptedTextField(null=True)

`LIBKMS` holds the arguments of `libkms.open`, and `key`: a key id, "alias/NAME" or a `Key`. Instead of the arguments, it may
hold `keystore`: an open keystore, or a function that returns one.

The encryption context of a field binds its ciphertexts to their place. By default, it names the table and the column:
`{"table": db_table, "column": column}`. Before you change `db_table`, `db_column` or the name of the field, set `context` on
the field. Either pass the former context, or pass a new one and re-encrypt the rows with `ReencryptField` in the migration.

Equal values are encrypted to different ciphertexts. So a field cannot be compared with a value, sorted, grouped, indexed or
unique: queries raise FieldError, and system checks report fields.E950 to E957. `isnull` and `Count` work. To find rows by a
value, add a column with an HMAC of the value.

An expression that would store a value without encryption raises FieldError. The checks do not see SQL text that a program
writes itself (`raw`, `RawSQL`, `extra`). A value that such SQL stores without encryption raises `MalformedCiphertext` when it
is read. Importing this module adds the checks to every Django query that uses an encrypted field.

`move_rows` re-encrypts old rows under the primary version of the key that the field's alias names now.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import connections, models, router
from django.db.migrations.operations.base import Operation
from django.utils.functional import Promise

from ._columns import context_of, decrypt, key_name, of_type
from ._django_checks import EncryptedCol, OnlyNull, check_expression, check_field, install, refuse
from ._keystore import Keystore, open
from ._moving import Background, Context, Progress, ProgressCallback, Row, Stopped, move
from ._types import KeyName

__all__ = [
    "Background",
    "EncryptedBinaryField",
    "EncryptedField",
    "EncryptedTextField",
    "Progress",
    "ReencryptField",
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
    """Return the keystore of the settings; open it on first use."""
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


class EncryptedField(models.BinaryField):  # type: ignore[type-arg]
    """The base class of the encrypted fields."""

    empty_values = [None]
    non_db_attrs = (*models.BinaryField.non_db_attrs, "key", "context")
    accepts: ClassVar[tuple[type, ...]]

    def __init__(
        self,
        *args: Any,
        key: KeyName | None = None,
        context: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Create a field; `key` (a key id, "alias/NAME" or a `Key`) overrides the key of the settings.

        `context` overrides the encryption context {"table": ..., "column": ...}; a name stands for {"column": name}."""
        self.key = None if key is None else key_name(key)
        self.context = dict(context) if isinstance(context, Mapping) else context
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        if self.key is not None:
            kwargs["key"] = self.key
        if self.context is not None:
            kwargs["context"] = self.context
        return name, path, args, kwargs

    def check(self, **kwargs: Any) -> Any:
        return [*super().check(**kwargs), *check_field(self)]

    def the_key(self) -> str:
        return self.key or key_name(_settings()["key"])

    def the_context(self) -> dict[str, str]:
        given = context_of(self.context)
        return {"table": self.model._meta.db_table, "column": str(self.column)} if given is None else given

    def place(self) -> str:
        """Return the table and column, which errors name."""
        model = getattr(self, "model", None)
        return f"{model._meta.db_table}.{self.column}" if model is not None else "an encrypted field without a model"

    def encode(self, value: Any) -> bytes:
        raise NotImplementedError

    def decode(self, value: bytes) -> Any:
        raise NotImplementedError

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if hasattr(value, "as_sql"):
            check_expression(value, self)
        return super().get_db_prep_save(value, connection)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, Promise):
            value = self.get_prep_value(value)
        if value is None:
            return None
        if getattr(self, "model", None) is None:
            raise FieldError("an encrypted field encrypts only as a part of a model; use Model._meta.get_field(name)")
        plaintext = self.encode(of_type(value, self.accepts, self.place()))
        return connection.Database.Binary(keystore().encrypt(self.the_key(), plaintext, self.the_context()))

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if value is None:
            return None
        return self.decode(decrypt(keystore(), value, self.the_context(), self.place()))

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name == "exact":
            return OnlyNull
        if lookup_name != "isnull":
            raise refuse(self, f"the lookup {lookup_name}")
        return super().get_lookup(lookup_name)

    def get_transform(self, lookup_name: str) -> Any:
        raise refuse(self, f"the lookup {lookup_name}")

    def get_col(self, alias: str, output_field: Any = None) -> Any:
        return EncryptedCol(alias, self, output_field)

    @property
    def cached_col(self) -> Any:
        return EncryptedCol(self.model._meta.db_table, self)


class EncryptedBinaryField(EncryptedField):
    """An encrypted field of bytes."""

    accepts = (bytes, bytearray, memoryview)

    def encode(self, value: Any) -> bytes:
        return bytes(value)

    def decode(self, value: bytes) -> bytes:
        return value


class EncryptedTextField(EncryptedField):
    """An encrypted field of text, as UTF-8."""

    accepts = (str,)

    def encode(self, value: str) -> bytes:
        return value.encode()

    def decode(self, value: bytes) -> str:
        return value.decode()

    def get_default(self) -> Any:
        # Not BinaryField's, whose empty value is b"".
        return models.Field.get_default(self)

    def _check_str_default_value(self) -> list[Any]:
        return []

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: Any) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(value)


install()


def move_rows(
    model: type[models.Model],
    field: str,
    *,
    from_context: str | Mapping[str, str] | None = None,
    batch: int = 500,
    using: str | None = None,
    progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
) -> Progress:
    """Re-encrypt the rows of an encrypted field that are not under the primary version of its key.

    If `update_alias` moved the field's alias, this is the key that the alias names now. `Progress.other_key` counts the rows
    that were under another key. `from_context` is a former encryption context of the field: rows that still have it are
    re-encrypted with the present one.

    The move reads pages of `batch` rows by primary key, and updates each row that needs it in one short statement. A row
    that the program changes meanwhile keeps the program's value. A row that cannot be decrypted stays unchanged, and
    `Progress.failed` counts it.

    The move calls `progress` after each page, and an exception from it ends the move. Raises `Stopped` after `stop` is set,
    and the error of the key if the key cannot encrypt.
    """
    found = _encrypted(model, field)
    return _move(model, found, (found.the_context(), context_of(from_context)), batch, using, progress, stop)


def _encrypted(model: type[models.Model], field: str) -> EncryptedField:
    found = model._meta.get_field(field)
    if not isinstance(found, EncryptedField):
        raise TypeError(f"{model._meta.label}.{field} isn't an encrypted field")
    return found


def _move(
    model: type[models.Model],
    found: EncryptedField,
    contexts: tuple[Context, Context],
    batch: int,
    using: str | None,
    progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
) -> Progress:
    # Of multi-table inheritance, the model whose table has the column.
    model = found.model
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
            yield rows

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
    return move(keystore(), found.the_key(), contexts, found.place(), total, pages(), replace, progress, stop)


def move_rows_in_background(
    model: type[models.Model],
    field: str,
    *,
    from_context: str | Mapping[str, str] | None = None,
    batch: int = 500,
    using: str | None = None,
    progress: ProgressCallback | None = None,
) -> Background:
    """Start `move_rows` in a thread, which also calls `progress`."""

    def run(stop: threading.Event) -> Progress:
        try:
            return move_rows(
                model, field, from_context=from_context, batch=batch, using=using, progress=progress, stop=stop
            )
        finally:
            connections.close_all()

    moving = Background(run)
    moving.start()
    return moving


class ReencryptField(Operation):
    """A migration operation that re-encrypts the rows of a field with its present context and key.

    Put it after the operation that changes the `context`, or renames the field, its column or its table:

        migrations.RenameField("Customer", "card", "pan"),
        ReencryptField("Customer", "pan", from_context={"table": "shop_customer", "column": "card"}),

    A row that has neither context cannot be decrypted, and stays unchanged. Without `allow_failed`, the migration then fails
    and reports the number of such rows. The reverse migration re-encrypts the rows with `from_context`.
    """

    reversible = True
    reduces_to_sql = False

    def __init__(
        self,
        model_name: str,
        name: str,
        *,
        from_context: str | Mapping[str, str],
        batch: int = 500,
        allow_failed: bool = False,
    ) -> None:
        self.model_name, self.name, self.batch, self.allow_failed = model_name, name, batch, allow_failed
        self.from_context = dict(from_context) if isinstance(from_context, Mapping) else from_context

    def deconstruct(self) -> Any:
        kwargs: dict[str, Any] = {"from_context": self.from_context}
        if self.batch != 500:
            kwargs["batch"] = self.batch
        if self.allow_failed:
            kwargs["allow_failed"] = True
        return self.__class__.__name__, [self.model_name, self.name], kwargs

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._run(app_label, schema_editor, to_state, back=False)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._run(app_label, schema_editor, from_state, back=True)

    def _run(self, app_label: str, schema_editor: Any, state: Any, back: bool) -> None:
        model = state.apps.get_model(app_label, self.model_name)
        alias = schema_editor.connection.alias
        if not self.allow_migrate_model(alias, model):
            return
        field = _encrypted(model, self.name)
        contexts = (field.the_context(), context_of(self.from_context))
        done = _move(model, field, contexts[::-1] if back else contexts, self.batch, alias)
        if done.failed and not self.allow_failed:
            raise RuntimeError(
                f"{done.failed} of {done.seen} rows of {field.place()} can't be decrypted with the field's context or with "
                f"from_context; correct from_context, or pass allow_failed=True to leave them as they are"
            )

    def describe(self) -> str:
        return f"Re-encrypt field {self.name} on {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        return f"reencrypt_{self.model_name.lower()}_{self.name.lower()}"
