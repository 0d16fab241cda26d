# --- For the host's owner -------------------------------------------------------------------------------------

owner() { # what a bundle does when it is run: look, make, and print the line for `zborg host accept`
    found=$(probe)
    printf '%s\n' "$found" | sed -n 's/^remark /note: /p; s/^problem /to be fixed first: /p'
    case $newline$found in *"${newline}problem "*) echo "Nothing was changed." && exit 2 ;; esac
    install_all
    finish
    echo "This host is ready. Send this line to the administrator of $server; it holds no secret:"
    echo
    printf 'zborg-accept 1 %s %s %s agent 1 borg %s server %s\n' "$name" "$url" "$(host_key)" "$(borg_version)" "$fingerprint"
}

alone() { # one at a time on this host; a directory can be locked too, and nothing is left behind
    if [ "$(id -u)" -ne 0 ] || ! command -v flock >/dev/null; then return; fi
    exec 9<"$(root_home)"
    flock -w 30 9 && return
    echo "zborg: another enrolment is at work on this host" >&2
    exit 75
}

main() {
    verb=${1-owner}
    [ $# -eq 0 ] || shift
    case $verb in install | undo | finish | add-key | drop-key | owner) alone ;; esac
    case $verb in
    probe) probe ;;
    install) install_all ;;
    undo) undo "$@" ;;
    finish) finish ;;
    keys) list_keys ;;
    add-key) add_key "$1" ;;
    drop-key) drop_key "$1" ;;
    owner) owner ;;
    *) echo "usage: sh $0 [probe]" >&2 && exit 2 ;;
    esac
}
