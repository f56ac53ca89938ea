#!/usr/bin/env bash
# One sweep on a Ray cluster that exists as long as this SLURM job: head and driver on its first node, workers on all.
#
#   export EMBSWEEP_STORAGE=/a/folder/that/every/node/sees
#   sbatch --nodes=4 --gpus-per-node=4 --cpus-per-task=32 deploy/slurm.sh +sweep=bgem3 data=files data.pairs=/a/p.jsonl
#
# Run it from the checkout. The same command resumes the sweep after a time limit or a crash.
# EMBSWEEP_VENV names another virtual environment than .venv of the checkout; every node must have it at this path.
# EMBSWEEP_SCRATCH names another folder of each node than /tmp for Ray's logs and sockets; its path must be short.

#SBATCH --job-name=embsweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --output=embsweep-%j.log
# A node that fails does not end the job: its trials resume on other nodes. Two minutes before the time limit the sweep
# receives SIGTERM, so that it can end as after Ctrl-C.
#SBATCH --no-kill
#SBATCH --signal=B:TERM@120

set -euo pipefail

: "${SLURM_JOB_ID:?run it with sbatch}"
: "${EMBSWEEP_STORAGE:?a folder that every node sees at this path, for checkpoints and results}"
: "${EMBSWEEP_VENV:=$SLURM_SUBMIT_DIR/.venv}"
: "${EMBSWEEP_SCRATCH:=/tmp}"
cd "$SLURM_SUBMIT_DIR"

python=$EMBSWEEP_VENV/bin/python
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
port=$((20000 + SLURM_JOB_ID % 10000)) # two jobs may share a node
scratch=$EMBSWEEP_SCRATCH/ray-$SLURM_JOB_ID
token=$EMBSWEEP_STORAGE/.ray-token-$SLURM_JOB_ID
steps=()
# The head's server for Ray Client is not needed here. It starts if grpc is installed, and would use port 10001.
client=()
if "$python" -c 'import grpc' 2>/dev/null; then client=(--ray-client-server-port=$((port + 10000))); fi

# shellcheck disable=SC2329
clean_scratch() {
    local left # fewer than at the start if a node failed: then the variables of the job are wrong, and srun uses them
    left=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%D)
    unset SLURM_JOB_NUM_NODES SLURM_NNODES SLURM_NTASKS SLURM_NPROCS
    timeout 60 srun --overlap --nodes="$left" --ntasks="$left" --ntasks-per-node=1 rm -rf "$scratch" </dev/null
}

# `ray stop` would end every Ray process of this user on a node, also of other jobs: each step is ended separately.
# shellcheck disable=SC2329  # called by the trap
end_cluster() {
    trap '' TERM INT
    for ((i = ${#steps[@]} - 1; i >= 0; i--)); do # the head last: nodes that end notify it
        kill -TERM "${steps[i]}" 2>/dev/null || true
        wait "${steps[i]}" || true
    done
    rm -f "$token"
    clean_scratch || true
}
trap end_cluster EXIT

mkdir -p "$EMBSWEEP_STORAGE"
rm -f "$token"
(umask 077 && "$python" -c 'import secrets; print(secrets.token_hex(32), end="")' >"$token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # nodes are only ended when nothing runs on them

options=(--block --num-cpus="$SLURM_CPUS_PER_TASK" --temp-dir="$scratch" --disable-usage-stats)
step=(srun --no-kill --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --cpu-bind=none)

"${step[@]}" --nodes=1 --ntasks=1 --nodelist="$head" "$EMBSWEEP_VENV/bin/ray" start --head --port="$port" \
    "${client[@]}" --include-dashboard=false "${options[@]}" </dev/null &
steps+=($!)
"$python" deploy/wait_for_nodes.py "$head:$port" 1

others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
    "${step[@]}" --nodes="$others" --ntasks="$others" --relative=1 --kill-on-bad-exit=0 --wait=0 \
        "$EMBSWEEP_VENV/bin/ray" start --address="$head:$port" "${options[@]}" </dev/null &
    steps+=($!)
    "$python" deploy/wait_for_nodes.py "$head:$port" "$SLURM_JOB_NUM_NODES"
fi

# A background command of a script ignores SIGINT by default.
env --default-signal=INT "$python" run_sweep.py "$@" runner=cluster runner.address="$head:$port" \
    storage.path="$EMBSWEEP_STORAGE" &
driver=$!
trap 'signalled=1; kill -INT "$driver" 2>/dev/null || true' TERM

signalled=1
while ((signalled)); do # a signal ends `wait`, but not the driver
    signalled=0 code=0
    wait "$driver" || code=$?
done
exit "$code"
