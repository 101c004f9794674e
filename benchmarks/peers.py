"""Makes the peers' environment: python benchmarks/peers.py [--venv DIR]. It never touches the project's own."""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
VENV = HERE / ".peers"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=VENV)
    folder = parser.parse_args().venv
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    # torch is a build for the CPU; llm-reasoners asks for much that its tree search does not use
    subprocess.run([*pip, "torch==2.13.0"], check=True)
    subprocess.run([*pip, "--no-deps", "llm-reasoners==1.0.2", "open_spiel==2.0.2"], check=True)
    names = [line for line in (HERE / "peers.txt").read_text().splitlines() if line and not line.startswith("#")]
    needed = [name for name in names if not name.startswith(("llm-reasoners", "open_spiel"))]
    subprocess.run([*pip, *needed], check=True)
    print(folder)


if __name__ == "__main__":
    main()
