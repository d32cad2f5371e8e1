"""Refuse, when a statement is compiled, what SQLAlchemy must not do with an encrypted column.

SQLAlchemy encrypts a value only if it is a parameter of the column's type. The database would store the result of any other
expression without encryption. So the checks refuse an expression unless it is known to yield a ciphertext of this column. The
type of a parameter is the one in the compiled statement, even if the expression declares another.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.exc import CompileError
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    Case,
    Cast,
    ClauseElement,
    ColumnClause,
    ColumnElement,
    Grouping,
    Label,
    Null,
    TextClause,
    TypeCoerce,
    UnaryExpression,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import CompoundSelect, Exists, ScalarSelect, Select, SelectBase, TableClause, Values
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import TypeEngine

from ._columns import LOOKUP
from ._sqlalchemy_base import Ciphertext, Encrypted, EncryptedColumnError

Types = dict[Any, list[TypeEngine[Any]]]
"""The types of each parameter in a compiled statement; the parameters that it was cloned from are keys too."""

_SORTS: tuple[Any, ...] = (operators.desc_op, operators.asc_op, operators.nulls_first_op, operators.nulls_last_op)


def name(column: Any) -> str:
    table = getattr(getattr(column, "table", None), "name", None)
    return f"{table}.{column.name}" if table else str(getattr(column, "name", column))


_NAME = re.compile(
    r"""(?:.*\.)? ["`[]? (\w+) ["`\]]? (?:\s+collate\s+\S+)? (?:\s+(?:asc|desc))? (?:\s+nulls\s+(?:first|last))?""",
    re.IGNORECASE | re.VERBOSE,
)
"""A pattern for a column in the text of an ORDER BY."""


def _is_encrypted(element: Any) -> bool:
    return isinstance(getattr(element, "type", None), Encrypted)


# Values on their way into a column.


def _types(compiler: SQLCompiler) -> Types:
    found: Types = {}
    names: dict[str, list[TypeEngine[Any]]] = {}
    for parameter, its_name in compiler.bind_names.items():
        names.setdefault(its_name, []).append(parameter.type)
        for same in parameter._cloned_set:
            found.setdefault(same, []).append(parameter.type)
    for its_name, kinds in names.items():
        # SQLAlchemy converts the value of a name once, with the type of one of its parameters.
        first = next((kind for kind in kinds if isinstance(kind, Encrypted)), None)
        if first is not None and not all(map(first.is_same, kinds)):
            raise EncryptedColumnError(
                f"the parameter {its_name} has the type of an encrypted column and another one in the same statement; give "
                f"them different names, or each the type: bindparam(name, type_=column.type)"
            )
    return found


def _carries(value: Any, kind: "Encrypted[Any]", types: Types) -> bool:
    """Return whether an expression yields a ciphertext of this type, or NULL."""
    match value:
        case Grouping() | Label():
            return _carries(value.element, kind, types)
        case Null():
            return True
        case BindParameter():
            found = [one for same in value._cloned_set for one in types.get(same, ())]
            if not found and value.type._isnull and value.value is None and value.callable is None:
                # Written into the statement, as NULL.
                return True
            return all(map(kind.is_same, found or [value.type]))
        case TypeCoerce():
            return isinstance(value.type, Ciphertext) or (
                isinstance(value.clause, BindParameter) and kind.is_same(value.type)
            )
        case Case():
            results = [result for _, result in value.whens] + ([] if value.else_ is None else [value.else_])
            return all(_carries(result, kind, types) for result in results)
        case FunctionElement():
            return getattr(value, "name", "") == "coalesce" and all(_carries(part, kind, types) for part in value.clauses)
        case ScalarSelect():
            columns = _columns_of(value.element)
            return columns is not None and all(len(row) == 1 and _carries(row[0], kind, types) for row in columns)
        case ColumnClause() if isinstance(value.table, TableClause):
            return not value.is_literal and kind.is_same(value.type)
        case ColumnElement():
            # A column of a subquery or an alias: what it stands for.
            roots = value.base_columns
            return value not in roots and all(_carries(root, kind, types) for root in roots)
    return False


def _columns_of(select: Any) -> list[list[Any]] | None:
    """Return the columns of a select, or of each select of a UNION; None if they are unknown."""
    match select:
        case Select():
            return [list(select.selected_columns)]
        case CompoundSelect():
            found = [_columns_of(part) for part in select.selects]
            return None if None in found else [row for rows in found if rows is not None for row in rows]
        case SelectBase() if hasattr(select, "element"):
            return _columns_of(select.element)
    return None


def _check_value(column: Any, value: Any, types: Types) -> None:
    kind = column.type
    if not isinstance(value, ClauseElement):
        if hasattr(value, "__clause_element__"):
            value = value.__clause_element__()
        else:
            # A plain value, which becomes a parameter of the column's type; that checks it.
            return
    if not _carries(value, kind, types):
        raise EncryptedColumnError(
            f"{name(column)} is encrypted, and this expression would be stored as it is: {type(value).__name__}; "
            f"compute the value in the program and pass it itself, or where that isn't possible as literal(value, "
            f"{name(column)}.type) or bindparam(name, type_={name(column)}.type)"
        )


def _assignments(
    table: Any, pairs: Iterable[tuple[Any, Any]], exact: bool = False
) -> Iterator[tuple[Any, Any]]:
    """Yield the assigned columns that are encrypted; refuse a ciphertext that is assigned to another column.

    `exact`: SQLAlchemy writes a column that is neither itself nor named by its key as it is, without the column's type.
    """
    own = set(table.c)
    hidden = {part.casefold() for column in table.c if _is_encrypted(column) for part in (column.key, column.name)}
    for key, value in pairs:
        column = table.c.get(key) if isinstance(key, str) else key
        if not isinstance(key, str) and not exact and not _is_encrypted(column):
            column = table.c.get(getattr(key, "key", None), column)
        if column not in own and (exact or not isinstance(column, (ColumnClause, type(None)))):
            parts = [key] if isinstance(key, str) else [getattr(part, "name", None) for part in iterate(key)]
            if any(isinstance(part, str) and part.casefold() in hidden for part in parts):
                raise EncryptedColumnError(
                    f"{table.name}: {key} would be stored as it is, because an encrypted column is named in a way that "
                    f"hides its type; use the column's key or the column itself"
                )
        if _is_encrypted(column):
            yield column, value
        elif uses(value):
            raise EncryptedColumnError(
                f"{name(column)} isn't encrypted, and this expression would store a ciphertext in it; read the value and "
                f"pass it, or take the ciphertext itself as type_coerce(column, LargeBinary)"
            )


def _check_assignments(compiler: SQLCompiler, statement: Insert | Update, state: Any, types: Types) -> None:
    table = statement.table
    if state is None or state.statement is not statement:
        if not any(map(_is_encrypted, table.c)):
            return
        state = statement._compile_state_factory(statement, compiler)
        statement = state.statement
    rows = state._multi_parameters or ([state._dict_parameters] if state._dict_parameters else [])
    if isinstance(statement, Insert) and statement._select_names:
        columns = _columns_of(statement.select)
        for row in columns or [[None] * len(statement._select_names)]:
            if len(row) != len(statement._select_names):
                row = [None] * len(statement._select_names)
            for column, value in _assignments(table, zip(statement._select_names, row)):
                if value is None or not _carries(value, column.type, types):
                    raise EncryptedColumnError(
                        f"{name(column)} is encrypted, and the select would store its column as it is; select that "
                        f"encrypted column itself, or read the values and insert them as parameters"
                    )
        rows = []
    for row in rows:
        for column, value in _assignments(table, row.items()):
            _check_value(column, value, types)
    for column, value in _assignments(table, _conflict(statement), exact=True):
        _check_value(column, value, types)


def _conflict(statement: Any) -> Iterable[tuple[Any, Any]]:
    """Return the assignments of an upsert."""
    clause = getattr(statement, "_post_values_clause", None)
    pairs = getattr(clause, "update_values_to_set", None) or getattr(clause, "update", None) or ()
    return pairs.items() if isinstance(pairs, dict) else pairs


# Questions about ciphertexts.


def uses(element: Any) -> bool:
    """Return whether the value of an expression depends on a ciphertext."""
    match element:
        case TypeCoerce():
            # The program asks for the bytes themselves.
            return isinstance(element.type, Encrypted) and uses(element.clause)
        case BindParameter() | Exists() | SelectBase():
            return False
        case ScalarSelect():
            return _selects(element.element)
        case ColumnClause():
            return _is_encrypted(element)
        case BinaryExpression() if element.operator in (operators.is_, operators.is_not):
            return False
        case FunctionElement() if getattr(element, "name", "") == "count":
            return False
        case ColumnElement() if _is_encrypted(element):
            return True
    return isinstance(element, ClauseElement) and any(map(uses, element.get_children()))


def _selects(select: Any) -> bool:
    return any(uses(column) for row in _columns_of(select) or () for column in row)


def refuse(what: str) -> None:
    raise EncryptedColumnError(f"{what} an encrypted column means nothing, as equal values differ there; {LOOKUP}")


def _named(clause: Any, select: "Select[Any] | CompoundSelect[Any]") -> Iterator[Any]:
    """Yield the columns that names and texts in a clause of a select mean: "card", desc("card"), text("card DESC") or "2"."""
    if isinstance(clause, SelectBase | ScalarSelect):
        return
    text = None
    if isinstance(clause, TextClause):
        text = clause.text
    elif clause.__visit_name__ == "textual_label_reference":
        text = clause.element
    elif isinstance(clause, ColumnClause) and clause.table is None:
        text = clause.name
    if text is None:
        for part in clause.get_children():
            yield from _named(part, select)
        return
    columns = list(select.selected_columns)
    scope = columns.copy()
    if isinstance(select, Select):
        sources = [*select._iterate_from_elements(), *(join[0] for join in select._setup_joins)]
        scope += [column for one in sources for part in one._from_objects for column in getattr(part, "c", ())]
    for part in text.split(","):
        matched = _NAME.fullmatch(part.strip())
        found = matched[1] if matched else ""
        if found.isdecimal():
            yield from columns[int(found) - 1 : int(found)]
        else:
            is_it = (column for column in scope if found in (column.key, getattr(column, "name", None)))
            yield from [column for column in [next(is_it, None)] if column is not None]


def _with_named(clauses: Iterable[Any], select: "Select[Any] | CompoundSelect[Any]") -> list[Any]:
    clauses = list(clauses)
    return clauses + [column for clause in clauses for column in _named(clause, select)]


def _check_order(select: "Select[Any] | CompoundSelect[Any]") -> None:
    if any(map(uses, _with_named(select._order_by_clauses, select))):
        refuse("sorting by")


def _check_select(select: "Select[Any]") -> None:
    columns = list(select.selected_columns)
    _check_order(select)
    for element in _inside(select._raw_columns):
        parts = [getattr(element, part, None) for part in ("order_by", "partition_by")]
        if any(map(uses, _with_named([part for part in parts if isinstance(part, ClauseElement)], select))):
            refuse("a window over or an order inside of a function by")
    grouped = _with_named(select._group_by_clauses, select)
    if any(map(uses, grouped)) and not _has_keys(grouped):
        refuse("grouping by")
    if any(map(uses, _with_named(select._distinct_on, select))) or (
        select._distinct and any(map(_is_encrypted, columns)) and not _has_keys(columns)
    ):
        refuse("DISTINCT of")


def _inside(elements: Iterable[Any]) -> Iterator[Any]:
    """Yield the elements and the elements inside them, except other selects."""
    for element in elements:
        if isinstance(element, ColumnElement) and not isinstance(element, (ColumnClause, ScalarSelect)):
            yield element
            yield from _inside(element.get_children())


def _check_union(union: CompoundSelect[Any]) -> None:
    _check_order(union)
    if not union.keyword.name.endswith("_ALL"):
        for columns in _columns_of(union) or []:
            if any(map(_is_encrypted, columns)) and not _has_keys(columns):
                refuse(f"{union.keyword.name} (without ALL) of")


def _has_keys(columns: Iterable[Any]) -> bool:
    """Return whether each encrypted column has its table's primary key beside it, which keeps the rows apart."""
    found: set[Any] = set()
    for column in columns:
        found |= getattr(column, "base_columns", frozenset())
    tables = {column.table for column in found if isinstance(column, Column) and _is_encrypted(column)}
    return all(
        isinstance(table, Table) and len(table.primary_key.columns) > 0 and found.issuperset(table.primary_key.columns)
        for table in tables
    )


def _check_expression(element: Any, types: Types) -> None:
    match element:
        case FunctionElement():
            called = getattr(element, "name", "")
            inside = [part for part in element.clauses if uses(part)]
            if inside and called == "count":
                inside = [part for part in inside if isinstance(part, UnaryExpression)]
            kind = inside[0].type if inside else None
            if inside and not (called == "coalesce" and isinstance(kind, Encrypted) and _carries(element, kind, types)):
                refuse(f"{called}() of")
        case UnaryExpression() if element.operator is operators.distinct_op or element.modifier in _SORTS:
            if uses(element.element):
                refuse("sorting by or DISTINCT of")
        case Cast():
            if uses(element.clause):
                refuse("a cast of")
        case BinaryExpression() if element.operator not in (operators.is_, operators.is_not):
            if any(uses(side) or _selects(side) for side in (element.left, element.right)):
                refuse("a comparison with")


def _everything(statement: Any) -> Iterator[Any]:
    """Yield the elements of a statement, including those in a multi-row INSERT and an upsert, which SQLAlchemy omits."""
    for element in iterate(statement):
        yield element
        rows: list[Any] = []
        if isinstance(element, Insert):
            rows = [row.values() if isinstance(row, dict) else row for part in element._multi_values for row in part]
            rows.append([value for _, value in _conflict(element)])
            rows.append([getattr(element._post_values_clause, "update_whereclause", None)])
        elif isinstance(element, Values):
            rows = [row for part in element._data for row in part]
        for row in rows:
            for value in row:
                if isinstance(value, ClauseElement):
                    yield from _everything(value)


def check_compiled(compiler: SQLCompiler) -> None:
    state = getattr(compiler, "compile_state", None)
    statement = getattr(compiler, "statement", None) if state is None else state.statement
    if not isinstance(statement, ClauseElement):
        return
    types = _types(compiler)
    for element in _everything(statement):
        if isinstance(element, (Insert, Update)):
            _check_assignments(compiler, element, state, types)
        elif isinstance(element, Select):
            _check_select(element)
        elif isinstance(element, CompoundSelect):
            _check_union(element)
        elif isinstance(element, ColumnElement):
            _check_expression(element, types)


def install() -> None:
    """Install the checks on all statements: the compilers of all dialects are subclasses, and a statement compiles once."""
    original = SQLCompiler.__init__

    @functools.wraps(original)
    def checked(self: SQLCompiler, *args: Any, **kwargs: Any) -> None:
        try:
            original(self, *args, **kwargs)
        except CompileError as error:
            # Of a value that can't be written into the statement; SQLAlchemy's text shows the value.
            if isinstance(error.__cause__, EncryptedColumnError):
                raise error.__cause__ from None
            raise
        check_compiled(self)

    SQLCompiler.__init__ = checked  # type: ignore[method-assign]
