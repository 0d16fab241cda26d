# --- Samples, from which a drill knows that what was backed up can be read again (docs/restore.md) --------------
#
# Behind a backup the agent notes some files, chosen by chance from all, with size and SHA-256, in a file of root's
# (state_dir/drill/ARCHIVE). The verb drill reads the same files out of what the server lends, into a digest and never
# to a disk, and answers numbers. Such a file is also the list of patterns that borg is given, so names are in no
# argument list: "+ pf:PATH" for borg; "#= SIZE SHA256 KEY" for us, where KEY is PATH as borg's log has it; "#! ..."
# the same of the canary: random bytes, new with each sample, by which one archive is distinguished from every other.

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
    if find / -prune -cnewer "$state_dir/drill/began" >/dev/null 2>&1; then
        set -- "$@" ! -cnewer "$state_dir/drill/began"
    else # busybox, whose find compares whole seconds: what changed in that one has to be newer
        touch -d "@$((now - 1))" "$state_dir/drill/began" || return 1
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
