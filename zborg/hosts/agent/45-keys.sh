# --- Keys and the repository they belong to -----------------------------------------------------------------

alarm() {
    [ -e "$state_dir/alarm" ] || printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >"$state_dir/alarm"
    die 76 E_ALARM "ALARM: $1. Nothing more will run here until root has looked into it and removed $state_dir/alarm"
}

ids_under() { # sets ids to the repositories that the base directory $1 has spoken with, one to a line
    set +f
    set -- "$1"/.config/borg/security/*
    set -f
    ids=''
    for entry in "$@"; do [ ! -e "$entry" ] || ids=$ids${ids:+$newline}${entry##*/}; done
}

refuse_alarmed() { [ ! -e "$state_dir/alarm" ] || die 76 E_ALARM "ALARM since $(cat "$state_dir/alarm"): refused until root removes $state_dir/alarm"; }

no_key='the key file of this repository is gone: put its safe copy back'

own_key() { # sets key to the key file of this host's repository; there may be others, of earlier ones
    set +f
    set -- "$keys"/*
    set -f
    for key in "$@"; do
        read -r line <"$key" && case $line in "BORG_KEY $id") return ;; esac
    done 2>/dev/null
    false
}

only_ours() { # a server that shows an unencrypted or another repository must not get a second chance
    ids_under "$1"
    for seen in $ids; do
        [ "$seen" = "$id" ] || alarm "the server showed another repository ($seen) than this host's ($id)"
    done
}

keyed() { # before a verb that uses the key
    refuse_alarmed
    [ -f "$state_dir/repository-id" ] || refuse E_NO_REPOSITORY "this host has no repository yet: init comes first"
    must_match "$state_dir/repository-id" 64 64 0-9a-f
    id=$line
    # What a power cut leaves empty here would pass for a trick of the server's.
    case $verb in create | sample | prune) match_memory ;; esac
    nothing_else
    only_ours "$base"
    own_key || refuse E_NO_KEY "$no_key" # or borg's answer that it has none could be a trick of the server's
}

broken() { die 68 E_BROKEN "broken: $1"; } # nothing here repairs what protects against a server that shows an older state

must_match() { # must_match FILE LEAST MOST CHARACTERS: its first line, and nothing_else has to follow for all of them
    [ -f "$1" ] || return 0
    line=''
    if IFS= read -r line <"$1"; then length=$((${#line} + 1)); else length=${#line}; fi
    # shellcheck disable=SC2295 # a pattern is wanted
    case $line in *[!$4]*) broken "$1" ;; esac
    if [ "${#line}" -lt "$2" ] || [ "${#line}" -gt "$3" ]; then broken "$1"; fi
    matched=${matched-}$1$newline sizes="${sizes-} -o -path $1 -size ${length}c"
}

# Garbage may begin with a line that matches, and `read` leaves out every NUL: so a file is as long as that line, or broken.
# One find for all; the paths have no blanks in them.
nothing_else() {
    # shellcheck disable=SC2086 # words are wanted
    whole=$newline$(find -H $matched -prune \( ${sizes# -o} \) -print 2>/dev/null)$newline
    for file in $matched; do
        case $whole in *"$newline$file$newline"*) ;; *) broken "$file" ;; esac
    done
    matched='' sizes=''
}

match_memory() {
    memory=$base/.config/borg/security/$id
    must_match "$memory/nonce" 16 16 0-9a-f
    must_match "$memory/key-type" 1 3 0-9
    must_match "$memory/location" 1 9999 ' -~'
    must_match "$memory/manifest-timestamp" 19 99 0-9T:.+-
}

set_cache_aside() { # borg makes it anew. What protects against an older state lies in security/, and is whole
    cache=$base/.cache/borg/$id
    [ -e "$cache" ] || return 0
    rm -rf "$cache.broken"
    mv "$cache" "$cache.broken" || return 0
    say N_CACHE "cache set aside: $cache.broken"
    forgive_start
}

forgive_start() { # the next try is to be allowed: this one did nothing. Once within min_interval, whatever the server shows
    [ -n "${record-}" ] && [ "$verb" = create ] || return 0
    forgiven=''
    [ ! -e "$state_dir/last-forgiven" ] || IFS= read -r forgiven <"$state_dir/last-forgiven"
    is_number "$forgiven" || forgiven=0
    [ $((now - forgiven)) -lt "$min_interval" ] || { echo "$now" >"$state_dir/last-forgiven" && echo "$last" >"$record"; }
}

writing() { # to this host's repository as it was left. Without its memory borg would trust whatever it is shown
    [ -d "$base/.config/borg/security/$id" ] || alarm "borg's memory of the repository is gone: $base/.config/borg/security/$id"
    [ -z "$before" ] || { match_memory && nothing_else; } # again: a hook may have run for an hour
    tunnel --log-json --lock-wait "$lock_wait" "$@"
    only_ours "$base"
    case $suspect:$rc in :64) suspect=$older ;; :4[24] | :6[0-3]) suspect=$foreign ;; esac
    [ -z "$suspect" ] || alarm "$suspect"
    [ "$trouble" != cache ] || is_good "$rc" || set_cache_aside
}

freshly() { # read without borg's memory: an older state of the repository may be read, though never written to
    fresh=$(mktemp -d "$run_dir/base.XXXXXX") || die 2 E_WRITE "cannot make a directory in $run_dir"
    BORG_BASE_DIR=$fresh
    tunnel --log-json --lock-wait "$lock_wait" "$@"
    only_ours "$fresh"
    only_ours "$base"
}

