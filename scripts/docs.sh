#!/usr/bin/env bash
# Builds the documentation site in build/site; a broken link fails.
#
#   bash scripts/docs.sh
#   python -m http.server --directory build/site    # search needs a server
#
# Arguments go to `mkdocs build`.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(bash scripts/setup_env.sh weights,transfer,docs)
# Of the theme: what its makers say of mkdocs 2, at each build.
export NO_MKDOCS_2_WARNING=1
"$venv/bin/python" -m mkdocs build --strict --quiet "$@"
echo "The site is in build/site."
