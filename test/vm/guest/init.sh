#!/bin/busybox sh
# shellcheck shell=dash
# The initramfs's /init: finds the root disk, mounts it and goes there.
# Everything of one run (/vm) goes along on a tmpfs.
/bin/busybox mkdir -p /dev /proc /sys /root
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t sysfs sysfs /sys
echo "sandboxrun-vm: the kernel is up"

# shellcheck disable=SC2013 # one name a line
for module in $(cat /modules/order); do
	insmod "/modules/$module"
done

# The order in which disks appear isn't promised: the serial tells.
tries=0
root=
while [ -z "$root" ]; do
	for disk in /sys/block/vd*; do
		[ "$(cat "$disk/serial" 2>/dev/null)" = root ] && root=/dev/${disk##*/}
	done
	[ -n "$root" ] && break
	tries=$((tries + 1))
	if [ "$tries" -gt 100 ]; then
		echo "sandboxrun-vm: no root disk"
		exit 1
	fi
	sleep 0.1
done

mount -t ext4 -o noatime "$root" /root || exit 1
mount -t tmpfs -o mode=755 run /root/run
mkdir /root/run/vm
cp -a /vm/. /root/run/vm/
cp -a /bin /root/run/vm/bin
umount /proc /sys
mount --move /dev /root/dev
[ ! -e /root/run/vm/systemd ] || exec switch_root /root /sbin/init
exec switch_root /root /bin/busybox sh /run/vm/boot.sh
