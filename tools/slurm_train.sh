#!/usr/bin/env bash
# Train under Slurm.
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS are taken from outside.
set -euo pipefail

USAGE='usage: tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of train.py]'
PARTITION=${1:?$USAGE}
JOB=${2:?$USAGE}
CONFIG=${3:?$USAGE}
WORK_DIR=${4:?$USAGE}
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -r -a MORE <<< "${SRUN_ARGS:-}"

PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
exec srun -p "$PARTITION" \
    --job-name="$JOB" \
    --gres="gpu:${GPUS_PER_NODE:-8}" \
    --ntasks="${GPUS:-8}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${MORE[@]+"${MORE[@]}"} \
    "${PYTHON:-python}" -u "$TOOLS/train.py" "$CONFIG" \
    --work-dir "$WORK_DIR" --launcher slurm "${@:5}"
