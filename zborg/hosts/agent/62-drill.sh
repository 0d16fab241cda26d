# --- Drills: this host proves to itself, by its samples, that its backups can be read again ---------------------

drill() { # drill REPO ARCHIVE
    sampled=$state_dir/drill/$2
    [ "$drill" = yes ] || refuse E_DRILL_OFF "drills are off on this host"
    [ -f "$sampled" ] || refuse E_NO_SAMPLE "this host has no sample of that archive"
    is_safe "$sampled" secret || refuse E_ACCESS "$sampled must belong to root, with mode 0600"
    choose_sha256 || refuse E_DRILL_OFF "neither sha256sum nor sha256 is on this host"
    names=$(mktemp -d "$run_dir/session.XXXXXX") || die 2 E_WRITE "cannot make a directory in $run_dir"
    mkfifo "$names/fifo" || die 2 E_WRITE "cannot make a FIFO in $run_dir"
    read_output=digest_files read_log=name_files began=$(date +%s)
    freshly extract --list --stdout --patterns-from "$sampled" "ssh://$1/./$1::$2"
    rm -rf "$names"
    [ -z "$limit" ] || return 0
    # What was read and is another, what is not there at all, what borg found damaged. A server that hangs up proves
    # nothing but that: then the status is borg's.
    is_good "$rc" && borg_was=good || borg_was=bad
    case $output_rc:$borg_was:$suspect in
    0:good:) note "drill of $2: all that was read is as it was backed up" ;;
    [023]:bad:) ;;
    *) die 70 E_DRILL "what is lent is not what this host backed up as $2" ;;
    esac
}

name_files() { # for filter_log: what borg extracts next goes to digest_files, and no name goes to the server
    {
        exec 3>"$names/fifo"
        IFS=$newline
        # shellcheck disable=SC2013,SC2046 # lines are wanted
        set -- $(sed -n 's/^#\([=!] [0-9]* [0-9a-f]*\) /\1 /p' "$sampled")
        unset IFS
        while IFS= read -r line || [ -n "$line" ]; do
            case $line in
            *', "name": "borg.output.list"}')
                key=${line#*'"message": "'} key=${key%'", "levelname": '*}
                for entry in "$@"; do # not a pattern on one long text, for which dash takes the square of its length
                    case $entry in *" $key") [ "${entry#* * * }" != "$key" ] || { printf '%s\n' "$entry" >&3 && break; } ;; esac
                done
                continue ;;
            *', "msgid": "Archive.DoesNotExist"'* | *', "msgid": "DoesNotExist"'* | *', "msgid": "Repository.DoesNotExist"'*) echo damaged >&3 ;;
            *'"message": "Traceback '*'low_level.IntegrityError: '*) echo damaged >&3 ;; # what does not fit the key has no msgid
            *', "msgid": "IntegrityError"'* | *', "msgid": "Repository.ObjectNotFound"'* | *', "msgid": "ObjectNotFound"'*) echo damaged >&3 ;;
            *', "msgid": "NoManifestError"'* | *', "msgid": "DecompressionError"'* | *', "msgid": "TAM'*) echo damaged >&3 ;;
            *', "msgid": "Repository.InvalidRepository"'* | *', "msgid": "InvalidRepository"'* | *', "msgid": "ArchiveTAM'*) echo damaged >&3 ;;
            esac
            printf '%s\n' "$line"
        done
    } | filter_log
}

# The files one after the other, as borg names them. Status 0: each is whole, the canary too; 1: one is another, or
# borg found damage; 2: the canary did not come; 3: the last one is another, perhaps because borg ended in it.
digest_files() {
    exec 3<"$names/fifo"
    rm -rf "$names" # both ends are open
    files=0 bytes=0 mismatched=0 unfinished=0 canary=no damaged=no
    while read -r mark size sum key <&3; do
        mismatched=$((mismatched + unfinished)) unfinished=0
        case $mark in damaged) damaged=yes && continue ;; esac
        got=$(take "$size" | $sha256)
        case $mark:${got%% *} in
        !:"$sum") canary=yes ;;
        =:"$sum") files=$((files + 1)) bytes=$((bytes + size)) ;;
        *) unfinished=1 ;;
        esac
    done
    seconds=$(($(date +%s) - began))
    [ "$seconds" -gt 0 ] || seconds=1
    sampled_files=$(grep -c '^#=' "$sampled") population=$(sed -n 's/^# of \([0-9]*\)$/\1/p' "$sampled")
    printf '= {"files": %d, "bytes": %d, "mismatched": %d, "unfinished": %d, "sampled": %d, "population": %d, "seconds": %d, "canary": "%s"}\n' \
        "$files" "$bytes" "$mismatched" "$unfinished" "$sampled_files" "${population:-0}" "$seconds" "$canary" >&2
    case $damaged:$mismatched:$unfinished:$canary in no:0:0:yes) ;; no:0:0:no) return 2 ;; no:0:1:*) return 3 ;; *) return 1 ;; esac
}

take() { # take SIZE: so many bytes of stdin and none more; head(1) may read ahead
    [ "$1" -lt 1048576 ] || dd bs=1048576 count=$(($1 / 1048576)) iflag=fullblock
    [ $(($1 % 1048576)) -eq 0 ] || dd bs=$(($1 % 1048576)) count=1 iflag=fullblock
} 2>/dev/null

drill_state() { # for `version`
    echo "drill $drill"
    set +f
    set -- "$state_dir/drill/$name"-*Z
    set -f
    [ -f "$1" ] || shift
    printf 'sampled'
    for file in "$@"; do printf ' %s' "${file##*/}"; done
    echo
}
