"""The SQLAlchemy base type of encrypted columns, for values of any type."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from sqlalchemy import Dialect, LargeBinary
from sqlalchemy.exc import DontWrapMixin, InvalidRequestError
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.sql.operators import OperatorType, eq, is_, is_not, ne
from sqlalchemy.types import TypeDecorator, TypeEngine

from ._columns import LOOKUP, context_of, decrypt, key_name, of_type
from ._keystore import Keystore
from ._types import KeyName
from .errors import Error

T = TypeVar("T")
KeystoreSource: TypeAlias = Keystore | Callable[[], Keystore]
"""A keystore, or a function that returns one, called whenever the column needs it."""


class EncryptedColumnError(InvalidRequestError, TypeError, DontWrapMixin):
    """A statement or a table uses an encrypted column in a way that cannot work on ciphertexts."""


def unwrapped(error: Error) -> Error:
    """Return the error in a class that SQLAlchemy does not wrap, because its StatementError would show the plaintext."""
    kind = type(error)
    if kind not in _unwrapped:
        _unwrapped[kind] = type(kind.__name__, (kind, DontWrapMixin), {"__module__": kind.__module__})
    return _unwrapped[kind](*error.args)


_unwrapped: dict[type[Error], type[Error]] = {}


class Encrypted(TypeDecorator[T], Generic[T]):
    impl = LargeBinary
    cache_ok = True
    accepts: ClassVar[tuple[type, ...]]

    def __init__(
        self,
        keystore: KeystoreSource,
        key: KeyName,
        *,
        context: str | Mapping[str, str] | None = None,
    ) -> None:
        """Create a column type that encrypts under `key`, a key id, "alias/NAME" or a `Key`.

        `context` is the encryption context, which binds the ciphertexts to the column; a name stands for {"column": name}."""
        super().__init__()
        self.keystore = keystore
        self.key = key_name(key)
        # Hashable, as SQLAlchemy's cache of statements requires.
        found = context_of(context)
        self.context = None if found is None else tuple(sorted(found.items()))
        self._place = "an encrypted value"

    def placed(self, place: str) -> "Encrypted[T]":
        """Return a copy of this type for one column, which its errors name."""
        copy = self.copy()
        copy._place = place
        return copy

    def is_same(self, other: TypeEngine[Any]) -> bool:
        """Return whether this type can decrypt the ciphertexts of the other type."""
        return type(self) is type(other) and (self.keystore, self.key, self.context) == (
            other.keystore,
            other.key,
            other.context,
        )

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
        try:
            plaintext = self.encode(of_type(value, self.accepts, self._place))
        except TypeError as error:
            raise EncryptedColumnError(str(error)) from None
        try:
            return self.the_keystore().encrypt(self.key, plaintext, self.the_context())
        except Error as error:
            raise unwrapped(error) from None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> T | None:
        if value is None:
            return None
        return self.decode(decrypt(self.the_keystore(), value, self.the_context(), self._place))

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], T | None]:
        # LargeBinary's own would turn a number into that many zero bytes, and fail for text without naming the column.
        return lambda value: self.process_result_value(value, dialect)

    def process_literal_param(self, value: T | None, dialect: Dialect) -> str:
        raise EncryptedColumnError("an encrypted value can't be written into the text of a statement; use a parameter")

    class Comparator(TypeDecorator.Comparator[Any]):
        def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> Any:
            if op in (is_, is_not, eq, ne) and len(other) == 1 and not _is_value(other[0]):
                return super().operate(op, *other, **kwargs)
            raise EncryptedColumnError(
                f"an encrypted column can't be compared with a value or sorted, only is_(None) works; {LOOKUP}"
            )

        def reverse_operate(self, op: OperatorType, other: Any, **kwargs: Any) -> Any:
            return self.operate(op, other, **kwargs)

    @property
    def comparator_factory(self) -> type[TypeEngine.Comparator[Any]]:  # type: ignore[override]
        return self.Comparator


def _is_value(other: Any) -> bool:
    """Return whether this is a value; SQLAlchemy itself compares columns with each other to find one in a list."""
    if other is None:
        return False
    element = other.__clause_element__() if hasattr(other, "__clause_element__") else other
    return not isinstance(element, ColumnElement) or isinstance(element, BindParameter)


class Ciphertext(TypeDecorator[Any]):
    """The type of a stored ciphertext without decryption, for `move_rows`."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        return value

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None
