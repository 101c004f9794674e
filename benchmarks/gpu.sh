#!/usr/bin/env bash
# Measures training on one GPU, on a machine without a network. See docs/benchmarks.md.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
python=${PYTHON:-python3}
most=60000000 # bytes of all wheels
deepspeed=deepspeed==0.19.8

usage() {
  cat <<'TEXT'
gpu.sh wheels DIR [--python 3.12]
    Collects in DIR the packages that the GPU machine lacks, for that Python on x86-64 Linux: benchmarks/gpu.txt, DeepSpeed
    and this project, below 60 MB in all. Wheels that are in DIR are replaced. Needs a package index.

gpu.sh run [DIR] [--minutes 8] [--cpu] [--tiny] [--out FOLDER] [--parts PART ...]
    Installs the wheels of DIR into a folder of its own, which is removed at the end, and measures. Without DIR the packages
    of the current Python are used. Writes gpu.json and gpu.md into FOLDER after every measurement; the default is $OUT or
    gpu-results. --cpu --tiny tries everything with tiny models on the CPU. Exits with 1 if a measurement failed.

The Python is python3, or what the variable PYTHON names.
TEXT
}

fail() {
  echo "gpu.sh: $1" >&2
  exit 2
}

wheels() {
  local folder="" version=3.12 platforms=() total=0 size minor
  while (($#)); do
    case $1 in
      --python) version=${2:?--python needs a version} && shift 2 ;;
      -*) fail "unknown option $1" ;;
      *) folder=$1 && shift ;;
    esac
  done
  [ -n "$folder" ] || fail "wheels needs a folder"
  mkdir -p "$folder"
  rm -f -- "$folder"/*.whl
  for minor in {5..28}; do # of the C library; pip takes each by its name alone
    platforms+=(--platform "manylinux_2_${minor}_x86_64")
  done
  platforms+=(--platform manylinux1_x86_64 --platform manylinux2010_x86_64 --platform manylinux2014_x86_64)
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
    "${platforms[@]}" --dest "$folder" --requirement "$here/gpu.txt"
  # its kernels are compiled where they are asked for, and here none is
  DS_BUILD_OPS=0 "$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder" "$deepspeed"
  "$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder" "$root"
  for file in "$folder"/*.whl; do
    case $file in
      *-none-any.whl | *manylinux*) ;;
      *) fail "${file##*/} was built for this machine, not for the other" ;;
    esac
    size=$(wc -c <"$file")
    total=$((total + size))
    printf '%8d kB  %s\n' $((size / 1000)) "${file##*/}"
  done
  printf '%8d kB  in all\n' $((total / 1000))
  ((total < most)) || fail "the wheels are larger than $((most / 1000000)) MB"
}

run() {
  local folder="" minutes=8 options=() scratch seconds
  if (($#)) && [[ $1 != -* ]]; then
    folder=$1 && shift
  fi
  while (($#)); do
    case $1 in
      --minutes) minutes=${2:?--minutes needs a number} && shift 2 ;;
      *) options+=("$1") && shift ;;
    esac
  done
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  if [ -n "$folder" ]; then
    compgen -G "$folder/*.whl" >/dev/null || fail "there are no wheels in $folder; make them with gpu.sh wheels"
    timeout 120 "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
      --no-cache-dir --target "$scratch/site" "$folder"/*.whl
    echo "installed in $SECONDS s"
  elif ! "$python" -c 'import anyio, pydantic, networkx, torch, transformers, trl, peft' 2>/dev/null; then
    fail "$(command -v "$python" || echo "$python") lacks the packages; name another with PYTHON=..., or a folder of wheels"
  fi
  # the code that is measured is this checkout's; its wheel says what is installed
  export PYTHONPATH="$root:$scratch/site${PYTHONPATH:+:$PYTHONPATH}"
  seconds=$((minutes * 60 - SECONDS))
  # the last 20 s are for removing what is not kept, which a slow disk may take longer for
  exec timeout --foreground --kill-after=10 $((seconds + 30)) \
    "$python" "$here/gpu_run.py" --seconds $((seconds - 20)) --scratch "$scratch" "${options[@]}"
}

case ${1:-} in
  wheels) shift && wheels "$@" ;;
  run) shift && run "$@" ;;
  -h | --help) usage ;;
  *) usage >&2 && exit 2 ;;
esac
