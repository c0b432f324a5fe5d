"""Varlink interface descriptions: a strict parser of the grammar (UAPI.20), and a check of values against types. Stricter where systemd's
own parser is: a comment may stand before a member or a field, never behind the last field; no empty struct as a field's type."""
import re

TOKEN = re.compile(r"(?P<space>[ \t\r\n]+)|(?P<comment>#[^\n]*)|(?P<op>->|\[\]|\[string\]|[()?:,])|(?P<name>[A-Za-z][A-Za-z0-9_.-]*)|(?P<bad>.)")
FIELD = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*$")
MEMBER = re.compile(r"[A-Z][A-Za-z0-9]*$")
INTERFACE = re.compile(r"[A-Za-z]([-]*[A-Za-z0-9])*(\.[A-Za-z0-9]([-]*[A-Za-z0-9])*)+$")
BASIC = {"bool": bool, "int": int, "float": (int, float), "string": str, "object": dict}


class Idl:
    def __init__(self, text):
        self.tokens, self.at = [], 0
        for m in TOKEN.finditer(text):
            assert m.lastgroup != "bad", f"unexpected {m.group()!r} at {m.start()}"
            if m.lastgroup != "space":
                self.tokens.append(m.group())
        self.types, self.methods, self.errors = {}, {}, {}
        self.comments()
        self.take("interface")
        self.name = self.take()
        assert INTERFACE.match(self.name), self.name
        while self.comments() is not None:
            self.member()
        for kind in list(self.types.values()) + [t for m in self.methods.values() for t in m] + list(self.errors.values()):
            self.resolve(kind)

    def take(self, want=None):
        got = self.tokens[self.at]
        assert want is None or got == want, f"expected {want}, got {got}"
        self.at += 1
        return got

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def comments(self):
        """Skip comments; the next token, or None at the end."""
        while self.peek() and self.peek().startswith("#"):
            self.at += 1
        return self.peek()

    def member(self):
        what, name = self.take(), self.take()
        assert MEMBER.match(name), name
        assert name not in {**self.types, **self.methods, **self.errors}, f"{name} twice"
        if what == "type":
            self.types[name] = self.struct_or_enum()
        elif what == "method":
            given = self.struct_or_enum()
            self.take("->")
            self.methods[name] = (given, self.struct_or_enum())
        else:
            assert what == "error", what
            self.errors[name] = self.struct_or_enum()

    def struct_or_enum(self):
        """("struct", {name: type}) or ("enum", [names])."""
        self.take("(")
        fields, names = {}, []
        while self.comments() != ")":
            name = self.take()
            assert FIELD.match(name), name
            if self.comments() == ":":
                self.take()
                fields[name] = self.type()
            else:
                names.append(name)
            assert not (self.peek() or "").startswith("#"), "a comment behind a field"
            if self.comments() != ",":
                break
            self.take()
            assert self.comments() != ")", "a comma behind the last field"
        self.take(")")
        assert not (fields and names)
        return ("enum", names) if names else ("struct", fields)

    def type(self):
        token = self.peek()
        if token in ("?", "[]", "[string]"):
            self.take()
            inner = self.type()
            assert not (token == inner[0] == "?") and not (token != "?" and inner[0] in ("[]", "[string]")), "nested containers"
            return (token, inner)
        if token == "(":
            kind = self.struct_or_enum()
            assert kind != ("struct", {}), "an empty struct as a field's type"
            return kind
        return ("name", self.take())

    def resolve(self, kind):
        what, inner = kind
        if what == "name":
            assert inner in BASIC or inner in self.types, f"unknown type {inner}"
        elif what == "struct":
            for field in inner.values():
                self.resolve(field)
        elif what != "enum":
            self.resolve(inner)

    def check(self, kind, value, path=""):
        """A value against a type; says where it is wrong."""
        what, inner = kind
        if what == "?":
            if value is not None:
                self.check(inner, value, path)
        elif what == "name" and inner in self.types:
            self.check(self.types[inner], value, path)
        elif what == "name":
            assert isinstance(value, BASIC[inner]) and (inner == "bool" or not isinstance(value, bool)), f"{path}: {value!r} is no {inner}"
        elif what == "[]":
            for i, v in enumerate(value):
                self.check(inner, v, f"{path}[{i}]")
        elif what == "[string]":
            for k, v in value.items():
                self.check(inner, v, f"{path}[{k}]")
        elif what == "enum":
            assert value in inner, f"{path}: {value!r} is not one of {inner}"
        else:
            for key in value:
                assert key in inner, f"{path}.{key} is not described"
            for key, field in inner.items():
                assert key in value or field[0] == "?", f"{path}.{key} is missing"
                if key in value:
                    self.check(field, value[key], f"{path}.{key}")
