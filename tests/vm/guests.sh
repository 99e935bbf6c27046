#!/usr/bin/env bash
# Runs a shell command in one or two small virtual machines that have a real verbs device: Soft-RoCE (rdma_rxe) of Debian's
# own kernel. The host needs no InfiniBand, no root and no hardware virtualisation.
#
#   guests.sh [-n 1|2] [-t seconds] [-m MiB] -o OUT -c CACHE -- 'command'
#
# The root of a guest is that of the host, read-only, under a file system in memory: every path is the same there, and what a
# guest writes vanishes with it, except in $OUT. The command runs in all guests at once, when all have their device, with
#   RANK (0, 1)   MY_IP   PEER_IP (its own with -n 1)   OUT (OUT on the host)
# `touch $OUT/kill.1` ends guest 1 as a power failure would; its status does not count then.
# Exit status: the first of a guest that is not 0; 77: cannot run here, and why; 124: too late; 125: a guest died.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
guests=1 seconds=120 mebibytes=768 out='' cache=''
while getopts n:t:m:o:c: flag; do
  case $flag in
    n) guests=$OPTARG ;; t) seconds=$OPTARG ;; m) mebibytes=$OPTARG ;; o) out=$OPTARG ;; c) cache=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[[ $guests == [12] && -d $out && -n $cache && $# == 1 ]] || { sed -n '2,12p' "$0" >&2; exit 2; }

skip() { echo "vm: skipped: $*" >&2; exit 77; }
[[ $(uname -m) == x86_64 ]] || skip "guests run this machine's binaries, which needs an x86-64 host, not $(uname -m)"
command -v qemu-system-x86_64 >/dev/null || skip "no qemu-system-x86_64 (package qemu-system-x86)"
command -v rdma >/dev/null || skip "no rdma (package iproute2)"
compgen -G '/usr/lib/*/libibverbs/librxe-rdmav*.so' >/dev/null || skip "no user half of rdma_rxe (package ibverbs-providers)"
"$here/kernel.sh" "$cache" || skip "no kernel for the guests, see above"

work=$(mktemp -d "${TMPDIR:-/tmp}/exo-vm-XXXXXX")
share=$work/share
pids=()
finish() {
  local pid
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done; done
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
mkdir "$share"
cp "$here/guest.sh" "$share"
printf '%s\n' "$1" >"$share/command"

# Emulated: where /dev/kvm exists it may still be unable to run an ordinary kernel, and these tests want correctness only.
start_guest() {
  local rank=$1 network=user,id=net,restrict=on
  (( guests == 1 )) ||
    network=dgram,id=net,local.type=unix,local.path=$work/net$rank,remote.type=unix,remote.path=$work/net$((1 - rank))
  # Ends with this script, however that ends.
  setpriv --pdeathsig KILL qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m "$mebibytes" \
    -nodefaults -no-user-config -display none -no-reboot -serial "file:$work/console$rank" \
    -kernel "$cache/kernel" -initrd "$cache/initrd" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off exo_rank=$rank exo_guests=$guests" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev "local,id=share,path=$share,security_model=none" -device virtio-9p-pci,fsdev=share,mount_tag=share \
    -fsdev "local,id=out,path=$out,security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out \
    -netdev "$network" -device "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:77:00:0$((rank + 1))" \
    </dev/null >"$work/qemu$rank" 2>&1 &
  pids+=($!)
  disown  # bash would tell of its end
}

killed() { [[ -e $out/kill.$1 ]]; }
ended() { [[ -s $share/status.$1 ]] || killed "$1"; }

# Prints 0, or why waiting ended early. When one guest fails, the other gets 15 s more.
await_guests() {
  local deadline=$((SECONDS + seconds)) rank running
  while :; do
    running=0
    for (( rank = 0; rank < guests; rank++ )); do
      if killed "$rank"; then
        kill -KILL "${pids[rank]}" 2>/dev/null || true
      elif [[ ! -s $share/status.$rank ]]; then
        running=1
        kill -0 "${pids[rank]}" 2>/dev/null || { sleep 0.2; ended "$rank" || { echo 125; return; }; }
      elif [[ $(<"$share/status.$rank") != 0 ]] && (( deadline > SECONDS + 15 )); then
        deadline=$((SECONDS + 15))
      fi
    done
    (( running )) || { echo 0; return; }
    (( SECONDS < deadline )) || { echo 124; return; }
    sleep 0.1
  done
}

peak_memory() { awk '/VmHWM/ { printf "(memory %d MiB)", $2 / 1024 }' "/proc/$1/status" 2>/dev/null || true; }

report() {
  local rank=$1 status=none
  [[ ! -s $share/status.$rank ]] || status=$(<"$share/status.$rank")
  if killed "$rank"; then status=killed; fi
  echo "== guest $rank: status $status $(peak_memory "${pids[rank]}")"
  cat "$share/output.$rank" 2>/dev/null || true
  if [[ $status == none || $status == 125 ]]; then
    echo "-- set-up and console"
    cat "$share/setup.$rank" "$work/qemu$rank" 2>/dev/null || true
    tail -n 25 "$work/console$rank" 2>/dev/null || true
  fi
  grep -hE 'BUG:|Oops|rcu.*stall|blocked for more' "$work/console$rank" 2>/dev/null | sort -u | head -n 5 || true
}

for (( rank = 0; rank < guests; rank++ )); do start_guest "$rank"; done
status=$(await_guests)
for (( rank = 0; rank < guests; rank++ )); do
  report "$rank"
  [[ ! -s $share/status.$rank ]] || killed "$rank" || (( status )) || status=$(<"$share/status.$rank")
done
echo "vm: status $status after $SECONDS s"
exit "$status"
