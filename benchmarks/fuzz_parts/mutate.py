"""Mutations of JSON values, lines and bytes; every one is drawn from the generator that it is given."""

import json
import math
import re
import zlib

DEPTHS = (60, 600, 5_000, 20_000, 100_000)
LARGE = 500  # one in so many mutations may make a file of a megabyte or more

STRINGS = (
    "", " ", "\n", "\t", "a", "\x00", "a\x00b", "\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\u202egnp.exe", "\u2066x",
    "\u2028", "\ufeff", "\ud800", "a\udfffb", "\U0001f600", "e\u0301", "\u00e9", "ﬁ", "x" * 300, "é" * 1000,
    "x" * 70_000, "</script><script>alert(1)</script>", "<!--", "]]>", "<b>&amp;", "{{ 7 * 7 }}", "{% for x in y %}",
    "${HOME}", "%s%n", "=1+1", "＝1+1", "a\n=1+1", "@x", "|a|b|", "[x](javascript:alert(1))", "---\na: b\n---", "\\",
    '"', "'", "`", "#", "~", "../outside/important.txt", "/etc/passwd", "/dev/zero", "a/b", "..", ".", "CON", "-rf",
    "NaN", "Infinity", "null", "true", "1", "-1", "1e5", "__class__", "__proto__", "id", "root", "seeker",
    "supporter", "system", "user", "assistant", "</end/>", "(Affirmation) x", "Affirmation", "end", "expanded",
    "unexpanded", "\r\n", "a\rb", "\x7f", "\x85",
)  # fmt: skip


class Raw:
    """A JSON text that stands in a document as it is."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text[:100]


NUMBERS = (
    0, 1, -1, 2, 3, 10, 101, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**18, 10**400, -(10**400), 0.5, 1.5,
    -0.0, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf, True, False, Raw("1e400"), Raw("-1E+999"),
    Raw("9" * 5000), Raw("0." + "3" * 3000), Raw("1e-400"),
)  # fmt: skip


def deep(draw):
    """A value nested deeply, as text."""
    depth = draw.choice(DEPTHS)
    left, inner, right = draw.choice(
        (("[", "", "]"), ("[", "1", "]"), ('{"a":', "1", "}"), ('[{"a":', "[]", "}]"), ("[", "", ""))
    )
    return Raw(left * depth + inner + right * depth)


def hostile(draw, like=None):
    """A value of any type, but preferably not of the type of ``like``."""
    kind = draw.randrange(12)
    if kind < 4:
        return string(draw, like if isinstance(like, str) else "")
    if kind < 7:
        return draw.choice(NUMBERS)
    if kind == 7:
        return None
    if kind == 8:
        return [] if draw.random() < 0.5 else [like]
    if kind == 9:
        return {} if draw.random() < 0.5 else {"a": like}
    if kind == 10:
        return [hostile(draw) for _ in range(draw.randrange(1, 5))]
    return deep(draw) if draw.random() < 0.3 else {string(draw): hostile(draw) for _ in range(2)}


def string(draw, like=""):
    """A string: a hostile one, or a changed ``like``."""
    if not like or draw.random() < 0.6:
        if draw.random() < 1 / LARGE:
            return draw.choice(("x", " ", "(", "{", "\x1b", "é", "a\n", "a b ")) * draw.randrange(100_000, 400_000)
        return draw.choice(STRINGS)
    at = draw.randrange(len(like) + 1)
    change = draw.randrange(5)
    if change == 0:
        return like[:at]
    if change == 1:
        return like[:at] + draw.choice(STRINGS) + like[at:]
    if change == 2:
        return like[:at] + chr(draw.choice((draw.randrange(256), draw.randrange(0x2000, 0x2100), 0xD800))) + like[at:]
    if change == 3:
        return draw.choice((like.upper(), like.swapcase(), like[::-1], like.title()))
    return like * draw.choice((2, 30))


def places(value, most=4000):
    """Every (container, key) below ``value``."""
    found, pending = [], [value]
    while pending and len(found) < most:
        at = pending.pop()
        keys = at.keys() if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        for key in keys:
            found.append((at, key))
            if isinstance(at[key], dict | list):
                pending.append(at[key])
    return found


def mutate_json(draw, value, fields=()):
    """A changed copy-in-place of a JSON value, as text; ``fields`` are keys that are changed more often."""
    holder = [value]
    changes = _GENTLE if draw.random() < 0.4 else _CHANGES
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        found = places(holder)
        wanted = [place for place in found if place[1] in fields] if fields and draw.random() < 0.4 else []
        container, key = draw.choice(wanted or found)
        draw.choice(changes)(draw, container, key, found)
        holder = holder or [None]
    return to_text(holder[0], ascii_only=draw.random() < 0.5)


def _replace(draw, container, key, found):
    container[key] = hostile(draw, container[key])


def _remove(draw, container, key, found):
    del container[key]


def _rename(draw, container, key, found):
    if isinstance(container, dict):
        container[string(draw, key)] = container.pop(key)
    else:
        container.insert(0, container.pop(key))


def _add(draw, container, key, found):
    if isinstance(container, dict):
        container[string(draw)] = hostile(draw)
    else:
        container.insert(key, hostile(draw, container[key]))


def _number(draw, container, key, found):
    numbers = [place for place in found if isinstance(place[0][place[1]], int | float)]
    container, key = draw.choice(numbers) if numbers else (container, key)
    container[key] = draw.choice(NUMBERS)


def _string(draw, container, key, found):
    strings = [place for place in found if isinstance(place[0][place[1]], str)]
    container, key = draw.choice(strings) if strings else (container, key)
    container[key] = string(draw, container[key] if isinstance(container[key], str) else "")


def _repeat(draw, container, key, found):
    lists = [place for place in found if isinstance(place[0][place[1]], list) and place[0][place[1]]]
    if not lists:
        return _replace(draw, container, key, found)
    container, key = draw.choice(lists)
    items = container[key]
    if draw.random() < 0.5:
        items.insert(draw.randrange(len(items) + 1), draw.choice(items))
        return None
    size = len(to_text(items[0])) + 1
    most = 1_500_000 if draw.random() < 20 / LARGE else 20_000
    item = Raw(to_text(draw.choice(items[:50])))
    items.extend([item] * min(draw.choice((2, 30, 1000, 100_000)), most // size))
    return None


def _twice(draw, container, key, found):
    objects = [place for place in found if isinstance(place[0][place[1]], dict) and place[0][place[1]]]
    if not objects:
        return _replace(draw, container, key, found)
    container, key = draw.choice(objects)
    inner = container[key]
    name = draw.choice(list(inner))
    more = {name: hostile(draw, inner[name])}
    whole, extra = to_text(inner), to_text(more)
    container[key] = Raw(f"{whole[:-1]}, {extra[1:]}")
    return None


def _swap(draw, container, key, found):
    other, its = draw.choice(found)
    container[key], other[its] = _copied(other[its]), _copied(container[key])


def _move(draw, container, key, found):
    other, its = draw.choice(found)
    container[key] = _copied(other[its])


def _wrap(draw, container, key, found):
    container[key] = draw.choice(([container[key]], {"a": container[key]}, str(container[key])[:1000]))


def _dig(draw, container, key, found):
    container[key] = deep(draw)


def _near(draw, container, key, found):
    """A number becomes another that may stand there."""
    numbers = [place for place in found if type(place[0][place[1]]) in (int, float)]
    if not numbers:
        return _string(draw, container, key, found)
    container, key = draw.choice(numbers)
    was = container[key]
    container[key] = draw.choice(
        (0, 1, 2, was + 1, was - 1, 10**9) if isinstance(was, int) else (0.0, 1.0, -was, was / 3, 1e9, -3.0)
    )
    return None


def _like(draw, container, key, found):
    """A value becomes one of the same type from elsewhere in the document."""
    kind = type(container[key])
    other, its = draw.choice([place for place in found if type(place[0][place[1]]) is kind])
    container[key] = _copied(other[its])


def _one_more(draw, container, key, found):
    lists = [place for place in found if isinstance(place[0][place[1]], list) and place[0][place[1]]]
    container, key = draw.choice(lists) if lists else (container, key)
    if isinstance(container[key], list) and container[key]:
        items = container[key]
        if draw.random() < 0.5:
            items.insert(draw.randrange(len(items) + 1), _copied(draw.choice(items)))
        else:
            del items[draw.randrange(len(items))]


_GENTLE = (*(_near,) * 3, *(_string,) * 3, *(_like,) * 3, *(_one_more,) * 2)


def _copied(value):
    return Raw(to_text(value)) if isinstance(value, dict | list) else value


_CHANGES = (
    *(_replace,) * 5, *(_remove,) * 3, _rename, _add, *(_number,) * 3, *(_string,) * 4, *(_repeat,) * 2, _twice,
    _swap, *(_move,) * 2, _wrap, _dig,
)  # fmt: skip


def to_text(value, *, ascii_only=True):
    """JSON text of a value with :class:`Raw` parts; NaN and infinities are written as Python does."""
    raws = {}

    def default(raw):
        raws[id(raw)] = raw.text
        return f"@@RAW{id(raw)}@@"

    text = json.dumps(value, ensure_ascii=ascii_only, default=default)
    return _RAW.sub(lambda found: raws[int(found[1])], text) if raws else text


_RAW = re.compile(r'"@@RAW(\d+)@@"')


def sealed(text, about=""):
    """The text of an object with the checksum that the packages put last in a line, see ``mctsdialog.files``."""
    return f'{text[:-1]}, "crc": "{zlib.crc32(encoded(about + text)):08x}"}}' if text.endswith("}") else text


def encoded(text):
    """Text as bytes; a lone surrogate becomes bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogatepass")


_BLOCKS = (
    b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\xed\xa0\x80", b"\xc0\xaf",
    b"\xef\xbb\xbf", b"\r\n", b"\n", b"\r", b"\x1b[2J", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u0000",
    b"\\ud800", b"null", b"-", b"1e999", b"NaN", b"\xe2\x80\xa8", b"\x80", b"0", b"9" * 500, b"[" * 3000, b"{" * 3000,
    b" " * 3000,
)  # fmt: skip


def mutate_bytes(draw, data, others=()):
    """Bytes flipped, cut, zeroed, inserted, moved or spliced with another file's."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(len(data) + 1)
        end = min(len(data), at + draw.choice((1, 2, 8, 64, 512)))
        change = draw.randrange(10)
        if change == 0 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif change == 1 and at < len(data):
            data[at] = draw.randrange(256)
        elif change == 2:
            del data[at:]
        elif change == 3:
            del data[at:end]
        elif change == 4:
            data[at:end] = bytes(end - at)
        elif change == 5:
            data[at:at] = draw.choice(_BLOCKS)
        elif change == 6:
            data[at:end] = draw.choice(_BLOCKS)
        elif change == 7:
            data[at:at] = data[at:end] * draw.choice((1, 2, 40))
        elif change == 8 and others:
            other = draw.choice(others)
            data[at:] = other[draw.randrange(len(other) + 1) :]
        else:
            data[at:at] = draw.randbytes(draw.choice((1, 4, 30)))
    return bytes(data)


def mutate_lines(draw, lines, change):
    """Lines (bytes) with one changed by ``change``, and sometimes lost, doubled, swapped or joined ones."""
    lines = list(lines)
    for _ in range(draw.choice((1, 1, 2))):
        at = draw.randrange(len(lines)) if lines else 0
        kind = draw.randrange(12)
        if not lines or kind == 0:
            lines.insert(at, draw.choice((b"", b" ", b"null", b"[]", b"{}", b"0", b"\xff", b"{", b"\x00" * 100)))
        elif kind == 1:
            del lines[at]
        elif kind == 2:
            lines.insert(draw.randrange(len(lines) + 1), lines[at])
        elif kind == 3:
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 4 and len(lines) > at + 1:
            lines[at : at + 2] = [lines[at] + lines[at + 1]]
        elif kind == 5:
            cut = draw.randrange(len(lines[at]) + 1)
            lines[at : at + 1] = [lines[at][:cut], lines[at][cut:]]
        elif kind == 6 and draw.random() < 0.3:
            many = 1_000_000 if draw.random() < 20 / LARGE else 20_000
            lines[at:at] = [lines[at]] * min(draw.choice((30, 1000, 100_000)), many // (len(lines[at]) + 1))
        else:
            lines[at] = change(draw, lines[at])
    end = draw.choice((b"\n", b"\n", b"\n", b"\n", b"\r\n", b"\n\n"))
    whole = end.join(lines) + (end if draw.random() < 0.8 else b"")
    return b"\xef\xbb\xbf" + whole if draw.random() < 0.02 else whole
