#!/usr/bin/env bash
# run.sh SOURCE TARGET FILE: one file of tests beside the installed clients.
set -euo pipefail
source=$1 target=$2 file=$3
[[ -f $target/installed ]] || { echo "SKIPPED: the clients are not installed (test clients.install says why)"; exit 77; }
cp "$source"/*.mjs "$target/"
cd "$target"
exec timeout 100 node --test --test-timeout=30000 "$file"
