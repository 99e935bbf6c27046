# In each of two guests: its node of a plan. The first guest also asks: one short request, then a long one in the middle of
# which the second guest loses its power. Leaves in $OUT: logits and tokens of the first; node.log, node.status (of the first
# node, after that), run.log, run.status.
#   two_nodes.sh EXO_EXEC EXOC PLAN SECRET_FILE TOKENS
exo_exec=$1 exoc=$2 plan=$3 secret=$4 tokens=$5
node=("$exo_exec" --plan="$plan" --node="n$RANK" --secret_file="$secret" --threads=1 --transport=verbs --cache_dir=none)
[[ $RANK == 0 ]] || exec "${node[@]}"

ask=("$exoc" run "$plan" --connect="$MY_IP:52416" --secret_file="$secret" --tokens="$tokens" --ignore_eos)
# until SECONDS COMMAND...
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  while ! "$@"; do
    ((SECONDS < deadline)) || { echo "waited in vain: $*"; exit 1; }
    sleep 0.1
  done
}

"${node[@]}" 2>"$OUT/node.log" &
node_pid=$!
until_true 150 grep -q 'ready: node' "$OUT/node.log"
"${ask[@]}" --max_tokens=16 --logits="$OUT/logits" --tokens_out="$OUT/tokens" || exit 1

"${ask[@]}" --max_tokens=400 >/tmp/text 2>"$OUT/run.log" &
ask_pid=$!
until_true 60 test -s /tmp/text
touch "$OUT/kill.1"
killed=$SECONDS
until_true 60 eval "! kill -0 $node_pid 2>/dev/null"
wait $node_pid
echo $? >"$OUT/node.status"
wait $ask_pid
echo $? >"$OUT/run.status"
echo "ended $((SECONDS - killed)) s after the other guest"
