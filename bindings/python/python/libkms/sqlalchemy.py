"""Encrypted columns for SQLAlchemy 2.

    class Customer(Base):
        __tablename__ = "customer"
        id: Mapped[int] = mapped_column(primary_key=True)
        card: Mapped[str | None] = mapped_column(EncryptedText(keystore, "alias/cards", context={"column": "card"}))

The database sees ciphertexts, each different even for equal values, so an encrypted column can't be compared, sorted or
indexed by its value; only `is_(None)` works. `move_rows` brings old rows to the newest version of their key.

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
Progress(seen=1, moved=1, failed=0, total=1)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Event
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy import Column, Dialect, Engine, LargeBinary, Table, and_, func, select, tuple_, type_coerce, update
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.operators import OperatorType, is_, is_not
from sqlalchemy.types import TypeDecorator, TypeEngine

from ._keystore import Keystore
from ._moving import Background, Progress, ProgressCallback, Row, Stopped, move

__all__ = [
    "Background",
    "EncryptedBytes",
    "EncryptedText",
    "Progress",
    "Stopped",
    "move_rows",
    "move_rows_in_background",
]

T = TypeVar("T")
KeystoreSource: TypeAlias = Keystore | Callable[[], Keystore]
"""A keystore, or a function that gives it when a value is first encrypted."""


class _Encrypted(TypeDecorator[T], Generic[T]):
    impl = LargeBinary
    cache_ok = True

    def __init__(
        self, keystore: KeystoreSource, key: str, *, context: Mapping[str, str] | None = None
    ) -> None:
        """`key` is a key id or "alias/NAME"; `context` binds the ciphertexts to their column."""
        super().__init__()
        self.keystore = keystore
        self.key = key
        # Hashable, as SQLAlchemy's cache of statements asks.
        self.context = None if context is None else tuple(sorted(context.items()))

    def the_keystore(self) -> Keystore:
        return self.keystore if isinstance(self.keystore, Keystore) else self.keystore()

    def the_context(self) -> dict[str, str] | None:
        return None if self.context is None else dict(self.context)

    def encode(self, value: T) -> bytes:
        raise NotImplementedError

    def decode(self, value: bytes) -> T:
        raise NotImplementedError

    def process_bind_param(self, value: T | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        return self.the_keystore().encrypt(self.key, self.encode(value), self.the_context())

    def process_result_value(self, value: Any | None, dialect: Dialect) -> T | None:
        if value is None:
            return None
        return self.decode(self.the_keystore().decrypt(value, self.the_context()))

    def process_literal_param(self, value: T | None, dialect: Dialect) -> str:
        raise TypeError("an encrypted value can't be written into the text of a statement")

    class Comparator(TypeDecorator.Comparator[Any]):
        def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> Any:
            if op in (is_, is_not) and other == (None,):
                return super().operate(op, *other, **kwargs)
            raise TypeError("an encrypted column can't be compared or sorted by its value; only is_(None) works")

    @property
    def comparator_factory(self) -> type[TypeEngine.Comparator[Any]]:  # type: ignore[override]
        return self.Comparator


class EncryptedBytes(_Encrypted[bytes]):
    """A column of bytes, encrypted."""

    cache_ok = True

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, value: bytes) -> bytes:
        return value


class EncryptedText(_Encrypted[str]):
    """A column of text, encrypted as UTF-8."""

    cache_ok = True

    def encode(self, value: str) -> bytes:
        return value.encode()

    def decode(self, value: bytes) -> str:
        return value.decode()


def move_rows(
    engine: Engine,
    column: "Column[Any] | InstrumentedAttribute[Any]",
    *,
    batch: int = 500,
    progress: ProgressCallback | None = None,
    stop: Event | None = None,
) -> Progress:
    """Re-encrypts the rows of an encrypted column whose ciphertext is under an older version of its key.

    In pages of `batch` rows by primary key, one short transaction each. A row that the program changes meanwhile keeps
    what the program wrote. A row that can't be decrypted is counted and left. `progress` is called after each page; what
    it raises ends the move. Raises `Stopped` once `stop` is set. Begun again, it goes on where it is needed.
    """
    selected = column.expression if isinstance(column, InstrumentedAttribute) else column
    if not isinstance(selected, Column) or not isinstance(selected.type, _Encrypted):
        raise TypeError("the column isn't an encrypted one")
    kind: _Encrypted[Any] = selected.type
    table = selected.table
    assert isinstance(table, Table)
    keys = list(table.primary_key.columns)
    if not keys:
        raise TypeError(f"the table {table.name} has no primary key")
    raw: Any = type_coerce(selected, LargeBinary)

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
            yield [(tuple(row[:-1]), bytes(row[-1])) for row in found]

    def replace(changes: Sequence[tuple[Any, bytes, bytes]]) -> int:
        moved = 0
        with engine.begin() as connection:
            for key, old, new in changes:
                same = and_(*(column == value for column, value in zip(keys, key)), raw == old)
                moved += connection.execute(
                    update(table).where(same).values({selected: type_coerce(new, LargeBinary)})
                ).rowcount
        return moved

    with engine.connect() as connection:
        total = connection.execute(select(func.count()).select_from(table).where(raw.is_not(None))).scalar_one()
    return move(kind.the_keystore(), kind.the_context(), total, pages(), replace, progress, stop)


def move_rows_in_background(
    engine: Engine,
    column: "Column[Any] | InstrumentedAttribute[Any]",
    *,
    batch: int = 500,
    progress: ProgressCallback | None = None,
) -> Background:
    """`move_rows` in a thread of its own, which has begun; `progress` is called there."""
    moving = Background(lambda stop: move_rows(engine, column, batch=batch, progress=progress, stop=stop))
    moving.start()
    return moving
