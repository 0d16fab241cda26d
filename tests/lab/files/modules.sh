#!/bin/sh
# Runs inside the throw-away build root. Leaves in /out: vmlinuz, kernel-version,
# tree/usr/lib/modules (only what a guest loads) and initrd-modules (in load order).
set -eu
export LC_ALL=C
wanted="virtio_pci virtio_blk virtio_net virtio-rng loop ext4 zfs"
initrd_wanted="virtio_pci virtio_blk ext4"

headers=$(ls -d /usr/src/linux-headers-*-cloud-amd64)
kernel=${headers#/usr/src/linux-headers-}
common=$(ls -d /usr/src/linux-headers-*-common)
mkdir -p /build/image /build/zfs /out/initrd-modules
cd /build

echo "== download zfs-dkms and linux-image-$kernel"
apt-get download zfs-dkms "linux-image-$kernel"
# Unpacked, not installed: installing would run dkms and build an initramfs.
dpkg -x zfs-dkms_*.deb zfs
dpkg -x linux-image-*.deb image

echo "== build the modules"
cd /build/zfs/usr/src/zfs-*
./configure --disable-dependency-tracking --prefix=/usr --with-config=kernel \
    --with-linux="$common" --with-linux-obj="$headers"
make -j"$(nproc)"
# OpenZFS 2.1 has nine modules in folders of their own, 2.2 and later two in one.
find module -name '*.ko' -exec strip -g {} +

echo "== pick the modules a guest loads"
# Debian 12 unpacks to lib/modules, Debian 13 to usr/lib/modules, and kmod looks in
# whichever its release uses: one real folder, the other a link.
cd /build/image
mkdir -p usr/lib
[ ! -d lib ] || { mv lib/modules usr/lib/modules; rmdir lib; }
ln -s usr/lib lib
mkdir "usr/lib/modules/$kernel/extra"
find /build/zfs/usr/src/zfs-*/module -name '*.ko' -exec cp {} "usr/lib/modules/$kernel/extra/" \;
depmod -b /build/image "$kernel"

# Prints the files of the named modules and of what they need, in load order.
files_of() {
    for name in "$@"; do
        modprobe -d /build/image -S "$kernel" --show-depends "$name"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

target=/out/tree/usr/lib/modules/$kernel
for file in $(files_of $wanted); do
    inside=${file#*"/modules/$kernel/"}
    mkdir -p "$target/$(dirname "$inside")"
    cp "$file" "$target/$inside"
done
cp usr/lib/modules/"$kernel"/modules.builtin* usr/lib/modules/"$kernel"/modules.order "$target/"
find "$target" -name '*.ko.xz' -exec unxz {} +
ln -s usr/lib /out/tree/lib
depmod -b /out/tree "$kernel"
rm /out/tree/lib

number=10
for file in $(files_of $initrd_wanted); do
    plain=$target/${file#*"/modules/$kernel/"}
    cp "${plain%.xz}" "/out/initrd-modules/$number-$(basename "${plain%.xz}")"
    number=$((number + 1))
done
cp boot/vmlinuz-* /out/vmlinuz
echo "$kernel" > /out/kernel-version
ls -lR /out
