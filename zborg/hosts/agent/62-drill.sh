# --- Drills: this host proves to itself that what was backed up can be read again (docs/restore.md) -------------
#
# Behind a backup the agent notes some files, chosen by chance from all, with size and SHA-256, in a file of root's
# (state_dir/drill/ARCHIVE). The verb drill reads the same files out of what the server lends, into a digest and never
# to a disk, and answers numbers. Such a file is also the list of patterns that borg is given, so names are in no
# argument list: "+ pf:PATH" for borg; "#= SIZE SHA256 KEY" for us, where KEY is PATH as borg's log has it; "#! ..."
# the same of the canary: random bytes, new with each sample, by which one archive is told from every other.

sample_apart=72000 # seconds between two samples: an hourly backup is not to pay for one each time
samples_kept=14    # the copy elsewhere may be some days behind

make_canary() { # before borg; `began` is older than whatever changes from now on
    own_directory "$state_dir/drill"
    canary=$state_dir/drill/canary
    [ -s "$canary" ] || new_canary
    true >"$state_dir/drill/began"
}

new_canary() {
    if ! dd if=/dev/urandom of="$canary.new" bs=4096 count=1 2>/dev/null || ! mv "$canary.new" "$canary"; then
        die 2 E_WRITE "cannot write $canary"
    fi
}

choose_sha256() { # sets sha256, a command that prints DIGEST PATH for each file; fails without one
    for sha256 in sha256sum 'sha256 -r'; do ! command -v "${sha256%% *}" >/dev/null || return 0; done
    false
}

take_sample() { # take_sample ARCHIVE, after borg. Whatever comes of it, the backup was made
    sampled=$state_dir/drill/$1 before_that=0
    read -r before_that <"$state_dir/drill/last" || before_that=0
    is_number "$before_that" || before_that=0
    passed=$((now - before_that))
    [ "$passed" -lt 0 ] || [ "$passed" -ge "$sample_apart" ] || return 0
    choose_sha256 || return 0
    if ! write_sample >"$sampled.new" || ! mv "$sampled.new" "$sampled"; then
        rm -f "$sampled.new"
        note "no sample of $1 could be taken"
        return 0
    fi
    echo "$now" >"$state_dir/drill/last"
    new_canary # the next backup has another
    set +f
    set -- "$state_dir/drill/$name"-*Z # in the order of their time
    set -f
    while [ $# -gt "$samples_kept" ]; do rm -f "$1" && shift; done
} 2>/dev/null

write_sample() {
    chosen=$(candidates | pick) || return 1
    population=${chosen%%"$newline"*} chosen=${chosen#"$population"}
    IFS=$newline
    # shellcheck disable=SC2086 # to be split
    set -- $chosen
    unset IFS
    if [ $# -gt 0 ]; then sizes=$(wc -c -- "$@" | within_bytes); else sizes=''; fi
    set -- "$canary"
    IFS=$newline
    for line in $sizes; do set -- "$@" "${line#* }"; done
    unset IFS
    # shellcheck disable=SC2086 # a command and its option
    sums=$(timeout 600 $sha256 "$@") || :
    unchanged=$(unchanged_files "$@" -prune)
    printf '# of %s\n' "$population"
    printf '4096 %s\n%s\n\n%s\n\n%s\n' "$1" "$sizes" "$unchanged" "$sums" | sample_lines "$1" && echo '- re:^'
}

# All regular files that borg was to archive, as far as find(1) can tell. A file that is not in the archive after all
# is no loss: borg's list of the archive shows it. Hard links and empty files are left out: borg gives them no bytes.
candidates() {
    set -- -path /proc -o -path /sys -o -path /dev -o -path "$run_dir" -o -path "$state_dir"
    IFS=$newline
    for value in $excludes; do # borg's own style is find's: * matches / too, and a directory is left out whole
        case $value in ??:*) ;; *) set -- "$@" -o -path "/${value#/}" -o -path "/${value#/}/" ;; esac
    done
    set -- \( "$@" \) -prune -o -type f -links 1 -size +0c
    [ "$one_file_system" = no ] || set -- -xdev "$@"
    # shellcheck disable=SC2086 # to be split
    unchanged_files $paths "$@"
    echo "= $?" # of a find that was stopped: not all of them
}

unchanged_files() { # those not written since `began`: what is on disk is what borg read
    if find / -prune -cnewer "$state_dir/drill/began" >/dev/null 2>&1; then # busybox may have none
        set -- "$@" ! -cnewer "$state_dir/drill/began"
    fi
    timeout 300 find "$@" ! -newer "$state_dir/drill/began" -print
}

pick() { # of the names on stdin so many by chance (reservoir sampling), in an order of chance; first their number
    seed=$(od -An -N4 -tu4 /dev/urandom) # awk's own is the time, and mawk takes all above 31 bits for one
    awk -v most="$drill_files" -v seed="$((seed % 2147483647))" '
        BEGIN { srand(seed) }
        /^= / { stopped = $2 == 124 || $2 == 137 || $2 == 143; next }
        /[\001-\037\\\177]/ || / $/ || length($0) > 1000 { next }
        { place = ++count <= most ? count : int(rand() * count) + 1 }
        place <= most { chosen[place] = $0 }
        END {
            if (stopped) exit 1
            print count + 0
            left = count < most ? count : most
            for (; left > 0; left--) { place = int(rand() * left) + 1; print chosen[place]; chosen[place] = chosen[left] }
        }'
}

within_bytes() { # SIZE PATH as long as there is room. One that is larger than all of it can never be drilled
    awk -v room="$drill_bytes" '
        { start = index($0, "/") }
        !start || $1 + 0 > room { next }
        used + $1 > room { exit }
        { used += $1; print $1 " " substr($0, start) }'
}

sample_lines() { # sample_lines CANARY: from sizes, files that did not change, digests; an empty line between them
    awk -v canary="$1" '
        function key(path, at, byte, more, out) { # as JSON has it, all ASCII
            for (at = 1; at <= length(path); at++) {
                byte = ord[substr(path, at, 1)]
                if (byte < 128) { out = out (byte == 34 ? "\\" : "") substr(path, at, 1); continue }
                more = byte >= 240 ? 3 : byte >= 224 ? 2 : 1
                byte %= byte >= 240 ? 8 : byte >= 224 ? 16 : 32
                for (; more > 0; more--) byte = byte * 64 + ord[substr(path, ++at, 1)] % 64
                if (byte > 65535) { byte -= 65536; out = out sprintf("\\u%04x", 55296 + int(byte / 1024)); byte = 56320 + byte % 1024 }
                out = out sprintf("\\u%04x", byte)
            }
            return out
        }
        BEGIN { for (byte = 1; byte < 256; byte++) ord[sprintf("%c", byte)] = byte }
        !NF { part++; next }
        { path = substr($0, index($0, "/")) }
        part == 0 { size[path] = $1 }
        part == 1 { same[path] = 1 }
        part == 2 && path in size && (path in same || path == canary) && length($1) == 64 {
            mark = path == canary ? "#!" : "#="
            found = found || path == canary
            sub("^/", "", path)
            print mark " " size["/" path] " " $1 " " key(path)
            print "+ pf:" path
        }
        END { exit !found }'
}

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
