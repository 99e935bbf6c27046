#!/usr/bin/env bash
# The dashboard's tests that need Node: types, the committed dist against its sources, and the page in a browser.
#   run.sh SOURCE_DIR WORK_DIR EXOC DASHBOARD_FIXTURE
# 77 (skipped) with the reason where something is not there; screenshots stay in WORK_DIR/screenshots.
set -euo pipefail
source_dir=$1 work=$2 exoc=$3 fixture=$4
tests=$source_dir/tests/executor/dashboard page=$source_dir/executor/dashboard

skip() { echo "SKIPPED: $*"; exit 77; }
command -v node >/dev/null || skip "no node (apt-get install nodejs npm)"
command -v npm >/dev/null || skip "no npm (apt-get install npm)"
(( $(node -p 'process.versions.node.split(".")[0]') >= 18 )) || skip "node 18 or later is needed, here is $(node --version)"

# A copy beside the build: nothing is installed into the source tree. Packages are those of the lock file, without their scripts.
mkdir -p "$work/serve" "$work/dashboard/src"
if ! cmp -s "$page/package-lock.json" "$work/dashboard/installed-lock.json"; then
  cp "$page/package.json" "$page/package-lock.json" "$work/dashboard"
  (cd "$work/dashboard" && npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1) || skip "npm ci: $(tail -n 3 "$work/dashboard/npm.log")"
  cp "$page/package-lock.json" "$work/dashboard/installed-lock.json"
fi
rm -rf "$work/dashboard/src" "$work/serve/state"
mkdir -p "$work/serve/state"
cp -r "$page"/{src,index.html,build.mjs,contract.mjs,tsconfig.json,package.json} "$work/dashboard"
cp "$source_dir/executor/serve/state/cluster_state.schema.json" "$work/serve/state"
cd "$work/dashboard"

echo "== dist is what its sources make"
node build.mjs --out "$work/dist" >/dev/null
diff "$work/dist/files.cmake" "$page/dist/files.cmake" || { echo "dist/ is stale: npm ci && npm run build in executor/dashboard, and commit it"; exit 1; }
echo "== types"
npm run -s check

chromium=${EXO_CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
[[ -n $chromium ]] || skip "no chromium (apt-get install chromium); types and dist were checked"

plan() { "$exoc" compile "${@:2}" --out "$work/plans/$1" --dump_ir none >/dev/null && "$fixture" "$work/plans/$1" >"$work/fixtures/$1.json"; }
rm -rf "$work/plans" "$work/fixtures"
mkdir -p "$work/plans" "$work/fixtures"
plan one qwen3-0.6b --nodes 1 --quant q8
plan three llama-3.1-70b --nodes "$tests/plans/three.json" --strategy tp --quant q4
plan moe qwen3-30b-a3b --nodes "$tests/plans/three.json" --strategy tp --quant q4
plan sixteen llama-3.1-405b --nodes "$tests/plans/sixteen.json" --quant q4
plan pipeline qwen3-235b-a22b --nodes "$tests/plans/sixteen.json" --strategy tp2pp8 --quant q4

export EXO_CHROMIUM=$chromium EXO_NODE_MODULES=$work/dashboard/node_modules EXO_FIXTURE=$fixture EXO_FIXTURES=$work/fixtures \
  EXO_SCREENSHOTS=$work/screenshots EXO_STATE_SCHEMA=$source_dir/executor/serve/state/cluster_state.schema.json
echo "== a mock server"
node --test "${@:5}" "$tests/dashboard.test.mjs"

# A model that answers, with a template that leaves the user's words as they are.
rm -rf "$work/tiny"
python3 "$source_dir/models/tiny/make.py" "$work/tiny" >/dev/null
python3 - "$work/tiny/tokenizer_config.json" <<'PYTHON'
import json, sys
config = json.load(open(sys.argv[1]))
config["chat_template"] = "{{ messages[-1].content }}"
json.dump(config, open(sys.argv[1], "w"))
PYTHON
echo "the-right-key" >"$work/keys"
echo "== real servers"
EXO_EXOC=$exoc EXO_MODEL=$work/tiny EXO_KEY_FILE=$work/keys node --test "${@:5}" "$tests/server.test.mjs"
