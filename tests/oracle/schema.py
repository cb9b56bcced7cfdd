"""Job files without generated code: a reader of proto/config.proto (names, types and defaults) and of textproto.

    schema = Schema.load()                                   # proto/config.proto of this checkout
    model = schema.parse('ModelConfig', 'dlf { layers: 2 }')
    model.which('kind'), model.dlf.layers, model.dlf.rank    # 'dlf', 2, the default

Unset fields give the default that the file states, else 0, '', false, the first enum value or an empty message.
"""
import os
import re

TOKEN = re.compile(r'\s+|(?P<comment>//[^\n]*|\#[^\n]*)|'
                   r'(?P<token>"(?:[^"\\]|\\.)*"|-?\d[\d.]*(?:[eE][+-]?\d+)?|-?\w+|.)')
NUMBERS = {'double': float, 'float': float, 'uint32': int, 'uint64': int, 'int32': int, 'int64': int}


def tokens_of(text):
    return [match.group('token') for match in TOKEN.finditer(text) if match.group('token')]


def unquote(token):
    return token[1:-1].replace('\\t', '\t').replace('\\n', '\n').replace('\\"', '"').replace('\\\\', '\\')


class Field:
    def __init__(self, label, type_name, name, default, oneof):
        self.repeated, self.type, self.name = label == 'repeated', type_name, name
        self.default, self.oneof = default, oneof


class Message:
    def __init__(self):
        self.fields, self.enums = {}, {}


class Schema:
    def __init__(self, text):
        self.messages = {}
        self._tokens, self._at = tokens_of(text), 0
        while self._at < len(self._tokens):
            if self._next() == 'message':
                self._message(self._next())
            elif self._tokens[self._at - 1] == 'extend':
                self._next(), self._skip_braces()

    @staticmethod
    def load():
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(os.path.join(root, 'proto', 'config.proto'), encoding='utf-8') as file:
            return Schema(file.read())

    def parse(self, type_name, text):
        values = Config(self, type_name)
        tokens = tokens_of(text)
        end = values.read(tokens, 0)
        if end != len(tokens):
            raise ValueError(f'{type_name}: unexpected {tokens[end]}')
        return values

    def _next(self):
        self._at += 1
        return self._tokens[self._at - 1]

    def _skip_braces(self):
        depth = 0
        while True:
            depth += {'{': 1, '}': -1}.get(self._next(), 0)
            if depth == 0:
                return

    def _message(self, name):
        message = self.messages[name] = Message()
        assert self._next() == '{'
        oneof = None
        while True:
            word = self._next()
            if word == '}':
                if oneof is None:
                    return
                oneof = None
            elif word == 'enum':
                values = message.enums.setdefault(self._next(), [])
                assert self._next() == '{'
                while (word := self._next()) != '}':
                    values.append(word)
                    while self._next() != ';':
                        pass
            elif word == 'oneof':
                oneof = self._next()
                assert self._next() == '{'
            elif word != ';':
                label, type_name = ('optional', word) if oneof else (word, self._next())
                field = Field(label, type_name, self._next(), None, oneof)
                while (word := self._next()) != ';':
                    if word == 'default':
                        assert self._next() == '='
                        field.default = self._next()
                message.fields[field.name] = field


class Config:
    """A message's values; attributes are its fields."""

    def __init__(self, schema, type_name):
        self._schema, self._type, self._values = schema, type_name, {}

    def has(self, name):
        return name in self._values

    def which(self, oneof):
        """Name of the field of `oneof` that is set, or None."""
        fields = self._schema.messages[self._type].fields
        return next((name for name in self._values if fields[name].oneof == oneof), None)

    def __getattr__(self, name):
        field = self._schema.messages[self._type].fields.get(name)
        if field is None:
            raise AttributeError(f'{self._type} has no field {name}')
        if name in self._values:
            return self._values[name]
        if field.repeated:
            return []
        if field.type in self._schema.messages:
            return Config(self._schema, field.type)
        if field.default is not None:
            return self._value(field, field.default)
        if field.type in self._schema.messages[self._type].enums:
            return self._schema.messages[self._type].enums[field.type][0]
        return {'string': '', 'bool': False}.get(field.type, 0)

    def _value(self, field, token):
        if field.type == 'string':
            return unquote(token)
        if field.type == 'bool':
            return token == 'true'
        if field.type in NUMBERS:
            return NUMBERS[field.type](token)
        if token not in self._schema.messages[self._type].enums[field.type]:
            raise ValueError(f'{self._type}.{field.name}: unknown value {token}')
        return token

    def read(self, tokens, at):
        """Reads fields from tokens[at] on, up to an unmatched '}' or the end; returns where it stopped."""
        while at < len(tokens) and tokens[at] != '}':
            field = self._schema.messages[self._type].fields.get(tokens[at])
            if field is None:
                raise ValueError(f'{self._type} has no field {tokens[at]}')
            at += 1
            if tokens[at] == ':':
                at += 1
            if tokens[at] == '[':
                while tokens[at] != ']':
                    if tokens[at] not in '[,':
                        self._set(field, self._value(field, tokens[at]))
                    at += 1
                at += 1
            elif tokens[at] == '{':
                value = Config(self._schema, field.type)
                at = value.read(tokens, at + 1) + 1
                self._set(field, value)
            else:
                self._set(field, self._value(field, tokens[at]))
                at += 1
            if at < len(tokens) and tokens[at] in ',;':
                at += 1
        return at

    def _set(self, field, value):
        if field.repeated:
            self._values.setdefault(field.name, []).append(value)
        else:
            self._values[field.name] = value
