"""Long names in tables break where a reader would break them."""

import re
from typing import Any

_CELL_CODE = re.compile(r"(?<=<code>)[^<]*[a-z][./_:][^<]*(?=</code>)")


def on_page_content(html: str, **_: Any) -> str:
    """Let the names in a page's tables break after a dot, a slash, a colon or an underscore."""
    return re.sub(r"<td.*?</td>", lambda cell: _CELL_CODE.sub(_breakable, cell.group()), html, flags=re.DOTALL)


def _breakable(code: re.Match[str]) -> str:
    return re.sub(r"(?<=\w)(::|[./_])(?=\w)", r"\1<wbr>", code.group())
