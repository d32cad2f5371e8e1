"""Encrypted columns for SQLAlchemy 2.

    class Customer(Base):
        __tablename__ = "customer"
        id: Mapped[int] = mapped_column(primary_key=True)
        card: Mapped[str | None] = mapped_column(EncryptedText(keystore, "alias/cards", context={"column": "card"}))

Equal values are encrypted to different ciphertexts. So an encrypted column cannot be compared with a value, sorted, grouped,
indexed or unique; `is_(None)` and `count` work. To find rows by a value, add a column with an HMAC of the value.

The column type encrypts values that are passed as parameters of this type. Compiling a statement that would store any other
expression in the column raises `EncryptedColumnError`. Pass the value itself, or inside an expression
`literal(value, Customer.card.type)`. In the second and later rows of `values([...])`, a parameter needs the type:
`bindparam(name, type_=Customer.card.type)`.

The checks use the types that the `Table` or `table()` of the statement declares. They do not see SQL text that a program
writes itself. Nor do they see a second definition of the table without the encrypted type, such as a `table()` in a
migration. A value that such code stores without encryption raises `MalformedCiphertext` when it is read. Importing this
module adds the checks to every SQLAlchemy statement that uses an encrypted column.

`move_rows` re-encrypts old rows under the primary version of the key that the column's alias names now.

>>> from sqlalchemy import create_engine, Column, Integer, MetaData, Table
>>> table = Table("customer", MetaData(), Column("id", Integer, primary_key=True),
...               Column("card", EncryptedText(kms, key.id)))
>>> engine = create_engine("sqlite://")
>>> with engine.begin() as connection:
...     table.create(connection)
...     _ = connection.execute(table.insert().values(id=1, card="4111 1111"))
...     connection.execute(table.select()).one().card
'4111 1111'
>>> version_id = kms.rotate(key.id)
>>> move_rows(engine, table.c.card)
Progress(seen=1, moved=1, failed=0, total=1, other_key=0)
"""

from collections.abc import Iterator, Mapping, Sequence
from threading import Event
from typing import Any

from sqlalchemy import Column, Engine, Table, and_, func, select, tuple_, type_coerce, update
from sqlalchemy.orm import InstrumentedAttribute

from . import _sqlalchemy_checks, _sqlalchemy_tables
from ._columns import context_of
from ._moving import Background, Progress, ProgressCallback, Row, Stopped, move
from ._sqlalchemy_base import Ciphertext, Encrypted, EncryptedColumnError, KeystoreSource

__all__ = [
    "Background",
    "EncryptedBytes",
    "EncryptedColumnError",
    "EncryptedText",
    "KeystoreSource",
    "Progress",
    "Stopped",
    "move_rows",
    "move_rows_in_background",
]

class EncryptedBytes(Encrypted[bytes]):
    """An encrypted column of bytes."""

    cache_ok = True
    accepts = (bytes, bytearray, memoryview)

    def encode(self, value: bytes) -> bytes:
        return bytes(value)

    def decode(self, value: bytes) -> bytes:
        return value


class EncryptedText(Encrypted[str]):
    """An encrypted column of text, as UTF-8."""

    cache_ok = True
    accepts = (str,)

    def encode(self, value: str) -> bytes:
        return value.encode()

    def decode(self, value: bytes) -> str:
        return value.decode()


_sqlalchemy_checks.install()
_sqlalchemy_tables.install()


def move_rows(
    engine: Engine,
    column: "Column[Any] | InstrumentedAttribute[Any]",
    *,
    from_context: str | Mapping[str, str] | None = None,
    batch: int = 500,
    progress: ProgressCallback | None = None,
    stop: Event | None = None,
) -> Progress:
    """Re-encrypt the rows of an encrypted column that are not under the primary version of its key.

    If `update_alias` moved the column's alias, this is the key that the alias names now. `Progress.other_key` counts the rows
    that were under another key. `from_context` is a former encryption context of the column: rows that still have it are
    re-encrypted with the present one.

    The move updates each page of `batch` rows, by primary key, in one short transaction. A row that the program changes
    meanwhile keeps the program's value. A row that cannot be decrypted stays unchanged, and `Progress.failed` counts it.

    The move calls `progress` after each page, and an exception from it ends the move. Raises `Stopped` after `stop` is set,
    and the error of the key if the key cannot encrypt. A move that was interrupted can be started again.
    """
    selected = column.expression if isinstance(column, InstrumentedAttribute) else column
    if not isinstance(selected, Column) or not isinstance(selected.type, Encrypted):
        raise TypeError(f"{selected} isn't an encrypted column")
    kind: Encrypted[Any] = selected.type
    table = selected.table
    assert isinstance(table, Table)
    keys = list(table.primary_key.columns)
    if not keys:
        raise TypeError(f"the table {table.name} has no primary key")
    raw: Any = type_coerce(selected, Ciphertext())

    def pages() -> Iterator[Sequence[Row]]:
        last: tuple[Any, ...] | None = None
        while True:
            query = select(*keys, raw.label("blob")).where(raw.is_not(None)).order_by(*keys).limit(batch)
            if last is not None:
                query = query.where(tuple_(*keys) > last if len(keys) > 1 else keys[0] > last[0])
            with engine.connect() as connection:
                found = connection.execute(query).all()
            if not found:
                return
            last = tuple(found[-1][:-1])
            yield [(tuple(row[:-1]), row[-1]) for row in found]

    def replace(changes: Sequence[tuple[Any, bytes, bytes]]) -> int:
        moved = 0
        with engine.begin() as connection:
            for key, old, new in changes:
                same = and_(*(column == value for column, value in zip(keys, key)), raw == old)
                moved += connection.execute(
                    update(table).where(same).values({selected: type_coerce(new, Ciphertext())})
                ).rowcount
        return moved

    with engine.connect() as connection:
        total = connection.execute(select(func.count()).select_from(table).where(raw.is_not(None))).scalar_one()
    place = f"{table.name}.{selected.name}"
    contexts = (kind.the_context(), context_of(from_context))
    return move(kind.the_keystore(), kind.key, contexts, place, total, pages(), replace, progress, stop)


def move_rows_in_background(
    engine: Engine,
    column: "Column[Any] | InstrumentedAttribute[Any]",
    *,
    from_context: str | Mapping[str, str] | None = None,
    batch: int = 500,
    progress: ProgressCallback | None = None,
) -> Background:
    """Start `move_rows` in a thread, which also calls `progress`."""
    moving = Background(
        lambda stop: move_rows(
            engine, column, from_context=from_context, batch=batch, progress=progress, stop=stop
        )
    )
    moving.start()
    return moving
