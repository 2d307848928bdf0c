"""The places in Python modules that a mutant may change, found in the syntax tree."""

import ast
import re
import types
import warnings
from pathlib import Path

from sites import Collector, Site

FILES = "pairwise/*.py encoding/*.py params/*.py ledger/*.py identity/*.py machine/*.py"
SIGNS: dict[type[ast.AST], tuple[str, str]] = {  # as they are written, and what takes their place
    **{ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">")},
    **{ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in")},
    **{ast.NotIn: (r"not\s+in", "in"), ast.Is: ("is", "is not"), ast.IsNot: (r"is\s+not", "is")},
    **{ast.And: ("and", "or"), ast.Or: ("or", "and"), ast.Add: (r"\+", "-"), ast.Sub: ("-", "+")},
}
RELATIONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
# What only describes, complains or logs.
LEFT_OUT = (ast.Raise, ast.JoinedStr, ast.Assert, ast.arg, ast.Import, ast.ImportFrom)
SHOWN = ast.expr | ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Return
# Joining bytes: with a minus it would only be a TypeError.
JOINS = {"u8", "u32", "u64", "i64", "f64", "header", "encode", "bitmap", "bytes", "sign", "hex"}


class Finder:
    """Walks through one module."""

    def __init__(self, path: str, source: str, enums: dict[str, list[str]]) -> None:
        self.found = Collector(path, source)
        self._enums = enums
        self._lines = source.splitlines(keepends=True)
        self._scope: list[str] = []

    def _span(self, node: ast.AST) -> tuple[int, int]:
        def offset(line: int, column: int) -> int:
            octets = self._lines[line - 1].encode()[:column]
            return sum(map(len, self._lines[: line - 1])) + len(octets.decode())

        assert isinstance(node, ast.expr | ast.stmt)
        end = offset(node.end_lineno or 0, node.end_col_offset or 0)
        return offset(node.lineno, node.col_offset), end

    def _add(self, kind: str, whole: ast.AST, edit: tuple[int, int], text: str) -> None:
        span = self._span(whole)
        if isinstance(whole, ast.Dict):  # the pair is enough
            pairs = zip(whole.keys, whole.values, strict=True)
            spans = ((self._span(key or value)[0], self._span(value)[1]) for key, value in pairs)
            span = next(pair for pair in spans if pair[0] <= edit[0] and edit[1] <= pair[1])
        self.found.add(".".join(self._scope) or "<module>", kind, span, edit, text)

    def _swap(
        self, kind: str, whole: ast.AST, parts: list[ast.expr], i: int, sign: ast.AST
    ) -> None:
        """Another operator between two operands."""
        start, end = self._span(parts[i])[1], self._span(parts[i + 1])[0]
        pattern, other = SIGNS[type(sign)]
        if at := re.search(pattern, self.found.source[start:end]):
            self._add(kind, whole, (start + at.start(), start + at.end()), other)

    def walk(self, node: ast.AST, above: ast.AST) -> None:
        """Finds the sites in a node and below it, in the order of the source."""
        if isinstance(node, LEFT_OUT) or (isinstance(node, ast.If) and _for_types(node)):
            return
        below = list(ast.iter_child_nodes(node))
        scope = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if isinstance(node, ast.FunctionDef):
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            below = [*defaults, *node.body] if node.name != "__repr__" else []
        elif isinstance(node, ast.ClassDef):
            below = [*node.body]
        elif isinstance(node, ast.AnnAssign):
            below = [node.value] if node.value else []
        elif isinstance(node, ast.Expr) and "'_log'" in ast.dump(node):
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self._scope.append(node.name)
        else:
            self._conditions(node)
            self._operators(node, above)
            self._values(node, above if isinstance(above, SHOWN) else node, above)
        for child in below:
            self.walk(child, node)
        if scope:
            self._scope.pop()

    def _conditions(self, node: ast.AST) -> None:
        tests = node.ifs if isinstance(node, ast.comprehension) else []
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            tests = [node.test]
        for test in tests:
            negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
            inner = self._span(test.operand if negated else test)  # type: ignore[attr-defined]
            text = self.found.source[slice(*inner)]
            self._add("condition", test, self._span(test), text if negated else f"not ({text})")

    def _operators(self, node: ast.AST, above: ast.AST) -> None:
        if isinstance(node, ast.Compare):
            tested = node is getattr(above, "test", None) or node in getattr(above, "ifs", ())
            for i, sign in enumerate(node.ops):  # a whole condition is negated already
                if isinstance(sign, RELATIONS) or len(node.ops) > 1 or not tested:
                    self._swap("comparison", node, [node.left, *node.comparators], i, sign)
        elif isinstance(node, ast.BoolOp):
            for i in range(len(node.values) - 1):
                self._swap("and/or", node, node.values, i, node.op)
        elif isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
            parts = list(ast.walk(node))
            names = {getattr(part, "attr", getattr(part, "id", "")) for part in parts}
            texts = (isinstance(getattr(part, "value", 0), str | bytes) for part in parts)
            joined = any(isinstance(part, ast.JoinedStr) for part in parts)
            if not names & JOINS and not joined and not any(texts):
                self._swap("plus/minus", node, [node.left, node.right], 0, node.op)
        elif isinstance(node, ast.AugAssign) and type(node.op) in SIGNS:
            self._swap("plus/minus", node, [node.target, node.value], 0, node.op)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self._add("call", node, self._span(node), "pass")

    def _values(self, node: ast.AST, whole: ast.AST, above: ast.AST) -> None:
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
            members = self._enums.get(owner, [])
            if node.attr in members and len(members) > 1:
                other = members[(members.index(node.attr) + 1) % len(members)]
                end = self._span(node)[1]
                self._add("label", whole, (end - len(node.attr), end), other)
        if not isinstance(node, ast.Constant) or isinstance(above, ast.Expr):
            return  # the latter is a docstring
        value, span = node.value, self._span(node)
        if isinstance(value, int) and not isinstance(value, bool):
            self._add("bound", whole, span, str(value + 1))
            self._add("bound", whole, span, str(value - 1))
        elif isinstance(value, bytes) and value:
            self._add("label", whole, span, repr(bytes([value[0] ^ 1]) + value[1:]))
        elif isinstance(value, str) and self._scope and self._scope[-1] in self._enums:
            self._add("label", whole, span, repr(value + "."))
        elif isinstance(value, str) and re.fullmatch("<[a-zA-Z0-9]*", value):
            self._add("label", whole, span, repr(">" + value[1:]))  # the byte order


def _for_types(node: ast.If) -> bool:
    return "TYPE_CHECKING" in ast.dump(node.test)


def sites(root: Path) -> list[Site]:
    """All places in the modules that mutants are drawn from."""
    enums: dict[str, list[str]] = {}
    for path in sorted(root.glob("secagg/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and "Enum" in "".join(map(ast.dump, node.bases)):
                targets = [part.targets[0] for part in node.body if isinstance(part, ast.Assign)]
                enums[node.name] = [name.id for name in targets if isinstance(name, ast.Name)]
    found: list[Site] = []
    for path in (path for name in FILES.split() for path in sorted((root / "secagg").glob(name))):
        finder = Finder(str(path.relative_to(root)), path.read_text(), enums)
        module = ast.parse(path.read_text())
        finder.walk(module, module)
        found += finder.found.sites
    return found


def _essence(code: types.CodeType) -> tuple[object, ...]:
    """Returns what a code object does, apart from the lines that it comes from."""
    inner = (
        _essence(value) if isinstance(value, types.CodeType) else (type(value), repr(value))
        for value in code.co_consts
    )
    variables = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_code, variables, code.co_exceptiontable, tuple(inner)


def changes(root: Path, site: Site) -> bool:
    """Returns whether the mutant compiles, and to other code than the original."""
    source = (root / site.name.path).read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            mutant = compile(site.applied(source), "mutant", "exec")
        except (SyntaxError, SyntaxWarning):
            return False
    return _essence(mutant) != _essence(compile(source, "original", "exec"))
