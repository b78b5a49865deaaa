"""Evaluate the expression of a ``PythonExpression`` from its syntax tree.

Literals, arithmetic, comparisons, boolean logic, a few builtins, string methods and the names of
``math`` are enough for launch files. Anything else is refused by name; nothing is ever executed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from ros2_launch_underlay.refusal import LaunchError, SubstitutionFailure, refusal

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}
NAMES: dict[str, Any] = {
    **{name: value for name, value in vars(math).items() if not name.startswith("_")},
    **{function.__name__: function for function in (abs, bool, float, int, len, str)},
    **{function.__name__: function for function in (max, min, round)},
}
STRING_METHODS = ("endswith", "lower", "replace", "split", "startswith", "strip", "upper")


def evaluate_expression(text: str) -> Any:
    """Return the value of ``text``.

    :raises SubstitutionFailure: the text is no expression, uses something outside the subset, or
        fails while it is evaluated.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except LaunchError:
        raise
    except SyntaxError as error:
        raise SubstitutionFailure(f"'{text}' is not an expression: {error.msg}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise SubstitutionFailure(f"cannot evaluate '{text}': {error}") from error


def _operator(node: ast.AST) -> Callable[..., Any]:
    if type(node) not in OPERATORS:
        raise SubstitutionFailure(refusal(f"'{type(node).__name__}' in a PythonExpression"))
    return OPERATORS[type(node)]


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.Attribute(value=ast.Name(id="math"), attr=name) if name in vars(math):
            return getattr(math, name)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.UnaryOp(op=op, operand=operand):
            return _operator(op)(_value(operand))
        case ast.BinOp(left=left, op=op, right=right):
            return _operator(op)(_value(left), _value(right))
        case ast.BoolOp(op=op, values=values):
            return _boolean(op, values)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _comparison(left, ops, comparators)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test) else orelse)
        case ast.Call(func=ast.Attribute(value=owner, attr=name), args=args, keywords=[]) if (
            name in STRING_METHODS and isinstance(text := _value(owner), str)
        ):
            return getattr(text, name)(*map(_value, args))
        case ast.Call(func=function, args=args, keywords=[]):
            return _value(function)(*map(_value, args))
    raise SubstitutionFailure(
        refusal(f"'{ast.unparse(node)}' in a PythonExpression", ("literals, operators, math",))
    )


def _boolean(op: ast.boolop, values: list[ast.expr]) -> Any:
    """Return the value of an ``and`` or ``or``: the first operand that decides it."""
    decides = bool if isinstance(op, ast.Or) else operator.not_
    result = None
    for value in values:
        result = _value(value)
        if decides(result):
            break
    return result


def _comparison(left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr]) -> bool:
    first = _value(left)
    for op, comparator in zip(ops, comparators, strict=True):
        second = _value(comparator)
        if not _operator(op)(first, second):
            return False
        first = second
    return True
