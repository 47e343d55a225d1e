#!/usr/bin/env bash
# Train on several GPUs, or in as many processes where there is none.
set -euo pipefail

USAGE='usage: tools/dist_train.sh CONFIG GPUS [arguments of train.py]'
CONFIG=${1:?$USAGE}
GPUS=${2:?$USAGE}
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}"
