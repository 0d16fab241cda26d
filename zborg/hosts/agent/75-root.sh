# --- For root at a terminal ---------------------------------------------------------------------------------

setup() { # setup NAME: makes what is missing and corrects modes, and replaces nothing that a key depends on
    [ "$1" = "$name" ] || refuse "this host calls itself $name: write name = $1 into $confdir/agent.conf"
    for directory in "$confdir" "$state_dir" "$run_dir"; do
        [ ! -d "$directory" ] || make_private 0700 "$directory"
        own_directory "$directory"
    done
    secret=$confdir/passphrase
    if [ -s "$secret" ] || [ -L "$secret" ]; then
        make_private 0600 "$secret"
    elif has_keys; then
        refuse "$secret is gone or empty, and a new one would not open this host's key. Put its safe copy back \
(from --key-export, or what a custodian opens): type the next line, paste the passphrase, press Enter and Ctrl-D${newline}\
cat >$secret && chmod 0600 $secret"
    else
        make_passphrase
    fi
    [ ! -e "$state_dir/repository-id" ] || check_key
    echo "$name is ready: passphrase in $secret, state in $state_dir"
}

make_passphrase() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$secret.new"
    [ "$(wc -c <"$secret.new")" -eq 64 ] || die 2 "no random bytes from /dev/urandom"
    mv "$secret.new" "$secret"
}

make_private() { # make_private MODE PATH: for us alone. What is not ours, or a link, is for root to look at
    ! is_safe "$2" secret || return 0
    [ -n "$(find "$2" -prune ! -type l \( -user 0 -o -user "$uid" \))" ] ||
        refuse "$2 is a link or does not belong to root. Look at what it is, then${newline}chown -h root $2${newline}chmod $1 $2"
    chmod "$1" "$2" || die 2 "cannot change the mode of $2"
    say "the mode of $2 was too wide, and is now $1: until now others on this host could reach it"
}

has_keys() { # whether a passphrase that is made now would be another than the one that keys here were made with
    [ ! -e "$state_dir/repository-id" ] || return 0
    set +f
    for file in "$keys"/* "$base"/.config/borg/security/*; do [ ! -e "$file" ] || { set -f && return 0; }; done
    set -f
    false
}

check_key() { # what borg would find out by night
    id=$(cat "$state_dir/repository-id")
    own_key || refuse "$no_key, into $keys"
    [ -d "$base/.config/borg/security/$id" ] ||
        refuse "borg's memory of the repository is gone ($base/.config/borg/security/$id): docs/agent.md, Keys, has what to do"
    opens=unknown
    try_key
    [ "$opens" != no ] || refuse "$secret does not open the key of repository $id: put its safe copy back${newline}\
cat >$secret && chmod 0600 $secret"
}

allow_restore() { # allow_restore SNAPSHOT MAX_BYTES PATH...
    if [ $# -lt 3 ] || ! is_number "$2"; then refuse "--allow-restore SNAPSHOT MAX_BYTES PATH..."; fi
    check_restore x x x "$1" "$3"
    own_directory "$state_dir"
    snapshot=$1 bytes=$2
    shift 2
    {
        printf 'snapshot = %s\nmax_bytes = %s\n' "$snapshot" "$bytes"
        for path in "$@"; do
            is_path "$path" || refuse "$path_rule"
            without_slash "$path"
            printf 'path = %s\n' "$path"
        done
    } >"$state_dir/restore.allow.new" || exit
    mv "$state_dir/restore.allow.new" "$state_dir/restore.allow"
    echo "One restore is allowed, of no more than this:"
    tr '\001-\011\013-\037\177' '?' <"$state_dir/restore.allow"
}

allow_signing() {
    own_directory "$state_dir"
    date >"$state_dir/sign-archives.allow" || exit
    echo "The next backup signs every archive of $name that is not signed under its name."
}

key_export() {
    id=$(cat "$state_dir/repository-id" 2>/dev/null) || refuse E_NO_REPOSITORY "this host has no repository yet: init comes first"
    is_safe "$confdir/passphrase" secret || refuse E_PASSPHRASE "$confdir/passphrase must be there, belong to root, and have mode 0600"
    printf '%s\n' "# Key and passphrase of $name's backup, repository $id." \
        "# Who has both can read every backup; without both nobody can." \
        "# Keep this where neither this host nor the backup server can lose or read it." "# Passphrase:"
    cat "$confdir/passphrase"
    printf '\n# Key file:\n'
    own_key || refuse E_NO_KEY "$no_key"
    cat "$key"
}

