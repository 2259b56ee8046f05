#!/usr/bin/env bash
# The main job from one command: fine-tune, evaluate, export, predict.
set -euo pipefail

usage() {
  cat <<'TEXT'
bash scripts/quickstart.sh [--task=TASK] [--workdir=DIR] [flags of efficientnet finetune]

Sets up .venv on the first run, fits a linear classifier on EfficientNet-Lite0's
ImageNet features of TASK (default: digits, which needs no download), trains the
network if that is better, scores on images that it never saw, writes logs,
results and a SavedModel to DIR (default: runs/quickstart-TASK) and predicts a
few images. The last line is one JSON object with the numbers. After an
interrupt, the same command resumes.
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
task=digits
workdir=
previous=
for arg in "$@"; do
  case $arg in
    -h | --help) usage && exit ;;
    --task=*) task=${arg#*=} ;;
    --workdir=*) workdir=${arg#*=} ;;
    *) case $previous in
      --task) task=$arg ;;
      --workdir) workdir=$arg ;;
    esac ;;
  esac
  previous=$arg
done
# A folder task's name is a path, which cannot be part of a folder's name.
workdir=${workdir:-$root/runs/quickstart-${task//[^A-Za-z0-9_]/-}}

venv=$(bash "$root/scripts/setup_env.sh" weights,transfer)
efficientnet=$venv/bin/efficientnet

# Its JSON line is also the last line of this script.
output=$(mktemp)
trap 'rm -f "$output"' EXIT
"$efficientnet" finetune --task="$task" --model=efficientnet_lite0 \
  --weights=imagenet --workdir="$workdir" "$@" |
  tee "$output"
"$efficientnet" export --workdir="$workdir" --output="$workdir/saved_model"
images=("$workdir"/examples/*.png)
"$efficientnet" predict --workdir="$workdir" "${images[@]:0:4}"

cat <<TEXT

What next:
  $venv/bin/tensorboard --logdir="$workdir"
  $efficientnet predict --workdir="$workdir" YOUR_IMAGE.png
  bash $root/scripts/quickstart.sh --task=cifar10
  bash $root/scripts/quickstart.sh --task=folder:PATH   # one sub-folder per class

TEXT
tail -n 1 "$output"
