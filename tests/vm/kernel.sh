#!/usr/bin/env bash
# Fills a folder with what the guests boot: `kernel` (Debian's, unpacked) and `initrd` (busybox, the modules that Soft-RoCE and
# the shared file systems need, init.sh). Once; the only step that needs the network, through apt.
#   kernel.sh CACHE
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$1
# In the order of loading.
modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net netfs fscache
  9pnet 9pnet_virtio 9p overlay crc32-pclmul crc32_generic udp_tunnel ip6_udp_tunnel ib_core ib_uverbs rdma_rxe)

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9  # one at a time
state=$(cat "$here/kernel.sh" "$here/init.sh" | sha256sum)
[[ ! -s $cache/state || $(<"$cache/state") != "$state" ]] || exit 0
work=$(mktemp -d "$cache/build-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "vm: $*" >&2; exit 1; }
latest_kernel() { apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: *\(linux-image-[0-9]\S*\).*/\1/p' | head -n 1; }
download() { timeout 120 apt-get -q download "$(latest_kernel)" busybox-static >apt.log 2>&1; }

command -v apt-get >/dev/null || fail "no apt-get to download Debian's kernel with"
if [[ -z $(latest_kernel) ]] || ! download; then
  timeout 120 apt-get -q update >apt.log 2>&1 || true  # lists may be old or missing
  [[ -n $(latest_kernel) ]] || fail "apt knows no package linux-image-amd64"
  download || fail "cannot download $(latest_kernel) and busybox-static: $(tail -n 3 apt.log)"
fi

# Unpacked, not installed.
dpkg-deb -x busybox-static_*.deb busybox
dpkg-deb -x linux-image-*.deb kernel
mkdir -p initrd/{bin,modules,proc,sys,dev,lower,upper,root}
cp busybox/bin/busybox initrd/bin/
cp "$here/init.sh" initrd/init
chmod 755 initrd/init
for module in "${modules[@]}"; do
  file=$(find kernel -name "$module.ko*" -print -quit)
  case $file in
    *.xz) xz -dc "$file" >"initrd/modules/$module.ko" ;;
    *.ko) cp "$file" initrd/modules/ ;;
    *) continue ;;  # built in
  esac
  echo "$module" >>initrd/modules/order
done
grep -qx rdma_rxe initrd/modules/order || fail "Debian's kernel has no module rdma_rxe"
(cd initrd && find . | ../busybox/bin/busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$cache/initrd"

# The kernel inside vmlinuz: unpacking it here saves the emulated processor ten seconds at each start.
cp kernel/boot/vmlinuz-* vmlinuz
offset=$(LC_ALL=C grep -obUaP '\xfd7zXZ\x00' vmlinuz | head -n 1 | cut -d: -f1)
[[ -n $offset ]] || fail "vmlinuz is not packed with xz"
# xz complains of what follows the stream.
{ tail -c +$((offset + 1)) vmlinuz | xz -dcq --single-stream >vmlinux; } 2>/dev/null || true
[[ $(head -c 4 vmlinux) == $'\x7fELF' ]] || fail "vmlinuz holds no ELF file"
mv vmlinux "$cache/kernel"
echo "$state" >"$cache/state"
