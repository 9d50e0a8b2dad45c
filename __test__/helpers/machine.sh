#!/bin/sh
# Runs COMMAND as the first process of a machine of its own: namespaces, and a root file system that is gone afterwards.
# Usage: machine.sh ROOT WORK REPOSITORY NODE COMMAND...; as root. WORK is an empty folder.
set -eu
if [ "${1:-}" != --inside ]; then
  # A control group of its own, below this process's, which becomes the root of the machine's.
  hierarchy=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
  group=$hierarchy$(sed -n 's/^0:://p' /proc/self/cgroup)/daemonry-test-$$
  mkdir "$group"
  echo 0 >"$group/cgroup.procs"
  exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup sh "$0" --inside "$@"
fi
shift
root=$1 work=$2 repository=$3 node=$4
shift 4
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/workdir" "$work/root"
mount -t overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/workdir" overlay "$work/root"
cd "$work/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p srv/daemonry old
mount --bind "$repository" srv/daemonry
touch usr/local/bin/node
mount --bind "$node" usr/local/bin/node
ln -s /srv/daemonry/dist/cli.js usr/local/bin/daemonry
hostname daemonry-test
pivot_root . old
umount -l old
ip link set lo up 2>/dev/null || true
exec env -i container=daemonry-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
