#!/usr/bin/env bash
# Runs an experiment on all hosts of a Cloud TPU slice, one process per host.
#
#   TPU_NAME=… TPU_ZONE=… launch/tpu_pod.sh --config=configs/rnas_cl/….py --workdir=/mnt/…
#
# Copies what is committed here to every host, makes the environment there and starts `rnas run`. The project
# is the one that gcloud is set to. The work directory must be on a file system that all hosts have mounted
# under the same path. Started again with the same arguments, the run goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null
source launch/environment.sh
help_asked launch/tpu_pod.sh "$@" && exit
: "${TPU_NAME:?set it to the name of the TPU slice}" "${TPU_ZONE:?set it to the zone of the TPU slice}"
[ $# -gt 0 ] || { help_asked launch/tpu_pod.sh --help >&2; exit 2; }
command -v gcloud >/dev/null || { echo "error: gcloud is not installed; see https://cloud.google.com/sdk" >&2; exit 1; }

on_all_hosts() { gcloud compute tpus tpu-vm "$1" --zone="$TPU_ZONE" --worker=all "${@:2}"; }

archive=$(mktemp -t rnas.XXXXXX)
trap 'rm -f "$archive"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
on_all_hosts scp "$archive" "$TPU_NAME:rnas.tar.gz"

# Quoted for the shells of the hosts, which read the command once more.
printf -v arguments '%q ' "$@"
on_all_hosts ssh "$TPU_NAME" --command="
set -euo pipefail
mkdir -p rnas && tar -xzf rnas.tar.gz -C rnas && cd rnas
source launch/environment.sh
prepare_environment tpu
exec .venv/bin/rnas run --distributed $arguments"
