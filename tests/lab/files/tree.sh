#!/bin/sh
# tree.sh ROOT_TAR MODULES FILES OUT: makes OUT/root.raw and OUT/initrd.
# Runs as root, or as the root of a user namespace: so it makes no device nodes.
set -eu
root_tar=$1 modules=$2 files=$3 out=$4
tree=$out/tree early=$out/early

echo "== unpack the root tree"
mkdir "$tree"
tar -C "$tree" --numeric-owner --exclude='./dev/*' -xf "$root_tar"
cp -a "$modules/tree/usr/lib/modules" "$tree/usr/lib/"
ln -sf /bin/busybox "$tree/usr/sbin/init"
install -m 0755 "$files/boot.sh" "$tree/usr/sbin/lab-boot"
install -m 0644 "$files/inittab" "$tree/etc/inittab"
install -m 0644 "$files/sshd_config" "$tree/etc/ssh/sshd_config"
# A guest needs no more of its memory for ZFS; the rest is for zfs and ssh themselves.
echo 'options zfs zfs_arc_max=268435456' > "$tree/etc/modprobe.d/zborg-lab.conf"
# A session is a shell and a command: on an emulated processor bash and what PAM does for people cost more than most
# commands. PAM itself has to be there (sshd_config); keys alone let anybody in.
sed -i '1s#/bin/bash$#/bin/sh#' "$tree/etc/passwd"
printf '%s\n' 'auth required pam_deny.so' 'account required pam_permit.so' 'session required pam_permit.so' \
    >"$tree/etc/pam.d/sshd"
rm -f "$tree"/etc/ssh/ssh_host_* "$tree/etc/resolv.conf" "$tree/etc/hostid" "$tree/etc/motd"
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/doc/* \
    "$tree"/usr/share/locale/* "$tree"/usr/share/man/*
mkdir -p "$tree/vdev" "$tree/run" "$tree/root/.ssh"
chmod 0700 "$tree/root" "$tree/root/.ssh"

echo "== make the disk"
# A small journal: a guest is killed in tests, and its root must mount again afterwards.
mke2fs -q -t ext4 -J size=8 -E lazy_itable_init=1,root_owner=0:0 -m 0 -d "$tree" "$out/root.raw" 4G

echo "== make the initrd"
mkdir -p "$early/bin" "$early/modules" "$early/dev" "$early/proc" "$early/new"
cp "$tree/bin/busybox" "$early/bin/busybox"
cp "$modules"/initrd-modules/*.ko "$early/modules/"
install -m 0755 "$files/early.sh" "$early/init"
(cd "$early" && find . | cpio --quiet -o -H newc | zstd -q -10) > "$out/initrd"
rm -rf "$tree" "$early"
ls -ls "$out"
