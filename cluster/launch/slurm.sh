#!/usr/bin/env bash
# One experiment on Slurm: Ray on the nodes of this job, the head on its first, all of it gone when the job ends.
# Needs: nodes, a folder that all of them mount, tunefleet in a virtual environment there. Edit the #SBATCH lines:
#     sbatch --export=ALL,VENV=/shared/venv,STORAGE=/shared/runs slurm.sh experiment.yaml [KEY=VALUE ...]
# The log says how to watch it from a laptop. W&B and hub keys: files of mode 0600 on the shared disk, named in the spec
# (wandb.key_file) or by HF_TOKEN_PATH. The study store: a PostgreSQL URL in TUNEFLEET_STORE, else SQLite in the run
# folder, which tunefleet refuses on a network disk. Three minutes before the time limit, and by
# `scancel --signal=USR1 --batch JOB`, the experiment stops cleanly; sent again, it goes on.
#SBATCH --job-name=tunefleet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --output=tunefleet-%j.log
set -euo pipefail

spec=$(realpath "${1:?usage: sbatch slurm.sh SPEC [KEY=VALUE ...]}")
shift
: "${VENV:?the virtual environment with tunefleet}" "${STORAGE:?the folder for runs, on the shared disk}"
export PATH=$VENV/bin:$PATH

# A token of this job's own, on the shared disk, for its owner alone; gone with the job.
umask 077
mkdir -p "$STORAGE"
token=$STORAGE/.token-$SLURM_JOB_ID
python -c 'import secrets; print(secrets.token_hex(32))' >"$token"
trap 'rm -f "$token"' EXIT
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token
unset RAY_AUTH_TOKEN RAY_ADDRESS

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# Its address and two ports that are free there: nodes may be shared with other jobs of Ray.
read -r head_ip port dashboard < <(srun --nodes=1 --ntasks=1 -w "$head" python -c '
import socket, ray
free = [socket.create_server(("", 0)) for _ in range(2)]
print(ray.util.get_node_ip_address(), *(one.getsockname()[1] for one in free))')
cpus=$SLURM_CPUS_ON_NODE
gpus=${SLURM_GPUS_ON_NODE:-0}

# One step per node, in the foreground: Slurm ends its processes with the job, whatever happens to this script.
on_node() {
    srun --nodes=1 --ntasks=1 --cpus-per-task="$cpus" --overlap -w "$1" "${@:2}" &
}
on_node "$head" tunefleet cluster start --head -- --block --node-ip-address="$head_ip" --port="$port" \
    --dashboard-host=127.0.0.1 --dashboard-port="$dashboard" --num-cpus="$cpus" --num-gpus="$gpus"
head_step=$!
until ray health-check --address "$head_ip:$port" 2>/dev/null; do
    kill -0 "$head_step" || { echo "the head did not start; the log above says why" >&2; exit 1; }
    sleep 2
done
for node in "${nodes[@]:1}"; do
    on_node "$node" tunefleet cluster start --address="$head_ip:$port" -- --block --num-cpus="$cpus" --num-gpus="$gpus"
done
python - "$head_ip:$port" "${#nodes[@]}" <<'PYTHON'
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)
deadline = time.monotonic() + 300
while (alive := sum(node["Alive"] for node in ray.nodes())) < int(sys.argv[2]):
    if time.monotonic() > deadline:
        sys.exit(f"only {alive} of {sys.argv[2]} nodes joined within 300 s; the log above says why")
    time.sleep(1)
PYTHON

echo "To watch it, on a laptop:"
echo "  (umask 077; mkdir -p ~/.ray; ssh LOGIN_NODE cat $token > ~/.ray/auth_token)"
echo "  ssh -N -J LOGIN_NODE -L 8265:127.0.0.1:$dashboard $head"
echo "  http://127.0.0.1:8265 in a browser, which asks for that token"

overrides=(cluster.address="$head_ip:$port" cluster.storage="$STORAGE" "$@")
name=$(python -c 'import sys, tuning; print(tuning.load_spec(sys.argv[1], sys.argv[2:]).name)' "$spec" "${overrides[@]}")
# With job control, or a command in the background would ignore Ctrl-C's signal, by which Tune stops cleanly.
set -m
if [[ -e $STORAGE/$name/spec.yaml ]]; then
    tunefleet resume "$STORAGE/$name" cluster.address="$head_ip:$port" &
else
    tunefleet run "$spec" "${overrides[@]}" &
fi
driver=$!
set +m
trap 'kill -INT "$driver" 2>/dev/null || true' USR1 TERM
status=0
wait "$driver" || status=$?
while kill -0 "$driver" 2>/dev/null; do    # a signal ends `wait`, not the driver
    status=0
    wait "$driver" || status=$?
done
exit "$status"
