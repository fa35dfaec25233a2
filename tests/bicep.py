"""Bicep file -> what is wrong with it, from its syntax tree: the part of the compiler's work that needs no types of Azure.

The real compiler cannot run here. What is checked is what it would refuse or warn of and what a reader would stumble
over: names that nothing declares, parameters that nothing uses, modules that are called with what they do not take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import tree_sitter
import tree_sitter_bicep
from tree_sitter import Node

_LANGUAGE = tree_sitter.Language(tree_sitter_bicep.language())

FUNCTIONS = {
    "any": "", "array": "array", "cidrSubnet": "string", "coalesce": "", "concat": "array", "contains": "bool",
    "empty": "bool", "environment": "object", "first": "", "format": "string", "guid": "string", "items": "array",
    "join": "string", "last": "", "length": "int", "listCallbackUrl": "object", "loadJsonContent": "object",
    "loadTextContent": "string", "map": "array", "replace": "string", "resourceGroup": "object", "resourceId": "string",
    "split": "array", "startsWith": "bool", "subscription": "object", "subscriptionResourceId": "string",
    "take": "", "toLower": "string", "toObject": "object", "union": "object", "uniqueString": "string",
    # Decorators.
    "allowed": "", "batchSize": "", "description": "", "maxLength": "", "maxValue": "", "minLength": "", "minValue": "", "secure": "",
}  # fmt: skip
"""Functions of Bicep that may be used here and what they return, '' if that depends. Not among them on purpose:
`utcNow` and `newGuid`, which make a second deployment differ from the first."""
PRIMITIVE = ("string", "int", "bool", "object", "array")


@dataclass(frozen=True, slots=True)
class Declared:
    """Something a file declares: its name, its value or body, and the type that is written there ('' if none)."""

    name: str
    node: Node
    type: str = ""
    value: Node | None = None
    decorators: frozenset[str] = frozenset()

    @property
    def optional(self) -> bool:
        """Whether a parameter may be left out."""
        return self.value is not None


@dataclass(frozen=True, slots=True)
class Called:
    """A module that is called, or a resource: `path` is the file or the type, `body` its properties."""

    name: str
    node: Node
    path: str
    body: Node
    parent: str = ""
    existing: bool = False
    condition: Node | None = None

    def properties(self) -> dict[str, Node]:
        """Return its properties."""
        return members(self.body)

    @property
    def type(self) -> str:
        """The type of a resource without its version."""
        return self.path.partition("@")[0]


@dataclass(slots=True)
class File:
    """One Bicep file."""

    path: Path
    root: Node
    types: dict[str, Declared] = field(default_factory=dict)
    parameters: dict[str, Declared] = field(default_factory=dict)
    variables: dict[str, Declared] = field(default_factory=dict)
    outputs: dict[str, Declared] = field(default_factory=dict)
    resources: dict[str, Called] = field(default_factory=dict)
    modules: dict[str, Called] = field(default_factory=dict)
    assigned: dict[str, Node] = field(default_factory=dict)  # by a .bicepparam file

    def declared(self) -> dict[str, Declared | Called]:
        """Return everything that has a name which expressions may use."""
        return {**self.types, **self.parameters, **self.variables, **self.resources, **self.modules}


def text(node: Node) -> str:
    return (node.text or b"").decode()


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def literal(node: Node) -> str:
    """Return the content of a string without interpolation, or of a name."""
    return "".join(text(n) for n in node.named_children) if node.type == "string" else text(node)


def members(node: Node | None) -> dict[str, Node]:
    """Return the properties of an object."""
    found = {}
    for child in node.named_children if node is not None and node.type == "object" else ():
        if child.type == "object_property" and len(child.named_children) >= 2:
            key, value = child.named_children[0], child.named_children[-1]
            found[literal(key)] = value
    return found


@cache
def read(path: Path) -> File:
    """Read a .bicep or .bicepparam file."""
    source = path.read_bytes()
    if path.suffix == ".bicepparam":
        # The grammar takes `param x = ...` for a declaration that lacks its type.
        source = source.replace(b"\nparam ", b"\nvar ")
    file = File(path, tree_sitter.Parser(_LANGUAGE).parse(source).root_node)
    _collect(file, file.root, "")
    if path.suffix == ".bicepparam":
        file.assigned = {name: v.value for name, v in file.variables.items() if v.value is not None}
        file.variables.clear()
    return file


def _collect(file: File, scope: Node, parent: str) -> None:
    decorators: frozenset[str] = frozenset()
    for node in scope.named_children:
        if node.type == "decorators":
            decorators = frozenset(text(d).removeprefix("@").partition("(")[0] for d in node.named_children)
            continue
        inner = node.named_children
        if node.type == "object_property" and inner and inner[0].type == "resource_declaration":
            _called(file, inner[0], parent)
        elif node.type in ("resource_declaration", "module_declaration"):
            _called(file, node, parent)
        elif node.type in ("parameter_declaration", "output_declaration", "type_declaration", "variable_declaration"):
            name = literal(inner[0])
            typed = inner[1] if node.type in ("parameter_declaration", "output_declaration") else None
            rest = [n for n in inner[1:] if n != typed and n.type != "comment"]
            declared = Declared(name, node, text(typed) if typed else "", rest[-1] if rest else None, decorators)
            {
                "parameter_declaration": file.parameters,
                "output_declaration": file.outputs,
                "type_declaration": file.types,
                "variable_declaration": file.variables,
            }[node.type][name] = declared
        if node.type != "comment":
            decorators = frozenset()


def _called(file: File, node: Node, parent: str) -> None:
    inner = [n for n in node.named_children if n.type != "comment"]
    body, condition = inner[-1], None
    while body.type in ("for_statement", "if_statement"):
        if body.type == "if_statement":
            condition = body.named_children[0]
        body = body.named_children[-1]
    name, kind = text(inner[0]), literal(inner[1])
    if parent and node.type == "resource_declaration":
        above = file.resources[parent]
        version = "" if "@" in kind else "@" + above.path.partition("@")[2]
        kind = f"{above.type}/{kind}{version}"
    existing = any(c.type == "existing" for c in node.children)
    called = Called(name, node, kind, body, parent, existing, condition)
    (file.resources if node.type == "resource_declaration" else file.modules)[name] = called
    if node.type == "resource_declaration":
        _collect(file, body, name)


# --- what is wrong ------------------------------------------------------------------------------------------------------


def syntax_errors(file: File) -> list[str]:
    """Return where the file cannot be parsed."""
    return [f"line {n.start_point.row + 1}: {text(n)[:60]!r}" for n in walk(file.root) if n.is_error or n.is_missing]


def uses(node: Node, bound: frozenset[str] = frozenset()) -> Iterator[tuple[str, Node]]:
    """Yield the names that the expressions under `node` use and that they do not bind themselves."""
    kind, inner = node.type, node.named_children
    if kind == "identifier":
        if text(node) not in bound:
            yield text(node), node
        return
    if kind == "for_statement":
        names = [inner[0]] if inner[0].type == "identifier" else inner[0].named_children
        yield from uses(inner[1], bound)
        bound = bound | {text(n) for n in names}
        inner = inner[2:]
    elif kind == "lambda_expression":
        bound = bound | {text(n) for n in walk(inner[0]) if n.type == "identifier"}
        inner = inner[1:]
    elif kind == "object_property":
        # A name before the colon is no use of it, but an interpolated key uses what is in it.
        inner = inner[1:] if inner[0].type == "identifier" else inner
    elif kind == "resource_declaration":
        inner = inner[1:]
    elif kind == "resource_expression":
        inner = inner[:1]
    elif kind in ("decorators", "primitive_type", "comment"):
        return
    for child in inner:
        yield from uses(child, bound)


def _expressions(file: File) -> Iterator[Node]:
    for node in file.root.named_children:
        if node.type in ("decorators", "comment", "metadata_declaration", "target_scope_assignment", "using_statement"):
            continue
        yield from node.named_children[1:]


def undeclared(file: File) -> list[str]:
    """Return names that are used and that nothing declares."""
    known = set(file.declared()) | set(FUNCTIONS)
    found = [(name, n) for e in _expressions(file) for name, n in uses(e)]
    found += [(text(n.named_children[0]), n) for n in walk(file.root) if n.type == "call_expression"]
    return sorted({f"line {n.start_point.row + 1}: {name}" for name, n in found if name not in known})


def unused(file: File) -> list[str]:
    """Return parameters, variables, types and existing resources that nothing uses."""
    used = {name for e in _expressions(file) for name, _ in uses(e)}
    nested = {r.parent for r in file.resources.values()}
    names = [*file.parameters, *file.variables, *file.types]
    names += [r.name for r in file.resources.values() if r.existing and not r.parent and r.name not in nested]
    return [name for name in names if name not in used]


def undescribed(file: File) -> list[str]:
    """Return parameters, outputs and members of types without a description, and what has no type."""
    named = [*file.parameters.values(), *file.outputs.values(), *file.types.values()]
    missing = [d.name for d in named if "description" not in d.decorators]
    missing += [d.name for d in [*file.parameters.values(), *file.outputs.values()] if not d.type]
    for declared in file.types.values():
        described = False
        for child in declared.value.named_children if declared.value else ():
            if child.type == "object_property" and not described:
                missing.append(f"{declared.name}.{text(child.named_children[0])}")
            described = child.type == "decorators"
    return missing


def misfits(file: File) -> list[str]:
    """Return where a module is called with what it does not take, or asked for what it does not give."""
    wrong = []
    for module in file.modules.values():
        path = file.path.parent / module.path
        if not path.is_file():
            wrong.append(f"{module.name}: no file {module.path}")
            continue
        takes, given = read(path).parameters, members(module.properties().get("params"))
        wrong += [f"{module.name}: takes no {name}" for name in given if name not in takes]
        wrong += [f"{module.name}: lacks {n}" for n, p in takes.items() if not p.optional and n not in given]
        for name in given.keys() & takes.keys():
            want, have = _base(takes[name].type, read(path)), type_of(given[name], file)
            if have and want != have:
                wrong.append(f"{module.name}: {name} is {want}, given {have}")
            if is_secret(given[name], file) and "secure" not in takes[name].decorators:
                wrong.append(f"{module.name}: {name} is given a secret and is not secure")
    for node in walk(file.root):
        asked = _output(node)
        if asked and asked[0] in file.modules:
            path = file.path.parent / file.modules[asked[0]].path
            if path.is_file() and asked[1] not in read(path).outputs:
                wrong.append(f"{asked[0]}: gives no {asked[1]}")
    for node in walk(file.root):
        name = text(node.named_children[0]) if node.type == "call_expression" else ""
        if name in ("loadTextContent", "loadJsonContent"):
            path = file.path.parent / literal(node.named_children[1].named_children[0])
            if not path.is_file():
                wrong.append(f"no file {path.name}")
    return wrong


def _output(node: Node) -> tuple[str, str] | None:
    """Return module and output of `module.outputs.output`."""
    if node.type != "member_expression" or node.named_children[0].type != "member_expression":
        return None
    inner, name = node.named_children[0], text(node.named_children[1])
    if text(inner.named_children[1]) != "outputs":
        return None
    return text(inner.named_children[0]).partition("[")[0], name


def is_secret(node: Node, file: File) -> bool:
    """Whether the value is, or is made of, a secret. That one is empty or not is none."""
    for name, use in uses(node):
        call = use.parent.parent if use.parent is not None and use.parent.type == "arguments" else None
        if call is not None and text(call.named_children[0]) == "empty":
            continue
        if name in file.parameters and "secure" in file.parameters[name].decorators:
            return True
        value = file.variables[name].value if name in file.variables else None
        if value is not None and is_secret(value, file):
            return True
    return False


def type_of(node: Node, file: File) -> str:
    """Return the primitive type of a value, '' where it depends on what only the compiler knows."""
    kind = node.type
    if kind in ("string", "boolean", "number", "object", "array", "for_statement"):
        return {"boolean": "bool", "number": "int", "for_statement": "array"}.get(kind, kind)
    if kind == "identifier":
        name = text(node)
        if name in file.parameters:
            return _base(file.parameters[name].type, file)
        value = file.variables[name].value if name in file.variables else None
        return type_of(value, file) if value is not None else ""
    if kind == "call_expression":
        return FUNCTIONS.get(text(node.named_children[0]), "")
    if kind == "ternary_expression":
        branches = {type_of(n, file) for n in node.named_children[1:]}
        return branches.pop() if len(branches) == 1 else ""
    if kind in ("unary_expression", "binary_expression"):
        return "bool" if text(node).startswith("!") or any(o in text(node) for o in ("&&", "||", "==")) else ""
    if asked := _output(node):
        module = file.modules.get(asked[0])
        path = file.path.parent / module.path if module else None
        output = read(path).outputs.get(asked[1]) if path and path.is_file() else None
        return _base(output.type, file) if output else ""
    if kind == "member_expression" and node.named_children[0].type == "identifier":
        name = text(node.named_children[0])
        value = file.variables[name].value if name in file.variables else None
        member = members(value).get(text(node.named_children[1])) if value is not None else None
        return type_of(member, file) if member is not None else ""
    return ""


def _base(declared: str, file: File) -> str:
    if declared.endswith("[]"):
        return "array"
    if declared in PRIMITIVE:
        return declared
    return "object" if declared in file.types else ""


def misplaced_loops(file: File) -> list[str]:
    """Return for-expressions where Bicep allows none: inside a value that is not a property of a resource or a module."""
    wrong = []
    for node in walk(file.root):
        if node.type != "for_statement" or node.parent is None:
            continue
        above: Node | None = node.parent
        if above is not None and above.type in (
            "variable_declaration",
            "output_declaration",
            "resource_declaration",
            "module_declaration",
        ):
            continue
        while above is not None and above.type in ("object_property", "object", "if_statement", "for_statement"):
            above = above.parent
        if above is None or above.type not in ("resource_declaration", "module_declaration"):
            wrong.append(f"line {node.start_point.row + 1}")
    return wrong


def needless_dependencies(file: File) -> list[str]:
    """Return entries of dependsOn that the body names anyway."""
    wrong = []
    for called in [*file.modules.values(), *file.resources.values()]:
        listed = called.properties().get("dependsOn")
        if listed is None:
            continue
        named = {n for key, value in called.properties().items() if key != "dependsOn" for n, _ in uses(value)}
        wrong += [f"{called.name}: {text(n)}" for n in listed.named_children if text(n) in named]
    return wrong
