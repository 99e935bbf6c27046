#!/bin/bash
# Runs the RUN lines of one test file as LLVM's lit does: run_exoir.sh FILE EXOC LLVM_BIN SCRATCH
# %s is the file, %t a scratch path; exoc, FileCheck, not and split-file are found; every RUN line must succeed.
set -u -o pipefail
file=$1 exoc=$2 tools=$3 scratch=$4
rm -rf "$scratch" && mkdir -p "$scratch/bin" || exit 1
ln -s "$exoc" "$scratch/bin/exoc"
export PATH="$scratch/bin:$tools:$PATH" FILECHECK_OPTS="--allow-unused-prefixes=false --dump-input=fail"
runs=0
while IFS= read -r line; do
  command=${line#*RUN: }
  command=${command//%s/$file}
  command=${command//%t/$scratch/t}
  runs=$((runs + 1))
  if ! timeout 60 bash -o pipefail -c "$command"; then
    echo "$file: failed: $command" >&2
    exit 1
  fi
done < <(grep '^// RUN: ' "$file")
[ "$runs" -gt 0 ] || { echo "$file: has no RUN line" >&2; exit 1; }
