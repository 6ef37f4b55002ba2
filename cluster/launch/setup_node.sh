#!/usr/bin/env bash
# What a node of a `ray up` cluster (on_premise.yaml, aws.yaml, gcp.yaml) needs before Ray starts on it: the token
# readable by its owner alone, tunefleet with the pinned versions, the shared folder.
# Needs Debian or Ubuntu with Python 3.11 or newer; run again, it repeats nothing.
#     setup_node.sh CLONE FOLDER [NFS_EXPORT]
set -euo pipefail

clone=$1 folder=$2 export_of_nfs=${3:-}
venv=$HOME/tunefleet-venv

chmod 700 "$HOME/.ray"
chmod 600 "$HOME/.ray/auth_token"

if [[ -n $export_of_nfs ]] && ! mountpoint -q "$folder"; then
    sudo DEBIAN_FRONTEND=noninteractive apt-get update -q
    sudo DEBIAN_FRONTEND=noninteractive apt-get install -q -y nfs-common
    sudo mkdir -p "$folder"
    sudo mount -t nfs4 -o nfsvers=4.1,hard,timeo=600,noresvport "$export_of_nfs" "$folder"
    # The root of a fresh export belongs to root there.
    [[ -w $folder ]] || sudo chown "$(id -u):$(id -g)" "$folder"
fi
[[ -d $folder && -w $folder ]] || {
    echo "$folder: no folder that $(id -un) may write; it has to be the same one on every node" >&2
    exit 1
}

if ! python3 -c 'import ensurepip' 2>/dev/null; then
    sudo DEBIAN_FRONTEND=noninteractive apt-get update -q
    sudo DEBIAN_FRONTEND=noninteractive apt-get install -q -y python3-venv
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"tunefleet needs Python 3.11 or newer, not {sys.version}")'
[[ -x $venv/bin/python ]] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --constraint "$clone/docker/constraints.txt" "${clone}[quickstart,postgres]"

# The shells of `ray up`, `ray exec` and `ray dashboard`, and the jobs that are submitted, find the commands here.
line="export PATH=$venv/bin:\$PATH"
grep -qxF "$line" "$HOME/.bashrc" 2>/dev/null || echo "$line" >>"$HOME/.bashrc"
