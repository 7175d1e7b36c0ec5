"""Runs a statement that ran before by a shorter way than SQLAlchemy's own: a fifth of its time.

The first time, SQLAlchemy compiles and runs a statement, and a `Plan` is made of what it compiled: the text, how
each parameter is found and converted, how a row is read.  Later statements of the same structure (SQLAlchemy's
own cache key says which are) go to the driver by the plan.  Rows, values and errors are the same both ways.
What a plan cannot say (lists of parameters, literals put into the text, generated tuples) goes the long way.

Statements that are built once, in a module, with `bindparam`s, are the fastest: even their key is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine import CursorResult, Row
from sqlalchemy.sql import Executable

Columns: TypeAlias = tuple[Any, ...]  # of a row: any number, of any type
Parameters: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
_PLANNED = (sa.Select, sa.Insert, sa.Update, sa.Delete, sa.CompoundSelect)
_LIMIT = 4000  # plans kept; about 5 KiB each
_VARIANTS = 64  # texts kept of one plan, by the lengths of its lists
_LONGEST = 1024  # values in a list whose text is kept


class Rows:
    """What a statement gave: its rows, all read, or how many rows it changed."""

    __slots__ = ("_rows", "inserted_primary_key", "rowcount")

    def __init__(self, rows: Sequence[Row[*Columns]], rowcount: int, inserted_primary_key: Any = None) -> None:
        self._rows = rows
        self.rowcount = rowcount
        self.inserted_primary_key = inserted_primary_key

    def __iter__(self) -> Iterator[Row[*Columns]]:
        return iter(self._rows)

    def all(self) -> Sequence[Row[*Columns]]:
        return self._rows

    def first(self) -> Row[*Columns] | None:
        return self._rows[0] if self._rows else None

    def one(self) -> Row[*Columns]:
        """The only row.  Raises ValueError when there is none, or another."""
        (row,) = self._rows
        return row

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None

    def scalars(self) -> list[Any]:
        return [row[0] for row in self._rows]


class _Source:
    """Where the value of one parameter comes from: the caller by name, or the statement, at a place in its key."""

    __slots__ = ("convert", "default", "expands", "index", "key", "name", "required")

    def __init__(self, name: str, bind: sa.BindParameter[Any], index: int | None, convert: Any, expands: bool,
                 default: Callable[[], Any] | None) -> None:
        self.name = name
        self.key = bind.key
        self.required = bind.required
        self.index = index
        self.convert = convert
        self.expands = expands
        self.default = default or (lambda: bind.effective_value)


def _maker(default: Any) -> Callable[[], Any]:
    """What draws a column's default."""
    value = default.arg
    return (lambda: value(None)) if default.is_callable else (lambda: value)


class Plan:
    """How statements of one structure are run.  `make` gives None for what must go SQLAlchemy's way."""

    __slots__ = ("_compiled", "_index", "_metadata", "_numbered", "_processors", "_sources", "_text", "_texts",
                 "has_rows", "returns_key", "single_key")
    _compiled: Any  # SQLAlchemy's
    has_rows: bool
    _index: dict[Any, int]
    _metadata: Any
    _numbered: bool  # parameters are $1, $2 and so on, not question marks
    _processors: Any  # of each column that is converted
    returns_key: bool  # an INSERT whose drawn key comes as the only column of the only row
    single_key: bool  # an INSERT into a table that draws integer keys
    _sources: list[_Source]
    _text: str
    _texts: dict[tuple[int, ...], str] | None  # by the lengths of the lists; None without lists

    @classmethod
    def make(cls, result: CursorResult[*Columns]) -> Plan | None:
        compiled: Any = result.context.compiled
        if (compiled is None or compiled.cache_key is None or compiled.literal_execute_params
                or compiled.update_prefetch or compiled._cache_key_bind_match is None or compiled.escaped_bind_names
                or len(compiled.implicit_returning or ()) > (1 if compiled._numeric_binds else 0)):
            return None
        plan = cls()
        plan._compiled, plan._text, plan._texts = compiled, compiled.string, {}
        matches = compiled._cache_key_bind_match[0]
        places = {bind: place for place, extracted in enumerate(compiled.cache_key[1]) for bind in matches[extracted]}
        defaults: dict[str, Callable[[], Any]] = {}
        for column in compiled.insert_prefetch:
            if column.default is None or not (column.default.is_scalar or column.default.is_callable):
                return None
            defaults[compiled._within_exec_param_key_getter(column)] = _maker(column.default)
        plan._numbered = bool(compiled._numeric_binds)
        plan._sources = []
        for name in compiled._pre_expanded_positiontup or compiled.positiontup or ():
            bind = compiled.binds[name]
            convert, expands = compiled._bind_processors.get(name), bind in compiled.post_compile_params
            if expands and (bind.type._is_tuple_type or isinstance(convert, tuple)):
                return None
            plan._sources.append(_Source(name, bind, places.get(bind), convert, expands, defaults.get(name)))
        if not any(source.expands for source in plan._sources):
            if compiled.post_compile_params:
                return None
            plan._texts = None
        plan.returns_key = bool(compiled.implicit_returning)
        plan.has_rows = result.returns_rows and not plan.returns_key
        metadata: Any = result._metadata
        if plan.has_rows:
            if metadata._tuplefilter is not None:
                return None
            plan._metadata, plan._index = metadata, metadata._key_to_index
            plan._processors = metadata._effective_processors
        table = compiled.compile_state.dml_table if compiled.isinsert else None
        plan.single_key = (table is not None and not plan.has_rows and len(table.primary_key.columns) == 1
                            and table.autoincrement_column is not None)
        return plan

    def arguments(
        self, extracted: Sequence[Any], given: Mapping[str, Any] | None
    ) -> tuple[str, list[Any]] | None:
        """The text, and the values of this statement; None when it must go SQLAlchemy's way."""
        values: list[Any] = []
        if self._texts is None:
            for source in self._sources:
                value = self._value(source, extracted, given)
                values.append(value if source.convert is None else source.convert(value))
            return self._text, values
        lengths: list[int] = []
        listed: list[Any] = [] if self._numbered else values  # where places are numbered, lists come after all else
        for source in self._sources:
            value = self._value(source, extracted, given)
            if not source.expands:
                values.append(value if source.convert is None else source.convert(value))
                continue
            items = list(value)
            lengths.append(len(items))
            listed.extend(items if source.convert is None else map(source.convert, items))
        text = self._expanded(tuple(lengths))
        if text is None:
            return None
        return text, values + listed if self._numbered else values

    def rows(self, found: Sequence[Any], rowcount: int) -> Rows:
        """What the driver gave, as SQLAlchemy would give it."""
        metadata, processors, index = self._metadata, self._processors, self._index
        return Rows([Row(metadata, processors, index, row) for row in found], rowcount)

    @staticmethod
    def _value(source: _Source, extracted: Sequence[Any], given: Mapping[str, Any] | None) -> Any:
        if given is not None:
            if source.key in given:
                return given[source.key]
            if source.name in given:
                return given[source.name]
        if source.required:
            missing = sa.exc.InvalidRequestError(f"A value is required for bind parameter {source.key!r}")
            raise sa.exc.StatementError(str(missing), None, None, missing)
        return source.default() if source.index is None else extracted[source.index].effective_value

    def _expanded(self, lengths: tuple[int, ...]) -> str | None:
        """The text for lists of these lengths."""
        assert self._texts is not None
        text = self._texts.get(lengths)
        if text is None:
            if max(lengths) > _LONGEST:
                return None
            counts = iter(lengths)
            stand_ins = {source.name: [None] * next(counts) if source.expands else None for source in self._sources}
            if len(stand_ins) != len(self._sources):
                return None  # one list at two places
            if len(self._texts) >= _VARIANTS:
                self._texts.clear()
            text = self._texts[lengths] = self._compiled._process_parameters_for_postcompile(stand_ins).statement
        return text


class _Known:
    """A statement that was run more than once, with its key's values."""

    __slots__ = ("extracted", "key", "plans")

    def __init__(self, key: Any, extracted: Sequence[Any]) -> None:
        self.key = key
        self.extracted = extracted
        self.plans: dict[tuple[str, ...], Plan | None] = {}


UNPLANNED: Any = object()  # no such statement ran before


class Plans:
    """The plans of one dialect, for all databases of the process: keys hold the tables themselves."""

    def __init__(self) -> None:
        self._plans: dict[Any, Plan | None] = {}
        self._known: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()

    def know(self, statement: Executable, parameters: Parameters) -> _Known | None:
        """The statement's key and its values; None for one that cannot have a plan."""
        if not isinstance(statement, _PLANNED) or not (parameters is None or isinstance(parameters, Mapping)):
            return None
        known = self._known.get(statement)
        if known is None:
            reused = "_generate_cache_key" in statement.__dict__  # memoized by an earlier run
            key = statement._generate_cache_key()
            if key is None or key.params:
                return None
            known = _Known(key.key, key.bindparams)
            if reused:
                self._known[statement] = known
        return known

    def find(self, known: _Known, names: tuple[Any, ...]) -> Plan | None:
        """The plan for these parameters; None when SQLAlchemy must run it, UNPLANNED when that is not known yet."""
        try:
            return known.plans[names]
        except KeyError:
            plan = self._plans.get((known.key, names), UNPLANNED)
            if plan is not UNPLANNED:
                known.plans[names] = plan
            return plan  # type: ignore[no-any-return]

    def learn(self, known: _Known, names: tuple[Any, ...], result: CursorResult[*Columns]) -> None:
        """SQLAlchemy ran it for the first time: make its plan."""
        if len(self._plans) >= _LIMIT:
            self._plans.clear()
        self._plans[known.key, names] = Plan.make(result)


def rows_of(result: CursorResult[*Columns]) -> Rows:
    """What SQLAlchemy's own way gave."""
    compiled: Any = result.context.compiled
    if result.returns_rows and not getattr(compiled, "implicit_returning", None):
        return Rows(result.all(), result.rowcount)
    try:
        key = result.inserted_primary_key
    except sa.exc.InvalidRequestError:  # not one INSERT
        key = None
    return Rows((), result.rowcount, key)
