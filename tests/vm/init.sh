#!/bin/busybox sh
# The first process of a guest: loads modules, puts the host's files under a file system in memory, and goes there.
box=/bin/busybox
fail() { echo "vm-init: $*"; $box sleep 1; $box reboot -f; }
$box mount -t proc p /proc
$box mount -t sysfs s /sys
$box mount -t devtmpfs d /dev
for module in $($box cat /modules/order); do $box insmod /modules/$module.ko || fail "insmod $module"; done
options=trans=virtio,version=9p2000.L,msize=512000
$box mount -t 9p -o $options,cache=loose,ro root /lower || fail "no root"
$box mount -t tmpfs u /upper
$box mkdir /upper/files /upper/work
$box mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work o /root || fail "no overlay"
$box mkdir -p /root/run /root/proc /root/sys /root/dev
$box mount -t tmpfs r /root/run
for folder in proc sys dev; do $box mount --move /$folder /root/$folder; done
$box mkdir -p /root/dev/shm /root/dev/pts /root/run/share /root/run/out
$box mount -t tmpfs t /root/dev/shm
$box mount -t devpts p /root/dev/pts
$box mount -t 9p -o $options,cache=none share /root/run/share || fail "no share"
$box mount -t 9p -o $options,cache=none out /root/run/out || fail "no out"
exec $box chroot /root /bin/bash /run/share/guest.sh
