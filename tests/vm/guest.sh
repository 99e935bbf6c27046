# In a guest, with the host's files: makes the device, waits for the other guest, runs the command, reports.
share=/run/share
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp OUT=/run/out
argument() { sed -n "s/.*$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
RANK=$(argument exo_rank)
guests=$(argument exo_guests)
export RANK MY_IP=10.77.0.$((RANK + 1)) PEER_IP=10.77.0.$((guests - RANK))

make_device() {
  echo "guest$RANK" >/proc/sys/kernel/hostname
  ip link set lo up
  ip link set eth0 mtu 4500 # the largest RoCE MTU, 4096, with its headers
  ip link set eth0 up
  ip addr add "$MY_IP/24" dev eth0
  rdma link add rxe0 type rxe netdev eth0
  # The address' GID comes a little later.
  local port=/sys/class/infiniband/rxe0/ports/1 try
  for try in $(seq 100); do
    grep -q ACTIVE $port/state && grep -qh 'ffff:0a4d' $port/gids/* 2>/dev/null && return
    sleep 0.1
  done
  echo "rxe0 has no address after 10 s"
  return 1
}

status=125
if make_device >"$share/setup.$RANK" 2>&1; then
  : >"$share/ready.$RANK"
  while (($(ls "$share" | grep -c '^ready\.') < guests)); do sleep 0.1; done
  bash -c "$(<$share/command)" </dev/null >"$share/output.$RANK" 2>&1
  status=$?
fi
sync
echo $status >"$share/status.new$RANK"
mv "$share/status.new$RANK" "$share/status.$RANK"
exec sleep 1000000 # the host ends the guest
