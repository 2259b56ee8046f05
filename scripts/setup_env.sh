#!/usr/bin/env bash
# Makes the virtual environment that quickstart.sh and test.sh run in.
#
#   bash scripts/setup_env.sh [EXTRAS]     EXTRAS: weights,transfer by default
#
# Creates .venv (or the folder named by EFFICIENTNET_TF_VENV) if there is none,
# installs the package with its extras if they changed since the last time, and
# prints the environment's folder on standard output; the rest goes to standard
# error.
set -euo pipefail

extras=${1:-weights,transfer}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=${EFFICIENTNET_TF_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
stamp=$venv/.installed-${extras//,/-}
supported='import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13)'

say() { echo "setup_env: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# A version manager's stub can be on the path and still not run: try each one.
find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c "$supported; import ensurepip, venv" 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  fail "no Python 3.11, 3.12 or 3.13 with venv was found on the PATH; install" \
    "one (on Debian and Ubuntu: python3.12 and python3.12-venv)"
}

show_progress() {
  local line
  while IFS= read -r line; do
    case $line in
      *Downloading* | *"Using cached"*) echo "$line" ;;
      Installing*) say "unpacking" ;;
    esac
  done >&2
}

if [[ ! -x $venv/bin/pip ]]; then
  python=$(find_python)
  say "creating $venv with $("$python" --version)"
  "$python" -m venv "$venv" || fail "could not create $venv"
fi
"$venv/bin/python" -c "$supported" 2>/dev/null ||
  fail "$venv does not hold a working Python 3.11 to 3.13; remove that folder" \
    "and run this again"

# Both files are about broken-off installations, which the next call repeats:
# one says what is complete, the other that something is under way.
cd "$root"
wanted="$root $(cat setup.cfg pyproject.toml | cksum)"
if [[ -e $venv/.installing || $(cat "$stamp" 2>/dev/null) != "$wanted" ]]; then
  say "installing efficientnet-tf[$extras]: once, some minutes, about 3 GB"
  touch "$venv/.installing"
  "$venv/bin/python" -m pip install --disable-pip-version-check \
    --editable ".[$extras]" | show_progress ||
    fail "pip could not install: see above (the first run needs the network" \
      "or another package index)"
  echo "$wanted" >"$stamp"
  rm "$venv/.installing"
fi
echo "$venv"
