"""Key templates: text with `{attribute}` in it, rendered so that two items never share a key."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from math import ceil

import msgspec

from dynamirror.errors import ConfigError, KeyTooLongError, RecordError
from dynamirror.records.attribute_value import AttributeValue, Item, utf8
from dynamirror.records.key_codec import key_text, key_value
from dynamirror.views.condition import path
from dynamirror.views.escaping import any_of, escape, percent, step_aside, step_back, unescaped
from dynamirror.views.keyspace import FENCE_BYTES, LONGEST_FENCE_BYTES, RESERVED

# What DynamoDB takes of a partition key and of a sort key, and the longest text of a number.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
MOST_KEY_BYTES = 2048, 1024
_MOST_NUMBER_BYTES = 46
# The letters of a byte that is escaped, and the letters of two types' texts that may be.
_ESCAPED = len("%XX")
_NUMBER, _BASE64URL = frozenset("+-.E"), frozenset("-_")
_MARK_BYTES = len("%n")
_MARKS = {"S": "", "N": "%n", "B": "%b"}
_TYPE_OF_MARK = {text: tag for tag, text in _MARKS.items()}
_TOKEN = re.compile(r"(\{\{|\}\})|\{([^{}]+)\}|([{}])")


class KeyTemplate(msgspec.Struct, frozen=True):
    """A parsed template, for instance `user:{id}`.

    Between two placeholders stands a separator. In a value, every separator and `%`, `{`, `}` is
    written as `%XX`, and an empty value as a lone `%`; so a key can be taken apart in one way only.
    Braces of the template's own are written doubled and make a hash tag.
    """

    text: str
    names: tuple[str, ...]
    literals: tuple[str, ...]
    escaped: frozenset[str]
    typed: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str, *, table: str, typed: frozenset[str] = frozenset()) -> "KeyTemplate":
        """Read a template; `{table}` becomes the table's name.

        Args:
            text: the template.
            table: the table's name.
            typed: names of attributes before whose values a number is marked with `%n`, and binary
                with `%b`, so that values of two types never have one text.

        Raises:
            ConfigError: the template is not well-formed or two values could have one key.
        """
        names: list[str] = []
        literals = [""]
        end = 0
        for token in _TOKEN.finditer(text):
            literals[-1] += text[end : token.start()]
            end = token.end()
            doubled, name, stray = token.groups()
            if stray:
                raise ConfigError(
                    f"key {text!r}: a single {stray!r} at character {token.start() + 1}; write "
                    f"{{attribute}} for a value, or {stray * 2!r} for the brace itself"
                )
            if doubled:
                literals[-1] += doubled[0]
            elif name == "table":
                literals[-1] += table
            else:
                names.append(name)
                literals.append("")
        literals[-1] += text[end:]
        template = cls(
            text, tuple(names), tuple(literals), frozenset("%{}") | _separators(literals), typed
        )
        template._check()
        return template

    def _check(self) -> None:
        if not self.names:
            raise ConfigError(f"key {self.text!r}: it names no attribute; add one, as in {{id}}")
        for before, after, separator in zip(
            self.names, self.names[1:], self.literals[1:-1], strict=False
        ):
            if not separator or separator[0].isalnum() or separator[0] == "%":
                raise ConfigError(
                    f"key {self.text!r}: between {{{before}}} and {{{after}}} there must be a "
                    "separator that begins with a punctuation mark other than %, as in "
                    f"{{{before}}}:{{{after}}}"
                )
        # What stands for a value never holds a brace, so the literals alone decide the hash tag.
        braces = re.sub(r"[^{}]", "", "".join(self.literals))
        shape = "\0".join(self.literals)
        if braces not in ("", "{}") or "{}" in shape:
            raise ConfigError(
                f"key {self.text!r}: doubled braces make a hash tag, of which a key has at most "
                "one, with something inside, as in {{{pk}}}:{sk}"
            )
        if shape.startswith("{") and shape.endswith("}"):
            raise ConfigError(
                f"key {self.text!r}: a hash tag must not be the whole key; add a prefix, as in "
                f"{{table}}:{self.text}"
            )
        if self.text.startswith(RESERVED):
            raise ConfigError(
                f"key {self.text!r}: keys that begin with {RESERVED!r} are kept for dynamirror "
                "itself; choose another prefix"
            )

    @property
    def before_tag(self) -> str | None:
        """The text before the hash tag if no attribute stands before it; None without a hash tag.

        No value has a brace, so two keys with different such texts differ.
        """
        head, brace, _ = self.literals[0].partition("{")
        return head if brace else None

    @property
    def is_tagged(self) -> bool:
        """Whether the keys have a hash tag of their own."""
        return "{" in "".join(self.literals)

    @property
    def prefix(self) -> str:
        """The text that every key of this template begins with; may be empty."""
        head = self.literals[0]
        if head.startswith(RESERVED):  # a table called dynamirror
            return step_aside(head)
        return "" if RESERVED.startswith(head) else head

    def reader(
        self,
        types: Mapping[str, str],
        pinned: Mapping[str, str] | None = None,
        *,
        others: Sequence[str] = (),
    ) -> Callable[[str], Item | None]:
        """Return a function from a key to its item's primary key, and to other attributes.

        It returns None if this template cannot have rendered the key.

        Args:
            types: of the primary-key attributes, all of which the template names or are pinned.
            pinned: texts of primary-key attributes that the template does not name.
            others: other names of the template; where they are not typed, their values come as S.
        """
        constants = {name: {"S": text} for name, text in (pinned or {}).items() if name in types}
        places = {name: self.names.index(name) for name in types if name in self.names}
        other_places = {name: self.names.index(name) for name in others}
        escaped = any_of(self.escaped)
        take_apart, distinct = self._parser(), set(self.names)
        is_plain = not other_places and len(distinct) == len(self.names)
        plain_places = {
            name: (places.get(name, -1), tag == "S", tag) for name, tag in types.items()
        }

        def read(key: str) -> Item | None:
            parts = take_apart(key)
            if parts is None:
                return None
            try:
                if is_plain and "%" not in key:  # no value is escaped
                    return {
                        name: constants[name]
                        if place < 0
                        else {"S": parts[place]}
                        if is_text
                        else key_value(parts[place], tag)
                        for name, (place, is_text, tag) in plain_places.items()
                    }
                marks = [_mark_of(part) for part in parts]
                values = [
                    unescaped(part[len(mark) :]) for part, mark in zip(parts, marks, strict=True)
                ]
                if [
                    mark + escape(value, escaped) for mark, value in zip(marks, values, strict=True)
                ] != list(parts):
                    return None
                if len({*zip(self.names, values, strict=True)}) != len(distinct):
                    return None  # an attribute that is named twice has one value
                return {
                    name: key_value(values[places[name]], tag)
                    if name in places
                    else constants[name]
                    for name, tag in types.items()
                } | {
                    name: key_value(values[place], _TYPE_OF_MARK[marks[place]])
                    for name, place in other_places.items()
                }
            except (RecordError, UnicodeDecodeError):
                return None

        return read

    def _parser(self) -> Callable[[str], tuple[str, ...] | None]:
        """Make the function that finds what stands for the values in a key, still escaped."""
        escaped = re.escape("".join(sorted(self.escaped)))
        value = f"((?:[^{escaped}]|%[0-9A-F]{{2}})+|%)"
        typed = f"((?:%[bn])?{value[1:-1].join(('(?:', ')'))})"
        values = (typed if name in self.typed else value for name in self.names)
        head, *tail = map(re.escape, self.literals)
        parts = (part + literal for part, literal in zip(values, tail, strict=True))
        pattern = re.compile(head + "".join(parts), re.DOTALL)

        def take_apart(key: str) -> tuple[str, ...] | None:
            if key.startswith(RESERVED):
                return None
            match = pattern.fullmatch(step_back(key)) or pattern.fullmatch(key)
            return match.groups() if match else None

        return take_apart

    @property
    def fence_bytes(self) -> int:
        """How much longer the key of a fence is than that of its entry, in bytes."""
        return FENCE_BYTES if self.is_tagged else LONGEST_FENCE_BYTES

    def longest_key(self, keys: Sequence[str], types: Mapping[str, str]) -> int | None:
        """Return the length in bytes of the longest key that an item can have; None for any length.

        Args:
            keys: names of the primary-key attributes, partition key first.
            types: their types; S for one whose type is missing.
        """
        most = dict(zip(keys, MOST_KEY_BYTES, strict=False))
        length = len(utf8("".join(self.literals)))
        for name in self.names:
            if name in self.typed:  # an attribute of an index, whose values are as short as keys
                most_bytes = MOST_KEY_BYTES[self.names.index(name) > 0]
                length += _MARK_BYTES + most_bytes * _ESCAPED
                continue
            if name not in most:
                return None  # any other attribute is limited by its item's size only
            match types.get(name, "S"):
                case "N":
                    length += _MOST_NUMBER_BYTES * _factor(self.escaped, _NUMBER)
                case "B":
                    length += ceil(most[name] * 4 / 3) * _factor(self.escaped, _BASE64URL)
                case _:
                    length += most[name] * _ESCAPED
        return length

    def renderer(
        self, keys: Sequence[str] = (), *, max_key_bytes: int | None = None
    ) -> Callable[[Item], str | None]:
        """Make the function that turns an item into its key, or None if it lacks an attribute.

        It raises RecordError for an attribute that cannot stand in a key: of another type than S, N
        and B, or not valid Unicode. It raises KeyTooLongError for a key whose fence is too long.

        Args:
            keys: names of the primary-key attributes; in any other, dots lead into maps.
            max_key_bytes: the length of the longest key that the cache takes; None for any.
        """
        longest = sys.maxsize if max_key_bytes is None else max_key_bytes - self.fence_bytes
        replace = any_of(self.escaped).sub
        head, tail = self.literals[0], self.literals[1:]
        getters = (path(name, keys) for name in self.names)
        typed = (name in self.typed for name in self.names)
        parts = tuple(zip(getters, tail, typed, strict=True))
        may_be_reserved = RESERVED.startswith(head) or head.startswith(RESERVED)

        def render(item: Item) -> str | None:
            key = head
            for get, literal, is_typed in parts:
                value = get(item)
                if value is None:
                    return None
                text = key_text(value)
                if not text.isalnum():  # as no separator and no brace is
                    text = replace(percent, text) or "%"
                if is_typed:
                    text = mark(value) + text
                key += text + literal
            if may_be_reserved and key.startswith(RESERVED):
                key = step_aside(key)
            # A text has no more letters than bytes.
            if (len(key) > longest or not key.isascii()) and (size := len(utf8(key))) > longest:
                raise KeyTooLongError(
                    f"its key has {size:,} bytes, and the cache takes no more than {longest:,}, "
                    f"with the {self.fence_bytes} that its fence has more"
                )
            return key

        return render


def mark(value: AttributeValue) -> str:
    """Return what stands before the text of a typed value."""
    (tag,) = value
    return _MARKS[tag]


def _mark_of(part: str) -> str:
    # No escaped byte is written in small letters.
    return part[:2] if part[:2] in ("%n", "%b") else ""


def _factor(escaped: frozenset[str], letters: frozenset[str]) -> int:
    return _ESCAPED if escaped & letters else 1


def _separators(literals: Sequence[str]) -> frozenset[str]:
    return frozenset(literal[0] for literal in literals[1:-1] if literal)
