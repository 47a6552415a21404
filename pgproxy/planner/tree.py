"""Reading libpg_query's trees: names, children, walking. What a node means is left to its readers."""

from __future__ import annotations

from collections.abc import Iterator

from pglast import ast


def names_of(parts: object) -> tuple[str, ...]:
    """The strings of a name list: an operator's, a function's or a type's qualified name."""
    return tuple(part.sval or "" for part in items_of(parts) if isinstance(part, ast.String))


def items_of(value: object) -> tuple[ast.Node, ...]:
    """A list-valued field as a tuple; none for an absent one."""
    return value if isinstance(value, tuple) else ()


def children_of(node: object) -> Iterator[ast.Node]:
    """The nodes directly below a node, or those in a list."""
    if isinstance(node, tuple):
        for item in node:
            if isinstance(item, ast.Node):
                yield item
            else:
                yield from children_of(item)
    elif isinstance(node, ast.Node):
        for name in node:
            child = getattr(node, name)
            if isinstance(child, ast.Node):
                yield child
            elif isinstance(child, tuple):
                yield from children_of(child)


def walk(node: object) -> Iterator[ast.Node]:
    """Every node of a tree, the root first; constants are leaves."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Node):
            yield node
        if not isinstance(node, ast.A_Const):
            waiting += reversed(tuple(children_of(node)))


def column_name(node: object) -> tuple[str, ...] | None:
    """The parts of a plain column reference; None for anything else, `b.*` included."""
    if not isinstance(node, ast.ColumnRef) or not all(isinstance(part, ast.String) for part in items_of(node.fields)):
        return None
    return names_of(node.fields)
