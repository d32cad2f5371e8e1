"""Refuse what a SQLAlchemy table must not declare about an encrypted column, when it is declared or created."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Column, Constraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, event
from sqlalchemy.types import TypeDecorator

from ._sqlalchemy_base import Encrypted, EncryptedColumnError
from ._sqlalchemy_checks import refuse, uses


def _inside_of(kind: Any) -> Iterator[Any]:
    """Yield the types inside a type: variants for dialects, the decorated type, and the item type of an array."""
    parts = [*getattr(kind, "_variant_mapping", {}).values(), getattr(kind, "item_type", None)]
    if isinstance(kind, TypeDecorator):
        parts.append(kind.impl_instance)
    for part in parts:
        if part is not None:
            yield part
            yield from _inside_of(part)


def _check_column(column: "Column[Any]", table: Any) -> None:
    if not isinstance(table, Table):
        return
    inside = list(_inside_of(column.type))
    if not isinstance(column.type, Encrypted):
        if any(isinstance(part, Encrypted) for part in inside):
            raise EncryptedColumnError(
                f"{table.name}.{column.name}: an encrypted type inside of another type doesn't protect the column; use "
                f"EncryptedText or EncryptedBytes itself, or a subclass"
            )
        return
    if column.type._variant_mapping:
        raise EncryptedColumnError(f"{table.name}.{column.name} is encrypted, and a variant of its type wouldn't be")
    column.type = column.type.placed(f"{table.name}.{column.name}")
    if column.primary_key or column.unique or column.index or column.foreign_keys:
        refuse(f"{table.name}.{column.name}: a primary key, a unique or foreign key or an index of")
    made = (column.server_default, column.server_onupdate, column.computed, column.identity)
    defaults = (column.default, column.onupdate)
    if any(part is not None for part in made) or any(part is not None and part.is_clause_element for part in defaults):
        raise EncryptedColumnError(
            f"{table.name}.{column.name} is encrypted, and the database would store its default as it is; "
            f"use default= or onupdate= with a value or a Python function"
        )


def _check_parts(parts: Iterable[Any]) -> None:
    for part in parts:
        if isinstance(part, (Index, UniqueConstraint, PrimaryKeyConstraint)):
            elements = part.expressions if isinstance(part, Index) else part.columns
            if any(map(uses, elements)):
                refuse(f"a unique key or an index ({part.name or 'without a name'}) of")


def _before_create(table: Table, *_: Any, **__: Any) -> None:
    _check_parts([*table.constraints, *table.indexes])


def install() -> None:
    """Install the checks on all tables."""
    event.listen(Column, "after_parent_attach", _check_column)
    event.listen(Table, "before_create", _before_create)
    for kind in (Index, Constraint):
        event.listen(kind, "after_parent_attach", lambda part, parent: _check_parts([part]))
