"""Follows a script through its syntax tree to the command lines it builds, without running it.

Statements are taken in the order Python would: both branches of an `if` nobody can decide, the body
of a loop once unless its items are known, a function when it is called. Only a handful of functions
without effects are ever computed; everything else is `UNKNOWN`. The work is bounded whatever the
script says.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from guildlite.scriptflags import libraries
from guildlite.scriptflags.modules import SourceUnreadable, find_module, parse_source
from guildlite.scriptflags.pure import (
    MAX_LENGTH,
    bounded,
    calculate,
    call_plain_method,
    call_pure,
    is_number,
)
from guildlite.scriptflags.values import (
    UNKNOWN,
    Class,
    Command,
    Decorator,
    Function,
    Instance,
    Member,
    Ref,
    Scope,
    Subcommands,
    Super,
    Unknown,
)

#: Nodes visited in one reading; a training script of 1,000 lines takes about 10,000.
MAX_STEPS = 60_000
#: Local modules read beside the script, and how deep they may import one another.
MAX_FILES = 24
MAX_IMPORT_DEPTH = 3
#: Calls inside calls, and items of a loop taken one by one.
MAX_CALL_DEPTH = 12
MAX_ITEMS = 64


class OutOfSteps(Exception):
    """The script is too much to follow."""


class Reader:
    """Reads one script; afterwards its public attributes say what it found."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.absl = Command("absl", used=True)
        self.problems: list[str] = []
        #: Every file read, the script first; whoever caches the result watches these.
        self.files: list[Path] = []
        self.main: Scope | None = None
        self._modules: dict[Path, Scope] = {}
        self._functions: list[Function] = []
        self._classes: dict[Scope, Class] = {}
        self._steps = 0
        self._calls: list[ast.AST] = []
        self._imports = 0

    def read(self, path: Path) -> None:
        """Follow the script at `path`; raises SourceUnreadable."""
        tree = parse_source(path)
        self.main = Scope(path.parent, path, names={"__name__": "__main__"})
        self.files.append(path)
        self._modules[path] = self.main
        try:
            self._block(tree.body, self.main)
            if not (any(command.options for command in self.commands) or self.absl.options):
                self._call_the_uncalled()
        except OutOfSteps:
            self.problems.append(f"{path.name} is too much to follow; some options may be missing")
        except RecursionError:
            self.problems.append(f"{path.name} is nested too deeply to follow to its end")

    def _call_the_uncalled(self) -> None:
        """Enter functions nothing in the script calls, as an installed command or a test would."""
        instances = {cls: Instance(cls) for cls in self._classes.values()}
        for function in self._functions:
            if not function.called and function.closure.module() is self.main:
                cls = self._classes.get(function.closure)
                if cls is not None and function.binding == "instance":
                    function.receiver = instances[cls]
                self._enter(function, [], {})

    # Statements -----------------------------------------------------------------------------------

    def _block(self, body: Sequence[ast.stmt], scope: Scope) -> bool:
        """Follow statements; return whether the block is left for good (return, raise, break)."""
        return any(self._statement(statement, scope) for statement in body)

    def _statement(self, node: ast.stmt, scope: Scope) -> bool:
        self._step()
        follow = getattr(self, "_do_" + type(node).__name__, None)
        if follow is None:
            self._inside(node, scope)
            return False
        return bool(follow(node, scope))

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise OutOfSteps

    def _inside(self, node: ast.AST, scope: Scope) -> None:
        """Follow whatever a node contains, for the calls in it."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self._statement(child, scope)
            elif isinstance(child, ast.expr):
                self._value(child, scope)
            else:
                self._inside(child, scope)

    def _do_Expr(self, node: ast.Expr, scope: Scope) -> None:
        self._value(node.value, scope)

    def _do_Assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self._value(node.value, scope)
        for target in node.targets:
            self._assign(target, value, scope)

    def _do_AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self._assign(node.target, self._value(node.value, scope), scope)

    def _do_AugAssign(self, node: ast.AugAssign, scope: Scope) -> None:
        old = self._value(node.target, scope)
        self._assign(node.target, calculate(node.op, old, self._value(node.value, scope)), scope)

    def _assign(self, target: ast.expr, value: Any, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            scope.names[target.id] = value
        elif isinstance(target, ast.Attribute):
            owner = self._value(target.value, scope)
            if isinstance(owner, Instance):
                owner.names[target.attr] = value
        elif isinstance(target, ast.Subscript):
            owner, key = self._value(target.value, scope), self._value(target.slice, scope)
            if isinstance(owner, dict) and isinstance(key, str | int):
                owner[key] = value
        elif isinstance(target, ast.Tuple | ast.List):
            known = isinstance(value, list | tuple) and len(value) == len(target.elts)
            for place, each in enumerate(target.elts):
                self._assign(each, value[place] if known else UNKNOWN, scope)

    def _do_If(self, node: ast.If, scope: Scope) -> bool:
        test = self._value(node.test, scope)
        if isinstance(test, bool):
            return self._block(node.body if test else node.orelse, scope)
        self._steps += len(scope.names) // 32  # what the copy costs
        before = dict(scope.names)
        left = self._block(node.body, scope)
        after, scope.names = scope.names, before
        left_too = self._block(node.orelse, scope)
        if left_too and not left:
            scope.names = after
        elif not left:
            _merge(scope, after, scope.names)
        return left and left_too

    def _do_Try(self, node: ast.Try, scope: Scope) -> bool:
        left = self._block(node.body, scope)
        for handler in node.handlers:
            before = dict(scope.names)
            self._block(handler.body, scope)
            _merge(scope, before, scope.names)
        left = self._block(node.orelse, scope) or left
        return self._block(node.finalbody, scope) or (left and not node.handlers)

    _do_TryStar = _do_Try

    def _do_For(self, node: ast.For, scope: Scope) -> None:
        for item in _items(self._value(node.iter, scope)):
            self._assign(node.target, item, scope)
            self._block(node.body, scope)
        self._block(node.orelse, scope)

    _do_AsyncFor = _do_For

    def _do_While(self, node: ast.While, scope: Scope) -> None:
        self._value(node.test, scope)
        self._block(node.body, scope)
        self._block(node.orelse, scope)

    def _do_With(self, node: ast.With, scope: Scope) -> bool:
        for item in node.items:
            value = self._value(item.context_expr, scope)
            if item.optional_vars is not None:
                self._assign(item.optional_vars, value, scope)
        return self._block(node.body, scope)

    _do_AsyncWith = _do_With

    def _do_Return(self, node: ast.Return, scope: Scope) -> bool:
        scope.returns.append(self._value(node.value, scope) if node.value else None)
        return True

    def _do_Raise(self, node: ast.Raise, scope: Scope) -> bool:
        self._inside(node, scope)
        return True

    def _do_Break(self, node: ast.Break, scope: Scope) -> bool:
        return True

    _do_Continue = _do_Break

    def _do_FunctionDef(self, node: ast.FunctionDef, scope: Scope) -> None:
        function = Function(node, scope)
        self._functions.append(function)
        value: Any = function
        decorators = [self._value(each, scope) for each in node.decorator_list]
        for kind in ("class", "static"):
            if Ref(f"{kind}method") in decorators:
                function.binding = kind
        for decorator in reversed(decorators):
            value = self._decorated(decorator, value)
        scope.names[node.name] = value

    _do_AsyncFunctionDef = _do_FunctionDef

    def _decorated(self, decorator: Any, value: Any) -> Any:
        """Return what a decorator makes of `value`; one that nobody knows leaves it as it is."""
        if isinstance(decorator, Decorator):
            return self._noted(libraries.decorate(decorator, value))
        if isinstance(decorator, Ref) and libraries.is_click(decorator.name):
            made = libraries.call_click(decorator.name, [], {}, 0)
            return self._decorated(made, value) if isinstance(made, Decorator) else value
        if isinstance(decorator, Member) and isinstance(decorator.owner, Command):
            made = self._call(decorator, [], {})
            return self._decorated(made, value) if isinstance(made, Decorator) else value
        if isinstance(decorator, Function):
            made = self._call(decorator, [value], {})
            return made if isinstance(made, Function | Command) else value
        return value

    def _do_ClassDef(self, node: ast.ClassDef, scope: Scope) -> None:
        bases = [self._value(base, scope) for base in node.bases]
        body = Scope(scope.directory, scope.file, scope)
        scope.names[node.name] = self._classes[body] = Class(node, bases, body)
        self._block(node.body, body)

    def _do_Import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            module = self._module(alias.name, scope, 0)
            if alias.asname:
                scope.names[alias.asname] = module or Ref(alias.name)
            elif "." not in alias.name:
                scope.names[alias.name] = module or Ref(alias.name)
            else:
                top = alias.name.partition(".")[0]
                if not isinstance(scope.names.get(top), Scope):
                    scope.names[top] = Ref(top)
                if module is not None:
                    self._hang(scope, alias.name, module)

    def _hang(self, scope: Scope, dotted: str, module: Scope) -> None:
        """Make `import a.b` answer to `a.b` when the package `a` itself is not there to read."""
        names = scope.names
        *packages, last = dotted.split(".")
        for package in packages:
            if not isinstance(names.get(package), Scope):
                names[package] = Scope(module.directory, module.file)
            names = names[package].names
        names[last] = module

    def _do_ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = self._module(node.module or "", scope, node.level)
        for alias in node.names:
            if alias.name == "*":
                if module is not None:
                    shown = {k: v for k, v in module.names.items() if not k.startswith("_")}
                    scope.names.update(shown)
                continue
            dotted = f"{node.module}.{alias.name}" if node.module else alias.name
            value: Any = Ref(dotted)
            if module is not None and alias.name in module.names:
                value = module.names[alias.name]
            else:
                value = self._module(dotted, scope, node.level) or value
            scope.names[alias.asname or alias.name] = value

    def _module(self, dotted: str, scope: Scope, level: int) -> Scope | None:
        """Return the names of a module that lies beside the script, or None."""
        path = find_module(dotted, scope.file, level)
        if path is None:
            return None
        if path in self._modules:
            return self._modules[path]
        if self._imports >= MAX_IMPORT_DEPTH or len(self.files) >= MAX_FILES:
            return None
        module = Scope(path.parent, path, names={"__name__": dotted})
        self._modules[path] = module
        self.files.append(path)
        self._imports += 1
        try:
            self._block(parse_source(path).body, module)
        except SourceUnreadable as error:
            self.problems.append(str(error))
        finally:
            self._imports -= 1
        return module

    # Expressions ----------------------------------------------------------------------------------

    def _value(self, node: ast.expr, scope: Scope) -> Any:
        """Return what an expression is known to be."""
        self._step()
        evaluate = getattr(self, "_of_" + type(node).__name__, None)
        if evaluate is None:
            self._inside(node, scope)
            return UNKNOWN
        return evaluate(node, scope)

    def _of_Constant(self, node: ast.Constant, scope: Scope) -> Any:
        if node.value is None or isinstance(node.value, str | int | float):
            return node.value
        return UNKNOWN

    def _of_Name(self, node: ast.Name, scope: Scope) -> Any:
        return scope.lookup(node.id)

    def _of_Lambda(self, node: ast.Lambda, scope: Scope) -> Any:
        return Function(node, scope, called=True)

    def _of_NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> Any:
        value = self._value(node.value, scope)
        self._assign(node.target, value, scope)
        return value

    def _of_Attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        owner = self._value(node.value, scope)
        if isinstance(owner, Ref):
            return Ref(f"{owner.name}.{node.attr}")
        if isinstance(owner, Scope):
            return owner.names.get(node.attr, UNKNOWN)
        if isinstance(owner, Instance):
            return self._attribute(owner, node.attr)
        if isinstance(owner, Class):
            return self._bound(owner.find(node.attr), None, owner)
        if isinstance(owner, Super):
            return self._super_attribute(owner, node.attr)
        if isinstance(owner, Command | Subcommands | dict | str):
            return Member(owner, node.attr)
        return UNKNOWN

    def _attribute(self, owner: Instance, name: str) -> Any:
        if name in owner.names:
            return owner.names[name]
        return self._bound(owner.cls.find(name), owner, owner.cls)

    def _bound(self, member: Any, instance: Any, cls: Class) -> Any:
        """Return a class's member bound to an instance or, where that is None, to the class."""
        if not isinstance(member, Function):
            return member
        member.called = True
        receiver = {"instance": instance, "class": cls}.get(member.binding)
        return Function(member.node, member.closure, receiver=receiver, called=True)

    def _super_attribute(self, owner: Super, name: str) -> Any:
        for base in owner.cls.bases:
            member = base.find(name) if isinstance(base, Class) else UNKNOWN
            if member is not UNKNOWN:
                return self._bound(member, owner.receiver, owner.cls)
        return UNKNOWN

    def _of_Tuple(self, node: ast.Tuple, scope: Scope) -> Any:
        return tuple(self._elements(node.elts, scope))

    def _of_List(self, node: ast.List | ast.Set, scope: Scope) -> Any:
        return self._elements(node.elts, scope)

    _of_Set = _of_List

    def _elements(self, nodes: Iterable[ast.expr], scope: Scope) -> list[Any]:
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                more = self._value(node.value, scope)
                known = isinstance(more, list | tuple) and len(values) + len(more) <= MAX_LENGTH
                values += more if known else [UNKNOWN]
            else:
                values.append(self._value(node, scope))
        return values

    def _of_Dict(self, node: ast.Dict, scope: Scope) -> Any:
        values: dict[Any, Any] = {}
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            value = self._value(value_node, scope)
            if key_node is None:
                values.update(value if isinstance(value, dict) else {})
                continue
            key = self._value(key_node, scope)
            if isinstance(key, str | int | float):
                values[key] = value
        return values

    def _of_JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> Any:
        parts: list[str] = []
        for piece in node.values:
            plain = True
            if isinstance(piece, ast.FormattedValue):
                plain = piece.format_spec is None and piece.conversion == -1
                piece = piece.value
            value = self._value(piece, scope)
            if not plain or not isinstance(value, str | int | float | PurePath):
                return UNKNOWN
            parts.append(str(value))
        return bounded("".join(parts))

    def _of_UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> Any:
        value = self._value(node.operand, scope)
        if isinstance(node.op, ast.Not):
            return not value if isinstance(value, bool) else UNKNOWN
        if not is_number(value):
            return UNKNOWN
        if isinstance(node.op, ast.USub):
            return -value
        return value if isinstance(node.op, ast.UAdd) else UNKNOWN

    def _of_BinOp(self, node: ast.BinOp, scope: Scope) -> Any:
        left = self._value(node.left, scope)
        return calculate(node.op, left, self._value(node.right, scope))

    def _of_BoolOp(self, node: ast.BoolOp, scope: Scope) -> Any:
        values = [self._value(each, scope) for each in node.values]
        if all(isinstance(value, bool) for value in values):
            return all(values) if isinstance(node.op, ast.And) else any(values)
        return UNKNOWN

    def _of_Compare(self, node: ast.Compare, scope: Scope) -> Any:
        left = self._value(node.left, scope)
        rights = [self._value(each, scope) for each in node.comparators]
        if len(rights) == 1 and isinstance(left, str) and isinstance(rights[0], str):
            if isinstance(node.ops[0], ast.Eq):
                return left == rights[0]
            if isinstance(node.ops[0], ast.NotEq):
                return left != rights[0]
        return UNKNOWN

    def _of_IfExp(self, node: ast.IfExp, scope: Scope) -> Any:
        test = self._value(node.test, scope)
        yes, no = self._value(node.body, scope), self._value(node.orelse, scope)
        if isinstance(test, bool):
            return yes if test else no
        return UNKNOWN

    def _of_Subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        owner, key = self._value(node.value, scope), self._value(node.slice, scope)
        if isinstance(owner, dict | list | tuple | str) and isinstance(key, str | int):
            try:
                return owner[key]  # type: ignore[index]
            except (LookupError, TypeError):
                return UNKNOWN
        return UNKNOWN

    def _of_ListComp(self, node: ast.ListComp | ast.GeneratorExp, scope: Scope) -> Any:
        if len(node.generators) != 1 or node.generators[0].ifs:
            return UNKNOWN
        loop = node.generators[0]
        inner = Scope(scope.directory, scope.file, scope)
        values = []
        for item in _items(self._value(loop.iter, scope)):
            self._assign(loop.target, item, inner)
            values.append(self._value(node.elt, inner))
        return UNKNOWN if any(isinstance(value, Unknown) for value in values) else values

    _of_GeneratorExp = _of_ListComp

    # Calls ----------------------------------------------------------------------------------------

    def _of_Call(self, node: ast.Call, scope: Scope) -> Any:
        called = self._value(node.func, scope)
        args = self._elements(node.args, scope)
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self._value(keyword.value, scope)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, dict):
                keywords.update({key: each for key, each in value.items() if isinstance(key, str)})
        return self._call(called, args, keywords, node.lineno)

    def _call(self, called: Any, args: list[Any], keywords: dict[str, Any], line: int = 0) -> Any:
        """Return what calling a known value gives."""
        if libraries.is_parser(called):
            return self._make_parser(called, args, keywords)
        if isinstance(called, Ref):
            return self._call_outside(called.name, args, keywords, line)
        if isinstance(called, Member):
            return self._call_member(called, args, keywords, line)
        if isinstance(called, Function):
            return self._enter(called, args, keywords)
        if isinstance(called, Class):
            instance = Instance(called)
            self._initialise(called, instance, args, keywords)
            return instance
        if isinstance(called, Super):
            return called
        if isinstance(called, Command):
            called.used = True
        elif isinstance(called, Decorator) and args:
            return self._decorated(called, args[0])
        return UNKNOWN

    def _make_parser(self, called: Any, args: list[Any], keywords: dict[str, Any]) -> Command:
        command = libraries.make_parser(keywords)
        self._noted(command)
        if isinstance(called, Class):
            self._initialise(called, command, args, keywords)
        return command

    def _initialise(self, cls: Class, made: Any, args: list[Any], keywords: dict[str, Any]) -> None:
        start = cls.find("__init__")
        if isinstance(start, Function):
            start.called = True
            self._enter(Function(start.node, start.closure, receiver=made), args, keywords)

    def _noted(self, value: Any) -> Any:
        if isinstance(value, Command) and value not in self.commands:
            self.commands.append(value)
        return value

    def _call_outside(self, name: str, args: list[Any], keywords: dict[str, Any], line: int) -> Any:
        if libraries.is_click(name):
            return libraries.call_click(name, args, keywords, line)
        if libraries.is_absl(name):
            libraries.define_absl(self.absl, name, args, keywords, line)
            return UNKNOWN
        if name.endswith(("flags.mark_flag_as_required", "flags.mark_flags_as_required")):
            libraries.require_absl(self.absl, args)
            return UNKNOWN
        if name.endswith("argparse.FileType"):
            return Ref(name)
        for each in (*args, *keywords.values()):  # app.run(main), Process(target=main)
            if isinstance(each, Function) and not each.called:
                self._enter(each, [], {})
        return call_pure(name, args, keywords)

    def _call_member(
        self, member: Member, args: list[Any], keywords: dict[str, Any], line: int
    ) -> Any:
        owner, name = member.owner, member.name
        if isinstance(owner, Subcommands):
            if name != "add_parser":
                return UNKNOWN
            return self._noted(libraries.add_parser(owner, args, keywords))
        if not isinstance(owner, Command):
            return call_plain_method(owner, name, args, keywords)
        if owner.library == "argparse":
            value, problem = libraries.call_parser(owner, name, args, keywords, line)
            if problem:
                self.problems.append(problem)
            return value
        if name in ("command", "group"):
            return libraries.click_command(owner, args, keywords)
        if name == "add_command" and args and isinstance(args[0], Command):
            word = args[1] if len(args) > 1 else keywords.get("name")
            libraries.add_click_command(owner, args[0], word)
        elif name == "main":
            owner.used = True
        return UNKNOWN

    def _enter(self, function: Function, args: list[Any], keywords: dict[str, Any]) -> Any:
        """Follow a call of one of the script's functions; return the most telling of its values."""
        function.called = True
        if len(self._calls) >= MAX_CALL_DEPTH or function.node in self._calls:
            return UNKNOWN
        closure = function.closure
        scope = Scope(closure.directory, closure.file, closure)
        if function.receiver is not None:
            args = [function.receiver, *args]
            if closure in self._classes:
                scope.names["super"] = Super(self._classes[closure], function.receiver)
        self._bind(function, args, keywords, scope)
        self._calls.append(function.node)
        try:
            if isinstance(function.node, ast.Lambda):
                return self._value(function.node.body, scope)
            self._block(function.node.body, scope)
        finally:
            self._calls.pop()
        return _most_telling(scope.returns)

    def _bind(
        self, function: Function, args: list[Any], keywords: dict[str, Any], scope: Scope
    ) -> None:
        """Give a function's parameters their values; one without is UNKNOWN."""
        given = function.node.args
        places = [*given.posonlyargs, *given.args]
        defaults = given.defaults
        for parameter, default in zip(places[len(places) - len(defaults) :], defaults, strict=True):
            scope.names[parameter.arg] = self._value(default, function.closure)
        for parameter, expression in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            if expression is not None:
                scope.names[parameter.arg] = self._value(expression, function.closure)
        named = {parameter.arg for parameter in (*places, *given.kwonlyargs)}
        scope.names.update(zip((parameter.arg for parameter in places), args, strict=False))
        scope.names.update({key: value for key, value in keywords.items() if key in named})
        if given.vararg:
            scope.names[given.vararg.arg] = tuple(args[len(places) :])
        if given.kwarg:
            rest = {key: value for key, value in keywords.items() if key not in named}
            scope.names[given.kwarg.arg] = rest
        for name in named:
            scope.names.setdefault(name, UNKNOWN)


def _items(values: Any) -> list[Any]:
    """Return the items of a loop, or one unknown item where they are not known or are many."""
    if isinstance(values, range):
        values = values[: MAX_ITEMS + 1]
    if isinstance(values, list | tuple | dict | range) and len(values) <= MAX_ITEMS:
        return list(values)
    return [UNKNOWN]


def _most_telling(returns: Sequence[Any]) -> Any:
    """Return the value of a function: a command line before all else, a constant only when sure."""
    for value in returns:
        if isinstance(value, Command | Subcommands | Decorator | Function | Instance):
            return value
        if isinstance(value, tuple | list) and any(isinstance(v, Command) for v in value):
            return value
    return returns[0] if len(returns) == 1 else UNKNOWN


def _merge(scope: Scope, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Leave in `scope` what holds after a branch nobody can decide.

    A constant stays where both ways agree on it; a function or parser made on one way stays.
    """
    merged = dict(one)
    for name, value in other.items():
        known = one.get(name, value)
        same = known is value or (
            type(known) is type(value) and _is_constant(known) and known == value
        )
        if same or not (_is_constant(known) or isinstance(known, Unknown)):
            merged[name] = known
        else:
            merged[name] = UNKNOWN if _is_constant(value) else value
    scope.names = merged


def _is_constant(value: Any) -> bool:
    """Say whether a value is data; lists and dicts are compared only by being the same one."""
    return value is None or isinstance(value, str | int | float | PurePath)
