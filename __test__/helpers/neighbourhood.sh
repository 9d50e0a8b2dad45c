#!/bin/sh
# Runs COMMAND with mounts of its own, in which there is a user `www` and whatever daemons and users write is gone afterwards.
# Usage: neighbourhood.sh REPOSITORY COMMAND...; in a namespace for mounts, with the repository at /mnt.
set -eu
umask 022
mount --bind "$1" /mnt
shift
for place in /srv /run /var/log /var/lib; do mount -t tmpfs -o mode=755 tmpfs "$place"; done
mount -t tmpfs -o mode=1777 tmpfs /tmp
for file in passwd group; do cp "/etc/$file" "/run/$file"; done
echo 'www:x:4242:4242::/srv/home:/bin/sh' >>/run/passwd
echo 'www:x:4242:' >>/run/group
for file in passwd group; do mount --bind "/run/$file" "/etc/$file"; done
mkdir /srv/home
chown 4242:4242 /srv/home
cd /mnt
# As the first process of a namespace for pids, this one reaps.
"$@" &
wait $!
