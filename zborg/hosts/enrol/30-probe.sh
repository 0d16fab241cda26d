# --- What `probe` looks at ----------------------------------------------------------------------------------

probe() {
    fact uid "$(id -u)"
    fact system "$(uname -sr)"
    fact clock "$(date +%s)"
    fact host_key "$(host_key)"
    host_keys
    [ "$(id -u)" -eq 0 ] || { problem "this is not root, so nothing can be looked at -> log in as root, or allow sudo -n" && return; }
    probe_programs
    probe_agent
    probe_paths
    probe_sshd
}

probe_programs() {
    version=$(borg_version)
    fact borg "${version:-missing}"
    case $version in
    1.[2-9]* | 1.[1-9][0-9]*) ;;
    '') problem "borg is not installed -> apt-get install borgbackup (or: pkg install py311-borgbackup, apk add borgbackup)" ;;
    *) problem "borg $version is too old or too new -> install borg 1.2 or 1.4" ;;
    esac
    if command -v age >/dev/null; then
        fact age yes
        try_age
    else
        fact age no
        [ -z "$custodians" ] || problem "age is not installed, and it seals the key for the custodians -> apt-get install age (or: pkg install age, apk add age)"
    fi
    free=$(df -Pk /var/lib 2>/dev/null | sed -n '$s/.* \([0-9][0-9]*\)  *[0-9]*% .*/\1/p')
    fact free_kib "${free:-unknown}"
    case $free in '' | *[!0-9]*) ;; *) [ "$free" -ge 1048576 ] || remark "less than 1 GiB is free below /var/lib, where borg keeps its cache" ;; esac
}

try_age() { # a typing error in a public key shows here, and not once the repository is made
    set --
    for custodian in $custodians; do set -- "$@" -r "$custodian"; done
    [ $# -eq 0 ] || output=$(echo | age "$@" 2>&1 >/dev/null) || problem "age refuses a custodian ($output) -> correct [escrow] custodians"
}

same_text() { [ -f "$2" ] && [ "$1" = "$(cat "$2")" ]; } # same_text TEXT FILE

probe_agent() {
    if same_text "$(agent)" "$agent_file"; then fact agent same; elif [ -e "$agent_file" ]; then fact agent other; else fact agent none; fi
    if [ -e "$conf/agent.conf" ]; then
        fact conf there
        grep -Eq "^ *name *= *$name *\$" "$conf/agent.conf" ||
            problem "$conf/agent.conf is there and does not say name = $name -> add that line, or enrol under the name it says"
    else fact conf none; fi
    if [ ! -e "$conf/custodians" ]; then fact custodians none; elif same_text "$custodians" "$conf/custodians"; then fact custodians same; else
        fact custodians other
        remark "$conf/custodians names others than zborg.toml does, and stays as it is: the key is sealed for those"
    fi
    if [ -e "$conf/passphrase" ]; then fact passphrase yes; else fact passphrase no; fi
    if [ -e "$state/repository-id" ]; then fact initialised yes; else fact initialised no; fi
    [ ! -e "$state/alarm" ] || problem "there is an alarm on this host: $state/alarm -> look into it as root, then remove that file"
}

paths_of_conf() { sed -n 's/^ *path *= *//p' "$conf/agent.conf"; }

probe_paths() {
    if [ -e "$conf/agent.conf" ]; then paths=$(paths_of_conf); else paths=${wanted_paths:-$(existing_paths)}; fi
    [ -n "$paths" ] || problem "there is nothing to back up -> name it with --path"
    IFS=$newline
    for path in $paths; do
        fact path "$path"
        if [ -L "${path%/}" ]; then
            problem "$path is a symbolic link -> name what it points to"
        elif [ ! -e "$path" ]; then problem "$path is not there -> name what is, with --path"; fi
    done
    unset IFS
}

probe_sshd() {
    command -v sshd >/dev/null || { problem "there is no sshd in $PATH -> install openssh-server" && return; }
    sshd_facts >/dev/null || { problem "sshd -T fails: sshd_config has a mistake -> see what sshd -t says" && return; }
    case $(sshd_says permitrootlogin) in no)
        problem "sshd lets root not log in -> PermitRootLogin forced-commands-only (or prohibit-password) in sshd_config" ;;
    esac
    [ "$(sshd_says pubkeyauthentication)" != no ] || problem "sshd takes no keys -> PubkeyAuthentication yes in sshd_config"
    probe_lists
    case $(sshd_says forcecommand) in '' | none) ;; *) problem "ForceCommand in sshd_config overrides the agent -> take it away for root" ;; esac
    for variable in $(sshd_says acceptenv); do
        case $variable in
        LANG | LANGUAGE | LC_* | COLORTERM | NO_COLOR | XMODIFIERS) ;; # Debian's and Red Hat's defaults
        *) problem "sshd accepts $variable from a client, which root's login shell would see -> AcceptEnv LANG LC_* in sshd_config" ;;
        esac
    done
    output=$(shell_says)
    [ -z "$output" ] || problem "root's login shell prints something when it should be silent ($output) -> print only in interactive shells"
    probe_keys
    probe_keepalive
}

is_listed() { # is_listed KEY NAME...: is one of the names in sshd's list? The addresses in it are not judged
    list=$1
    shift
    for pattern in $(sshd_says "$list"); do
        case $list in allow*) pattern=${pattern%%@*} ;; esac
        for one in "$@"; do
            # shellcheck disable=SC2254 # a pattern is wanted
            case $one in $pattern) return 0 ;; esac
        done
    done
    return 1
}

probe_lists() { # who may log in at all
    groups=$(id -Gn root)
    # shellcheck disable=SC2086 # words are wanted
    {
        [ -z "$(sshd_says allowusers)" ] || is_listed allowusers root || problem "AllowUsers in sshd_config leaves root out -> add root@ and the server's address"
        [ -z "$(sshd_says allowgroups)" ] || is_listed allowgroups $groups || problem "AllowGroups in sshd_config leaves root out -> add a group of root's"
        if is_listed denyusers root || is_listed denygroups $groups; then problem "sshd_config denies root the login -> take root out of DenyUsers or DenyGroups"; fi
    }
    case " $(sshd_says authenticationmethods) " in '  ' | *' any '* | *' publickey '*) ;; *)
        problem "AuthenticationMethods in sshd_config asks for more than a key -> for root: Match User root, AuthenticationMethods publickey" ;;
    esac
}

probe_keys() {
    keys=$(authorized_keys) || { problem "AuthorizedKeysFile is none: sshd reads no keys -> AuthorizedKeysFile .ssh/authorized_keys" && return; }
    fact authorized_keys "$keys"
    if has_line "$server_key"; then fact line yes; else fact line no; fi
    ! has_other_line "$server_key" ||
        problem "the server's key is in $keys with other options, and sshd takes the first line -> remove that line"
}

is_kept_alive() { [ "$(sshd_says clientaliveinterval)" != 0 ] && [ "$(sshd_says clientalivecountmax)" != 0 ]; }

probe_keepalive() {
    if is_kept_alive; then fact keepalive yes; elif [ -e "$dropin" ]; then
        fact keepalive cannot
        remark "sshd takes another ClientAliveInterval or ClientAliveCountMax than $dropin says, and none at all: a backup that was cut off keeps this host busy for hours"
    elif is_included; then fact keepalive no; else
        fact keepalive cannot
        remark "sshd_config includes no drop-ins: without ClientAliveInterval 15 in it, a backup that was cut off keeps this host busy for hours"
    fi
}

