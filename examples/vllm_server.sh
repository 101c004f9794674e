#!/usr/bin/env bash
# Search a corpus with models behind vLLM. On a machine with GPUs: pip install vllm, and the library anywhere.
#
#   export VLLM_API_KEY=...
#   MODEL=Qwen/Qwen2.5-32B-Instruct GPUS=4 examples/vllm_server.sh serve     # in one terminal, until Ctrl-C
#   MODEL=Qwen/Qwen2.5-32B-Instruct examples/vllm_server.sh search dialogues.jsonl
set -euo pipefail

MODEL=${MODEL:-Qwen/Qwen2.5-7B-Instruct}
GPUS=${GPUS:-1}                                # that one copy of the model is spread over
PORT=${PORT:-8000}
URL=${URL:-http://localhost:$PORT/v1}
: "${VLLM_API_KEY:?set it to a key of your own choice, the same in both terminals}"
export VLLM_API_KEY

case ${1:-} in
serve)
    # The roles' prompts begin with what is constant: prefix caching (on by default) is what makes them cheap. A search
    # needs some 2,000 tokens of prompt and the conversation.
    vllm serve "$MODEL" --host 127.0.0.1 --port "$PORT" --tensor-parallel-size "$GPUS" --max-model-len 8192 \
        --enable-prefix-caching
    ;;
search)
    # Is it there, under which name?
    curl --fail --silent --show-error --header "Authorization: Bearer $VLLM_API_KEY" "$URL/models"
    echo

    # A few dialogues first, with a bound on what they may cost; the best path of all is printed.
    mctsdialog search "$2" --model "$MODEL" --base-url "$URL" --api-key-env VLLM_API_KEY --out trees \
        --limit 3 --max-iterations 20 --max-calls 3000

    # Then all of them. --adaptive finds how many calls at once the server takes; the same command goes on after a stop.
    mctsdialog search "$2" --model "$MODEL" --base-url "$URL" --api-key-env VLLM_API_KEY --out trees-all \
        --concurrency 256 --adaptive
    mctsdialog preferences trees-all --out preferences --split train=0.9,test=0.1
    ;;
*)
    echo "usage: $0 serve | search DIALOGUES" >&2
    exit 2
    ;;
esac
