# --- Keys and the repository they belong to -----------------------------------------------------------------

alarm() {
    [ -e "$state_dir/alarm" ] || printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >"$state_dir/alarm"
    die 76 E_ALARM "ALARM: $1. Nothing more will run here until root has looked into it and removed $state_dir/alarm"
}

ids_under() { # the repositories that the base directory $1 has spoken with, one to a line
    set +f
    for entry in "$1"/.config/borg/security/*; do [ ! -e "$entry" ] || printf '%s\n' "${entry##*/}"; done
    set -f
}

refuse_alarmed() { [ ! -e "$state_dir/alarm" ] || die 76 E_ALARM "ALARM since $(cat "$state_dir/alarm"): refused until root removes $state_dir/alarm"; }

no_key='the key file of this repository is gone: put its safe copy back'

own_key() { # prints the key file of this host's repository; there may be others, of earlier ones
    set +f
    for key in "$keys"/*; do
        read -r line <"$key" && case $line in "BORG_KEY $id") set -f && cat "$key" && return ;; esac
    done 2>/dev/null
    set -f
    false
}

only_ours() { # a server that shows an unencrypted or another repository must not get a second chance
    for seen in $(ids_under "$1"); do
        [ "$seen" = "$id" ] || alarm "the server showed another repository ($seen) than this host's ($id)"
    done
}

keyed() { # before a verb that uses the key
    refuse_alarmed
    [ -f "$state_dir/repository-id" ] || refuse E_NO_REPOSITORY "this host has no repository yet: init comes first"
    must_match "$state_dir/repository-id" '[0-9a-f]\{64\}'
    id=$(cat "$state_dir/repository-id")
    only_ours "$base"
    own_key >/dev/null || refuse E_NO_KEY "$no_key" # or borg's answer that it has none could be a trick of the server's
}

must_match() { # must_match FILE PATTERN: nothing here repairs what protects against a server that shows an older state
    [ -f "$1" ] || return 0
    # Every line of it: garbage may hold a line that matches.
    if [ -s "$1" ] && [ "$(LC_ALL=C grep -c -v -x "$2" "$1")" = 0 ]; then return 0; fi
    die 68 E_BROKEN "broken: $1"
}

look_at_memory() { # what a power cut leaves empty here would pass for a trick of the server's
    memory=$base/.config/borg/security/$id
    must_match "$memory/nonce" '[0-9a-f]\{16\}'
    must_match "$memory/key-type" '[0-9]\{1,3\}'
    must_match "$memory/location" '[[:print:]]\{1,\}'
    must_match "$memory/manifest-timestamp" '[0-9T:.+-]\{19,\}'
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
    forgiven=$(cat "$state_dir/last-forgiven" 2>/dev/null)
    is_number "$forgiven" || forgiven=0
    [ $((now - forgiven)) -lt "$min_interval" ] || { echo "$now" >"$state_dir/last-forgiven" && echo "$last" >"$record"; }
}

writing() { # to this host's repository as it was left. Without its memory borg would trust whatever it is shown
    [ -d "$base/.config/borg/security/$id" ] || alarm "borg's memory of the repository is gone: $base/.config/borg/security/$id"
    look_at_memory
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

