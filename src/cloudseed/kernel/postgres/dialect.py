"""SQL that means on PostgreSQL what it means on SQLite.

Models and queries are written once.  Where the engines differ, this dialect says what SQLite says:
- integers have 64 bits, texts have no limit, a sum of integers is an integer;
- nulls sort below everything (columns that cannot be null keep their index);
- LIKE does not look at the case of ASCII letters and has no escape character of its own.
Texts compare by code point because the databases are made with the C collation (`schema.py`).
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGTypeCompiler
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import UnaryExpression

_SERIAL = re.compile(r"\bSERIAL\b")


class _Types(PGTypeCompiler):
    def visit_INTEGER(self, type_: Any, **kw: Any) -> str:
        return "BIGINT"

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:
        return "TEXT"


class _Tables(PGDDLCompiler):
    def get_column_specification(self, column: Any, **kw: Any) -> str:
        return _SERIAL.sub("BIGSERIAL", super().get_column_specification(column, **kw))  # type: ignore[no-untyped-call]


class _Statements(PGCompiler_asyncpg):
    def order_by_clause(self, select: Any, **kw: Any) -> str:
        terms = [(clause, clause._compiler_dispatch(self, **kw)) for clause in select._order_by_clauses]
        ordered = ", ".join(text + _place_of_nulls(clause) for clause, text in terms if text)
        return f" ORDER BY {ordered}" if ordered else ""

    def visit_sum_func(self, function: Any, **kw: Any) -> str:
        text = f"sum{self.function_argspec(function, **kw)}"
        return f"CAST({text} AS BIGINT)" if isinstance(function.type, sa.Integer) else text

    def visit_substr_func(self, function: Any, **kw: Any) -> str:
        text, *places = (self.process(clause, **kw) for clause in function.clauses)
        return f"substr({', '.join([text, *(f'CAST({place} AS INTEGER)' for place in places)])})"

    def visit_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like("ILIKE", binary, **kw)

    def visit_not_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like("NOT ILIKE", binary, **kw)

    def visit_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like("ILIKE", binary, **kw)

    def visit_not_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like("NOT ILIKE", binary, **kw)

    def _like(self, verb: str, binary: Any, **kw: Any) -> str:
        left, right = (self.process(side, **kw) for side in (binary.left, binary.right))
        escape = self.render_literal_value(binary.modifiers.get("escape") or "", sa.String())  # type: ignore[no-untyped-call]
        return f"{left} {verb} {right} ESCAPE {escape}"


def _place_of_nulls(clause: Any) -> str:
    """How a term of ORDER BY must end for nulls to sort below everything."""
    clause, down = getattr(clause, "element", clause) if _is_label(clause) else clause, False
    while isinstance(clause, UnaryExpression):
        if clause.modifier in (operators.nulls_first_op, operators.nulls_last_op):
            return ""
        down = down or clause.modifier is operators.desc_op
        clause = clause.element
    if isinstance(clause, sa.Column) and not clause.nullable:
        return ""
    return " NULLS LAST" if down else " NULLS FIRST"


def _is_label(clause: Any) -> bool:
    return getattr(clause, "__visit_name__", "") in ("label_reference", "textual_label_reference")


class Dialect(PGDialect_asyncpg):
    """`postgresql+asyncpg` as Cloudseed speaks it."""

    statement_compiler = _Statements
    ddl_compiler = _Tables
    type_compiler_cls = _Types
    supports_statement_cache = True

    def on_connect(self) -> None:
        """No type of the database's own is used: nothing to set up, and two round trips less."""
        return None


sa.dialects.registry.register("postgresql.cloudseed", __name__, "Dialect")
