#!/usr/bin/env bash
# Does distillation make small networks robust on CIFAR-10? Trains a teacher, then runs a study with it: for one GPU.
#
#   launch/gpu_study.sh                                      in runs/gpu_study, with CUDA 13
#   launch/gpu_study.sh --accelerator=cuda12 --workdir=DIR --config.data.dir=DIR
#   launch/gpu_study.sh --accelerator=cpu --teacher=CONFIG --study=CONFIG      other configurations
#
# Every --config.key=value goes to both. Started again, it goes on where it stopped; the study's page is
# WORKDIR/study/study.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
called_from=$PWD
source "$here/launch/environment.sh"
help_asked "${BASH_SOURCE[0]}" "$@" && exit

accelerator=cuda13 workdir=$here/runs/gpu_study overrides=()
teacher=$here/configs/teachers/cifar10.py study=$here/configs/rnas_cl/cifar10.py:study
while [ $# -gt 0 ]; do
  case $1 in
    --accelerator=*) accelerator=${1#*=} ;;
    --workdir=*) workdir=${1#*=} ;;
    --teacher=*) teacher=${1#*=} ;;
    --study=*) study=${1#*=} ;;
    --config.*=*) overrides+=("$1") ;;
    *) echo "error: unknown argument $1; see $0 --help" >&2; exit 2 ;;
  esac
  shift
done

cd "$here"
prepare_environment "$accelerator"
cd "$called_from"
rnas=$here/.venv/bin/rnas
"$rnas" teacher train "--config=$teacher" "--workdir=$workdir/teacher" ${overrides[@]+"${overrides[@]}"}
exec "$rnas" study "--config=$study" "--workdir=$workdir/study" ${overrides[@]+"${overrides[@]}"} \
  "--config.teacher.path=$(cd "$workdir/teacher/teacher" && pwd)"
