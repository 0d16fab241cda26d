# --- Room -----------------------------------------------------------------------------------------------------

floor=64              # KiB, below which nothing can be relied on
everything=9999999999 # KiB, more than there is

# size, used and left of each, as df has them (-k KiB, -i inodes), or "?"; the names around them may hold blanks
figures() { # figures FLAG DIRECTORY...
    df -P "$@" 2>/dev/null |
        sed -n '1d; s/^.* \([0-9][0-9]*  *[0-9][0-9]*  *-\{0,1\}[0-9][0-9]*\)  *[0-9][0-9]*% .*$/\1/; t show
            s/.*/?/; : show
            p'
}

short_of_room() { # short_of_room CACHE_KIB KIB [DIRECTORY]: says which of borg's directories have less left; fails if none has
    cache_kib=$1 other_kib=$2 short='' seen=''
    shift 2
    set -- "$state_dir" "$run_dir" "$@"
    [ ! -d "$base/.cache/borg" ] || set -- "$base/.cache/borg" "$@"
    blocks=$(figures -k "$@")$newline nodes=$(figures -i "$@")$newline
    for place in "$@"; do
        kib=${blocks%%"$newline"*} inodes=${nodes%%"$newline"*}
        blocks=${blocks#*"$newline"} nodes=${nodes#*"$newline"}
        case $seen in *"<$kib|$inodes>"*) continue ;; *) seen="$seen<$kib|$inodes>" ;; esac # on one disk with another
        case $inodes in '0 '*) inodes='?' ;; esac # a file system that has no fixed number of them
        kib=${kib##* } inodes=${inodes##* }
        case $place in "$base"/*) wanted=$cache_kib ;; *) wanted=$other_kib ;; esac
        case $kib in -*) kib=0 ;; '' | *[!0-9]*) continue ;; esac
        if [ "$inodes" = 0 ]; then
            say N_ROOM "no room: no inode left in $place"
        elif [ "$kib" -lt "$wanted" ]; then
            say N_ROOM "no room: $kib KiB left in $place"
        else
            continue
        fi
        short=yes
    done
    [ -n "$short" ]
}

enough_room() { # before borg starts: it copies its index of the repository before it changes it
    size=$(du -sk "$base/.cache/borg/${id-}" 2>/dev/null)
    size=${size%%[!0-9]*}
    ! short_of_room "$((${size:-0} / 2 + floor))" "$floor" || die 69 E_NO_ROOM "no room on this host: borg was not started"
}

