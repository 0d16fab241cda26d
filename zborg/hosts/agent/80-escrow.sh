# --- Escrow: key and passphrase, sealed for people whom root on this host has named --------------------------

find_custodians() { # sets recipients: age's public keys, one to a line; or fails, and sets reason to why
    custodians=$confdir/custodians recipients='' number=0 # root's file: a server that named them would name itself
    reason="nobody to seal for: write one age1... public key a line into $custodians"
    [ -e "$custodians" ] || return 1
    is_safe "$custodians" || { reason="$custodians must belong to root and be writable by nobody else" && return 1; }
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        trim "$line"
        case $trimmed in
        '' | '#'*) continue ;;
        age1*[!a-z0-9]*) false ;;
        age1*) recipients=$recipients$trimmed$newline ;;
        *) false ;;
        esac || { reason="$custodians line $number: not a public key of age (age1...)" && return 1; }
    done <"$custodians"
    [ -n "$recipients" ] || return 1
    reason="age is not installed here: apt-get install age (or: pkg install age, apk add age)"
    command -v age >/dev/null
}

seal() { # prints what --key-export does, sealed and armoured; in the clear it is in memory alone
    find_custodians || refuse E_CUSTODIANS "$reason"
    exported=$(key_export) || exit
    set --
    for recipient in $recipients; do set -- "$@" -r "$recipient"; done
    sealed=$(printf '%s\n' "$exported" | age -a "$@") || refuse E_SEAL "age could not seal for those in $custodians"
    printf '%s\n' "$sealed"
}

