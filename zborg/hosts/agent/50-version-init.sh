# --- Verbs --------------------------------------------------------------------------------------------------

version() {
    found=$("$borg" --version </dev/null 2>/dev/null) || found='borg missing'
    what_time_it_is
    printf '%s\n' "agent 1" "name $name" "$found" "clock $now" "restore $restore"
    [ -e "$state_dir/repository-id" ] && echo "initialised yes" || echo "initialised no"
    [ -e "$state_dir/alarm" ] && echo "alarm yes" || echo "alarm no"
    borg_runs && echo "borg_runs yes" || echo "borg_runs no"
    [ -n "$retention" ] && echo "prune yes" || echo "prune no"
    find_custodians && echo "escrow yes" || echo "escrow no"
    [ -n "$paths" ] && echo "paths yes" || echo "paths no"
    [ "$passphrase_safe" = yes ] && echo "passphrase yes" || echo "passphrase no"
    look_at_paths
    printf '%s\n' "conf $confdir/agent.conf" "absent ${absent:-none}" "links ${links:-none}"
    [ -n "$before" ] && echo "before yes" || echo "before no"
    shell=$(sed -n 's/^[^:]*:[^:]*:0:.*:\(\/[^:]*\)$/\1/p' /etc/passwd 2>/dev/null | sed 1q)
    is_plain_path "$shell" && echo "shell $shell" || echo "shell unknown"
    witness_state
    drill_state
    [ ! -e "$state_dir/repository-id" ] || key_state
}

key_state() { # what the repository's key depends on; hosts without a repository print none of it
    id=$(cat "$state_dir/repository-id")
    opens=unknown
    if own_key; then echo "key yes" && try_key; else echo "key no"; fi
    [ -d "$base/.config/borg/security/$id" ] && echo "memory yes" || echo "memory no"
    echo "opens $opens"
}

# Whether the passphrase opens the key is asked of borg itself, here and without the server: in a repository of
# nothing but this id and a first object that no key fits. borg opens the key to check it, and then says so.
try_key() { # sets opens to yes, no or unknown. Tried with borg 1.2.4 and 1.4.5. Nothing of it stays.
    if [ ! -x "$borg" ] || ! is_safe "$confdir/passphrase" secret; then return; fi
    fresh=$(mktemp -d /tmp/zborg.XXXXXX) && mkdir -p "$fresh/repository/data/0" || return
    printf '[repository]\nversion = 1\nsegments_per_dir = 1000\nmax_segment_size = 524288000\nappend_only = 0\nid = %s\n' \
        "$id" >"$fresh/repository/config"
    # A segment as borg writes it: a PUT of the manifest (type 4, keyfile-blake2, then zeros), and a COMMIT.
    zeros='\0\0\0\0\0\0\0\0' zeros=$zeros$zeros$zeros$zeros
    printf "BORG_SEG\\004\\236\\241\\377Y\\0\\0\\0\\0$zeros\\004$zeros\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0@\\364<%%\\t\\0\\0\\0\\002" \
        >"$fresh/repository/data/0/0"
    answer=$(BORG_BASE_DIR=$fresh timeout -k 2 15 "$borg" --log-json --bypass-lock list "$fresh/repository" 2>&1 </dev/null) || :
    case $answer in *'"PassphraseWrong"'*) opens=no ;; *'MAC Authentication failed'*) opens=yes ;; esac
    rm -rf "$fresh"
    fresh=''
}

init() { # init REPO
    record=$state_dir/repository-id
    refuse_alarmed
    [ ! -e "$record" ] || refuse E_REPOSITORY "this host has a repository; a second init needs root on this host: remove $record"
    # An init that broke off, or root's removal of the record, leaves ids behind. Their keys stay.
    ids_under "$base"
    [ -z "$ids" ] || mv "$base/.config/borg/security" "$base/.config/borg/security.before.$(date +%s).$$"
    tunnel --log-json --lock-wait "$lock_wait" init -e keyfile-blake2 "ssh://$1/./$1"
    stop_without_room
    [ "$rc" -eq 0 ] || exit "$rc"
    ids_under "$base"
    id=$ids
    case $id in '' | *[!0-9a-f]*) alarm "init left no single repository id" ;; esac
    if ! printf '%s\n' "$id" >"$record.new" || ! mv "$record.new" "$record"; then die 2 E_WRITE "cannot write $record"; fi
}

