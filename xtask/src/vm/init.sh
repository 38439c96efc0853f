#!/bin/busybox sh
# The first process of a machine of lb's tests. Takes scripts from the control port, a length in a
# line and that many bytes, and answers with a line `status length length`, the script's standard
# output and its standard error. Powers off when the host closes the port.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
# Programs that were taken along stay what they are.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin HOME=/root
ln -s /bin/modprobe /sbin/modprobe
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
modprobe -a virtio_pci virtio_console virtio_net af_packet crc32c_generic
ip link set lo up
hostname lb
cd /root

# devtmpfs shows the port when the kernel's own thread has found it.
while [ ! -e /dev/vport0p1 ]; do usleep 10000; done
exec 3<>/dev/vport0p1
# Reading ends at once as long as the kernel has not heard of the host's end; writing waits for it.
echo ready >&3
while read -r length <&3; do
    head -c "$length" <&3 >/tmp/script
    # New files each time, and lengths fixed before copying: a process that a script left running
    # may still write to the old ones.
    rm -f /tmp/stdout /tmp/stderr
    /bin/sh /tmp/script </dev/null >/tmp/stdout 2>/tmp/stderr 3>&-
    status=$?
    set -- $(stat -c %s /tmp/stdout /tmp/stderr)
    echo "$status $1 $2" >&3
    # Each process costs 10 ms in emulation, and most scripts say little.
    [ "$1" = 0 ] || head -c "$1" /tmp/stdout >&3
    [ "$2" = 0 ] || head -c "$2" /tmp/stderr >&3
done
poweroff -f
