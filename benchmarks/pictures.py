"""Makes the README's pictures from a run of ``mctsdialog demo``: python benchmarks/pictures.py. It needs Chromium.

docs/figures/terminal.svg is what the command prints, docs/figures/viewer.png its tree in the viewer.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.terminal_theme import MONOKAI

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
COLUMNS, WINDOW = 80, {"width": 1100, "height": 620}


class Worth(RegexHighlighter):
    """Numbers with a point are values."""

    base_style = "repr."
    highlights = (r"(?P<number>\b\d\.\d+\b)",)


def terminal(printed, file):
    """What a command printed, as a drawing that loads no font from elsewhere."""
    console = Console(record=True, file=StringIO(), width=COLUMNS + 2, force_terminal=True, highlighter=Worth())
    console.print(f"$ mctsdialog demo\n{printed}", emoji=False, markup=False)
    drawing = console.export_svg(title="mctsdialog demo", theme=MONOKAI)
    drawing = re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL)
    file.write_text(drawing.replace("Fira Code,", "ui-monospace, Menlo, Consolas, "), "utf-8")


def viewer(page_file, file):
    """The viewer as it opens, with a reply chosen."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("this needs Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW)
        page.goto(page_file.as_uri())
        page.wait_for_function("window.viewer && window.viewer.ready")
        page.wait_for_timeout(500)
        page.screenshot(path=file)
        browser.close()
    smaller(file)


def smaller(file):
    """Flat colours need no more than a palette."""
    Image.open(file).convert("RGB").quantize(96).save(file, optimize=True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "mctsdialog", "demo"]
        environment = os.environ | {"COLUMNS": str(COLUMNS)}
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        terminal(done.stdout, FIGURES / "terminal.svg")
        viewer(Path(folder) / "demo" / "tree.html", FIGURES / "viewer.png")
    for name in ("terminal.svg", "viewer.png"):
        print(name, (FIGURES / name).stat().st_size // 1024, "kB")


if __name__ == "__main__":
    main()
