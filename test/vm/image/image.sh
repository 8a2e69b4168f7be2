#!/bin/sh
# Makes the finished image from the base layer.
#
#   image.sh BASE_TAR PACKAGES SOURCES APT_CONF SCRIPT WORK
#
# PACKAGES is a file of package names; SOURCES is a sources.list, empty for
# the one debootstrap left; APT_CONF is the host's proxy settings; SCRIPT is
# run in the root when it is finished, if it isn't empty. Leaves WORK/image
# with vmlinuz, initrd, root.img and manifest.
# Runs as PID 1 of its own PID and mount namespaces (see build.go).
set -eu
base=$1 packages=$2 sources=$3 apt_conf=$4 script=$5 work=$6
root=$work/root image=$work/image

mkdir "$root" "$image"
tar -C "$root" --numeric-owner -xf "$base"
mount -t proc proc /proc
mount -t proc proc "$root/proc"

# No service may start in the chroot: it would outlive its package's setup
# only to be killed with the namespace, leaving half-written state.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cat >"$root/etc/dpkg/dpkg.cfg.d/sandboxrun" <<EOF
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
EOF
[ ! -s "$sources" ] || cp "$sources" "$root/etc/apt/sources.list"
cp "$apt_conf" "$root/etc/apt/apt.conf.d/90host"
# The host's trust, for a mirror behind a certificate that only it knows.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
	cp /etc/ssl/certs/ca-certificates.crt "$root/tmp/host-ca.crt"
	echo 'Acquire::https::CAInfo "/tmp/host-ca.crt";' >>"$root/etc/apt/apt.conf.d/90host"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"

in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

in_root apt-get -q update
# shellcheck disable=SC2046 # word splitting makes the list
in_root apt-get -q -y --no-install-recommends install $(grep -v '^#' "$packages")

# The kernel is unpacked, never installed: installing it would pull in and run
# an initramfs generator and a boot loader's hooks.
kernel=$(in_root apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }')
mkdir "$work/kernel"
in_root sh -c "cd /tmp && apt-get -q download '$kernel'"
dpkg-deb -x "$root"/tmp/"$kernel"_*.deb "$work/kernel"
version=$(ls "$work/kernel/lib/modules")
cp "$work/kernel/boot/vmlinuz-$version" "$image/vmlinuz"
cp -a "$work/kernel/lib/modules" "$root/usr/lib/modules"
in_root depmod "$version"
# Without the option loading the module makes an interface of its own.
echo 'options dummy numdummies=0' >"$root/etc/modprobe.d/sandboxrun.conf"

in_root useradd --create-home --shell /bin/bash --uid 1000 tester
echo sandboxrun-vm >"$root/etc/hostname"
printf '127.0.0.1\tlocalhost sandboxrun-vm\n::1\tlocalhost\n' >"$root/etc/hosts"
[ ! -s "$script" ] || in_root sh -s <"$script"

# The initramfs has what finds and mounts the root disk: a shell and the
# modules of the virtio disks and ports, in the order of their dependencies.
initrd=$work/initrd
mkdir -p "$initrd/bin" "$initrd/modules"
cp "$root/bin/busybox" "$initrd/bin/busybox"
for module in virtio_pci virtio_blk virtio_console virtio_rng ext4; do
	in_root modprobe -S "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
	while read -r path; do
		cp "$root/$path" "$initrd/modules/"
		basename "$path"
	done >"$initrd/modules/order"
(cd "$initrd" && find . | LC_ALL=C sort | cpio --quiet -o -H newc) >"$image/initrd"

{
	echo "kernel $version"
	# shellcheck disable=SC2016 # ${...} is for dpkg-query to expand
	in_root dpkg-query -W -f 'package ${Package} ${Version}\n'
} >"$image/manifest"

rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/tmp/*
rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/apt/apt.conf.d/90host" "$root/etc/resolv.conf"
umount "$root/proc"
mkdir -p "$root/out" "$root/work/host" "$root/work/test"

# Sparse, and without a journal: every run works on a throw-away overlay.
mke2fs -q -t ext4 -O ^has_journal -m 0 -E lazy_itable_init=1 \
	-d "$root" "$image/root.img" 8G
