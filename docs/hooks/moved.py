"""The tables of names that moved, in docs/migration.md: ``python docs/hooks/moved.py`` brings them up to date."""

import re
from pathlib import Path

from mctsdialog._moved import GONE, MODULES, MOVED

PAGE = Path(__file__).resolve().parents[1] / "migration.md"
_TABLE = re.compile(r"(<!-- (names|modules|gone) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page's text with its tables as :mod:`mctsdialog._moved` has them today."""
    rows = {
        "names": [(old, f"`{new}`") for old, new in MOVED.items() if "._" not in new],
        "modules": [(old, f"`{new}`") for old, new in MODULES.items()],
        "gone": list(GONE.items()),
    }
    return _TABLE.sub(lambda found: found[1] + _table(rows[found[2]]), page)


def _table(rows: list[tuple[str, str]]) -> str:
    lines = [f"| `{old}` | {new} |" for old, new in sorted(rows)]
    return "\n".join(["| 0.1 | 0.2 |", "|---|---|", *lines, ""])


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
