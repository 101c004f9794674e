#!/usr/bin/env bash
# Train all parameters of an 8B model on several machines with DeepSpeed. On every one: pip install "mctsdialog[train]",
# and the data and the output folder under the same path.
#
#   examples/deepspeed_nodes.sh check                          # the settings, before anything is loaded
#   HOSTFILE=hosts examples/deepspeed_nodes.sh deepspeed       # on the first machine; it reaches the others by ssh
#   NODES=2 RANK_OF_NODE=0 MASTER=10.0.0.1 examples/deepspeed_nodes.sh torchrun     # on each machine, with its rank
#   examples/deepspeed_nodes.sh try                            # two processes on this machine's CPU, two steps
#
# A line of the host file reads: 10.0.0.1 slots=8
set -euo pipefail

DATA=${DATA:-/shared/preferences}
OUT=${OUT:-/shared/run}
MODEL=${MODEL:-meta-llama/Llama-3.1-8B-Instruct}
GPUS=${GPUS:-8}                                # of each machine
NODES=${NODES:-2}
RANK_OF_NODE=${RANK_OF_NODE:-0}
MASTER=${MASTER:-localhost}                    # an address of the first machine that the others reach
PORT=${PORT:-29500}

# batch_size is the global batch: accumulation follows from the number of GPUs.
SETTINGS=(--data "$DATA" --model "$MODEL" --preset llama3.1-8b-full-dpo --output-dir "$OUT" --zero-stage 3)

case ${1:-} in
check)
    python -m cso_train config show "${SETTINGS[@]}" --batch-size 32
    ;;
deepspeed)
    deepspeed --hostfile "${HOSTFILE:-hostfile}" --master_addr "$MASTER" --master_port "$PORT" \
        --module cso_train train "${SETTINGS[@]}" --batch-size 32
    ;;
torchrun)
    torchrun --nnodes "$NODES" --nproc_per_node "$GPUS" --node_rank "$RANK_OF_NODE" --master_addr "$MASTER" \
        --master_port "$PORT" -m cso_train train "${SETTINGS[@]}" --batch-size 32
    ;;
try)
    torchrun --nproc_per_node 2 -m cso_train train --data "$DATA" --method dpo --zero-stage 2 --batch-size 2 \
        --max-steps 2 --logging-steps 1 --output-dir "$OUT"
    ;;
*)
    echo "usage: $0 check | deepspeed | torchrun | try" >&2
    exit 2
    ;;
esac
