#!/usr/bin/env bash
# install.sh SOURCE TARGET: the pinned clients into TARGET/node_modules, unless they are there. 77 (skipped, with the reason) without
# node, npm, or the registry.
set -euo pipefail
source=$1 target=$2
skip() { echo "SKIPPED: the clients' tests need $*"; exit 77; }
command -v node >/dev/null || skip "node"
(( $(node -p 'process.versions.node.split(".")[0]') >= 20 )) || skip "node 20 or later, this is $(node --version)"
mkdir -p "$target"
if [[ -f $target/installed ]] && cmp -s "$source/package-lock.json" "$target/installed"; then exit 0; fi
command -v npm >/dev/null || skip "npm"
cp "$source/package.json" "$source/package-lock.json" "$target/"
cd "$target"
timeout 200 npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || skip "npm's registry"
cp "$source/package-lock.json" installed
