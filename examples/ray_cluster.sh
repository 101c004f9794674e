#!/usr/bin/env bash
# Search a corpus with the workers of a Ray cluster. On every machine: pip install "mctsdialog[ray]", the same folder
# under the same path, and the server's key in its environment (keys do not travel). Whoever reaches a cluster can run
# code on it; Ray's token keeps strangers out: "head" makes it, copy ~/.ray/auth_token to the same place on the others.
#
#   examples/ray_cluster.sh head                       # on the first machine
#   HEAD=10.0.0.1 examples/ray_cluster.sh worker       # on each of the others
#   examples/ray_cluster.sh search dialogues.jsonl     # on the first machine; the same again goes on
#   examples/ray_cluster.sh stop                       # on each
#   examples/ray_cluster.sh try dialogues.jsonl        # two workers on this machine alone, with the embedded model
set -euo pipefail

HEAD=${HEAD:-127.0.0.1}
MODEL=${MODEL:-Qwen/Qwen2.5-7B-Instruct}
URL=${URL:-http://router:8000/v1}              # one address, with any number of servers behind it
OUT=${OUT:-/shared/trees}
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}   # "disabled" for a network of its own
export RAY_USAGE_STATS_ENABLED=${RAY_USAGE_STATS_ENABLED:-0}

case ${1:-} in
head)
    [ "$RAY_AUTH_MODE" != token ] || ray get-auth-token --generate > /dev/null
    ray start --head --port 6379
    ;;
worker)
    ray start --address "$HEAD:6379"
    ;;
search)
    ray status
    # The limits and the budget are of all workers together; each has its share. The cache is on each machine's own
    # disk, for a shared one over NFS would be slow: journals suffice to go on.
    mctsdialog search "$2" --model "$MODEL" --base-url "$URL" --out "$OUT" --concurrency 512 --max-calls 2000000 \
        --cache /var/tmp/mctsdialog-cache --ray auto
    ;;
stop)
    ray stop
    ;;
try)
    mctsdialog search "$2" --out trees-ray --limit 2 --max-iterations 2 --min-iterations 1 --horizon 1 \
        --ray local --ray-workers 2
    ;;
*)
    echo "usage: $0 head | worker | search DIALOGUES | stop | try DIALOGUES" >&2
    exit 2
    ;;
esac
