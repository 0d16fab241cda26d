# --- Room -----------------------------------------------------------------------------------------------------

floor=64              # KiB, below which nothing can be relied on
everything=9999999999 # KiB, more than there is

figures() { # figures FLAG DIRECTORY...: sets figured to size, used and left of each, as df has them (-k KiB, -i inodes), or "?"
    figured='' header=yes
    report=$(df -P "$@" 2>/dev/null)
    IFS=$newline
    for line in $report; do
        unset IFS
        # shellcheck disable=SC2086 # words are wanted
        [ -n "$header" ] || figures_of $line
        header=''
    done
    unset IFS
}

figures_of() { # figures_of WORD...: the last three numbers before a percentage; the names around them may hold blanks
    of_one='?'
    while [ $# -gt 5 ]; do
        shift
        case $4 in
        [0-9]*%) ! is_number "${4%\%}" || ! is_number "$1" || ! is_number "$2" || ! is_number "${3#-}" || of_one="$1 $2 $3" ;;
        esac
    done
    figured=$figured$of_one$newline
}

short_of_room() { # short_of_room CACHE_KIB KIB [DIRECTORY]: says which of borg's directories have less left; fails if none has
    cache_kib=$1 other_kib=$2 short='' seen=''
    shift 2
    set -- "$state_dir" "$run_dir" "$@"
    [ ! -d "$base/.cache/borg" ] || set -- "$base/.cache/borg" "$@"
    figures -k "$@"
    blocks=$figured
    figures -i "$@"
    nodes=$figured
    for place in "$@"; do
        kib=${blocks%%"$newline"*} inodes=${nodes%%"$newline"*}
        blocks=${blocks#*"$newline"} nodes=${nodes#*"$newline"}
        case $seen in *"<$kib|$inodes>"*) continue ;; *) seen="$seen<$kib|$inodes>" ;; esac # on one disk with another
        case $inodes in '0 '*) inodes='?' ;; esac # a file system that has no fixed number of them
        used=${kib% *} used=${used##* } kib=${kib##* } inodes=${inodes##* }
        case $kib in -*) kib=0 ;; '' | *[!0-9]*) continue ;; esac
        wanted=$other_kib
        case $place:$cache_kib in
        "$base"/*:copy) room_for_copy ;;
        "$base"/*) wanted=$cache_kib ;;
        esac
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

# borg copies its index of the repository before it changes it. The cache is no larger than all that its file system
# holds: where even half of that has room, nobody needs to look how large it is.
room_for_copy() { # sets wanted
    size=$used
    if ! is_number "$used" || [ "$kib" -lt $((used / 2 + floor)) ]; then
        size=$(du -sk "$base/.cache/borg/${id-}" 2>/dev/null)
        size=${size%%[!0-9]*}
    fi
    wanted=$((${size:-0} / 2 + floor))
}

enough_room() { # before borg starts
    ! short_of_room copy "$floor" || die 69 E_NO_ROOM "no room on this host: borg was not started"
}

