#!/usr/bin/env bash
# Format check, lint, types and the tests; arguments go to pytest.
#
#   bash scripts/test.sh
#   bash scripts/test.sh tests/models -k lite
#   bash scripts/test.sh -m slow
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(bash scripts/setup_env.sh weights,transfer,deploy,serve,hf,docs,test)
"$venv/bin/python" -m ruff format --check .
"$venv/bin/python" -m ruff check .
"$venv/bin/python" -m mypy
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@"
