# --- The verb restore ---------------------------------------------------------------------------------------

permit() { # permit ID SNAPSHOT PATH...: sets cap, or refuses. A permission serves once.
    allow=$state_dir/restore.allow used=$state_dir/restore.used.$1 cap=$restore_max_bytes wanted=$2
    shift 2
    if [ ! -e "$allow" ]; then
        [ "$restore" = yes ] || refuse E_RESTORE_OFF "restore is off on this host; root here may allow one with zborg-agent --allow-restore"
        return
    fi
    is_safe "$allow" secret || refuse E_ACCESS "$allow must belong to root, with mode 0600"
    allowed_snapshot='' allowed_paths=$newline cap=''
    while IFS= read -r line; do
        case $line in
        'snapshot = '*) allowed_snapshot=${line#*= } ;;
        'path = '*) without_slash "${line#*= }" && allowed_paths=$allowed_paths$path$newline ;;
        'max_bytes = '*) cap=${line#*= } ;;
        *) refuse E_NOT_ALLOWED "$allow: unknown line" ;;
        esac
    done <"$allow"
    is_number "$cap" || refuse E_NOT_ALLOWED "$allow: max_bytes"
    [ "$wanted" = "$allowed_snapshot" ] || refuse E_NOT_ALLOWED "root allowed a restore from another snapshot"
    for path in "$@"; do
        without_slash "$path"
        case $allowed_paths in *"$newline$path$newline"*) ;; *) refuse E_NOT_ALLOWED "root did not allow this path: $(visible "$path")" ;; esac
    done
    mv "$allow" "$used" || refuse E_WRITE "cannot use up $allow"
}

passed_limit() { # fails while all is well; figures that cannot be had count as passed
    in_use=$(du -sk "$destination" 2>/dev/null)
    in_use=${in_use%%[!0-9]*}
    figures -k "$destination"
    # shellcheck disable=SC2086 # three words are wanted
    set -- $figured
    is_number "$in_use" && is_number "${1-}" && is_number "${3-}" || return 0
    floor=$(($1 / 20))
    [ "$floor" -gt 1048576 ] || floor=1048576
    [ -z "$restore_free_floor" ] || floor=$((restore_free_floor / 1024))
    [ "$in_use" -gt $((cap / 1024)) ] || [ "$3" -lt "$floor" ]
}

# A server that takes in no byte would keep borg, and what `before` stopped, for ever.
watch_time() { # in the background beside borg; status 1 when it had to end borg
    nap='' took=0 pause=1 # short at first: a child that was only just made may lose the signal to end (seen with dash)
    trap 'kill "$nap" 2>/dev/null; exit 0' TERM
    while [ "$took" -lt "$max_time" ]; do
        [ $((took + pause)) -le "$max_time" ] || pause=$((max_time - took))
        sleep "$pause" &
        nap=$!
        wait "$nap"
        nap='' took=$((took + pause)) pause=5
        kill -0 $$ && kill -0 "$borg_pid" || exit 0 # the agent was killed, and borg with it
    done
    trap '' TERM # to finish this, and to report it
    kill "$borg_pid"
    sleep 3
    kill -9 "$borg_pid"
    exit 1
}

# borg writes 100 MiB and more a second: near its cap a restore is looked at all the time, else once in a second.
near=262144 # KiB
watch_limits() { # in the background beside borg; status 1 when it had to end borg
    nap='' in_use=0 before_that=0
    trap 'kill "$nap" 2>/dev/null; exit 0' TERM
    while :; do
        left=$((cap / 1024 - in_use))
        if [ "$left" -gt "$near" ] && [ "$left" -gt $((4 * (in_use - before_that))) ]; then
            sleep 1 &
            nap=$!
            wait "$nap"
            nap=''
        fi
        before_that=$in_use
        kill -0 "$borg_pid" || exit 0 # the agent was killed, and borg with it
        if passed_limit; then
            trap '' TERM # to finish this, and to report it
            kill "$borg_pid"
            exit 1
        fi
    done
}

remove_restored() { # sets removed to what became of the destination; what stays is reported as a line of JSON, too
    removed='what was extracted is removed' mounted=false
    case $(mount 2>/dev/null) in
    *" on $destination"[/\ ]*) mounted=true ;; # rm would empty that file system
    *) rm -rf "$destination" 2>/dev/null ;;
    esac
    [ -e "$destination" ] || return 0
    files=$(find "$destination" -xdev ! -type d -exec printf '%.0s.' {} + | wc -c)
    in_use=$(du -skx "$destination" 2>/dev/null)
    in_use=${in_use%%[!0-9]*}
    removed="not all of what was extracted could be removed, look at $destination"
    printf '= {"left": "%s", "files": %d, "bytes": %d, "mounted": %s}\n' "$destination" "$files" \
        $((${in_use:-0} * 1024)) "$mounted" >&2
}

restore() { # restore REPO ARCHIVE ID SNAPSHOT PATH...
    destination=$state_dir/restore/$3 place=ssh://$1/./$1::$2
    own_directory "$state_dir/restore"
    if [ -e "$destination" ] || [ -e "$state_dir/restore.used.$3" ]; then refuse E_RESTORE_ID "restore $3 has been there before"; fi
    shift 2
    permit "$@"
    shift 2
    mkdir "$destination" || die 2 E_WRITE "cannot make $destination"
    for path in "$@"; do # pp: a plain prefix. Without it borg would take re:... or sh:... for a pattern.
        shift
        set -- "$@" "pp:${path#/}"
    done
    limit=''
    if passed_limit; then limit=passed; else freshly --progress extract --sparse "$place" -- "$@"; fi
    if [ -n "$limit" ] || passed_limit; then
        remove_restored
        die 2 E_RESTORE_LIMIT "restore stopped: over $cap bytes, or too little free space; $removed"
    fi
    [ "$missed" = no ] || die 101 E_NOT_IN_ARCHIVE "restore failed: a path is not in the archive; see $destination"
    case $rc in 0 | 1 | 1[0-2][0-9]) ;; *) die "$rc" E_RESTORE "restore failed; what was extracted is in $destination" ;; esac
    files=$(find "$destination" -type f -exec printf '%.0s.' {} + | wc -c)
    printf '= {"restored": "%s", "files": %d, "bytes": %d}\n' "$destination" "$files" $((in_use * 1024)) >&2
}

