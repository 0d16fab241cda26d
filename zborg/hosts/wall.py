"""A wall around one `borg serve`: serve.sh starts this program, and this program starts borg.

    wall.py REPOSITORY UID NEED COMMAND...

It needs a Linux kernel and Python 3.9 or newer of the storage, and nothing else of zborg: where zborg is on
another machine it is installed there as a single file. UID is "uid" when the process already runs under a
number that no other host has; NEED is "require" to start nothing without a wall.

In the order of preference: Landlock, from ABI 3 on (with 1 and 2 a confined process can still truncate any
file that its user may write, see landlock(7)); bubblewrap. Around both, and without either, an empty network
namespace and no /proc, where the system lets an ordinary user have namespaces. What stands is reported on
stderr, once, before anything that a host sends is read: "zborg-serve: wall uid landlock-7 no-network".
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

LEAST_ABI = 3
REFUSED = 2

# linux/landlock.h. Numbers of system calls are the same on every architecture that borg runs on.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE, _MAKE_DIR, _MAKE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_HANDLED = (1 << 15) - 1  # all of ABI 3
_REPOSITORY = (
    _READ | _LIST | _WRITE | _TRUNCATE | _REMOVE | _REMOVE_DIR | _MAKE | _MAKE_DIR | _REFER
)  # no link, socket, pipe or device is made there
_PROGRAMS = _EXECUTE | _READ | _LIST

# linux/sched.h, linux/mount.h, linux/prctl.h
_NEWNS, _NEWIPC, _NEWUSER, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _RDONLY, _REC, _PRIVATE = 2, 4, 8, 1, 0x4000, 1 << 18
_NO_NEW_PRIVS = 38

# What a program needs to start. No home, no /proc, no /run, and of /etc no more than this.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/opt", "/etc/alternatives")
_FILES = (
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts"),
    "/etc/ssl/openssl.cnf",
)
_DEVICES = ("/dev/urandom", "/dev/zero")
# Processes, and sockets of services that answer everybody: Landlock guards no connection to a path.
_HIDDEN = ("/proc", "/run", "/tmp", "/dev/shm")

_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> None:
    """HOME UID REQUIRED COMMAND...: build the wall and run the command inside, or end with status 1."""
    home, uid, need, *command = argv
    words = [uid] if uid else []
    places = [*_SYSTEM, *_etc_of_python(), *_prefixes(command[0])]
    abi = landlock_abi()
    if abi < LEAST_ABI and (walled := _bubblewrap(home, places)):
        _say([*words, "bwrap", "no-network"])
        # There borg is always the same process number, and borg takes a lock of its own number for its own.
        os.environ["BORG_HOST_ID"] = f"{os.environ.get('BORG_HOST_ID', 'server')}:{os.getpid()}"
        _start([*walled, *command])
    alone = _leave_namespaces(home)
    if abi >= LEAST_ABI:
        _landlock(abi, home, places)
        words.append(f"landlock-{abi}")
    if not words and need:
        _report('E_NO_WALL refused: no wall can stand here, and wall = "require" asks for one')
        sys.exit(REFUSED)
    _say([*(words or ["none"]), "no-network" if alone else "network"])
    _start(command)


def _say(words: list[str]) -> None:
    _report(f"wall {' '.join(words)}")


def _report(text: str) -> None:
    sys.stderr.write(f"zborg-serve: {text}\n")
    sys.stderr.flush()


def _start(command: list[str]) -> None:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        _report(f"E_NO_BORG {command[0]}: {error.strerror}")
        sys.exit(127)


# --- what borg itself is made of ----------------------------------------------------------------------------


def _etc_of_python() -> list[str]:
    """Debian's Python reads a file of its own there when it starts."""
    return [f"/etc/{name}" for name in _names("/etc") if name.startswith("python3")]


def _names(folder: str) -> list[str]:
    """What is in it; nothing where we may not look."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _prefixes(program: str) -> list[str]:
    """Where a borg lives that is no package of the system: the program, and the Pythons that it runs with."""
    if "/" not in program:
        folders = os.environ.get("PATH", os.defpath).split(":")
        there = (one for one in folders if os.access(f"{one}/{program}", os.X_OK))
        program = f"{next(there, '')}/{program}"
    found: list[str] = []
    for path in dict.fromkeys((os.path.abspath(program), os.path.realpath(program))):
        found.append(path)
        found += _python_at(os.path.dirname(os.path.dirname(path)))
    return found


def _python_at(prefix: str) -> list[str]:
    """The prefix, if it is one of Python's, and that of which it was made as a virtual environment."""
    if not any(name.startswith("python3") for name in _names(f"{prefix}/lib")):
        return []
    homes = []
    if "pyvenv.cfg" in _names(prefix):
        with open(f"{prefix}/pyvenv.cfg", encoding="utf-8") as lines:
            homes = [line.partition("=")[2].strip() for line in lines if line.startswith("home")]
    return [prefix, *(os.path.dirname(os.path.realpath(home)) for home in homes if home.startswith("/"))]


# --- Landlock -----------------------------------------------------------------------------------------------


def landlock_abi() -> int:
    """Its version in this kernel; 0 or less where there is none."""
    return int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION))


def read_only(home: str) -> bool:
    """This process reads below `home` from now on, and nothing else; False where the kernel has no Landlock.

    Any version of it will do: what 1 and 2 cannot forbid is to truncate files, and who calls this may lose
    its right to write by its user's number.
    """
    abi = landlock_abi()
    if abi < 1:
        return False
    ruleset = _ruleset(abi)
    _allow(ruleset, home, _READ | _LIST)
    _restrict(ruleset)
    return True


def read_and_write(home: str, source: str) -> bool:
    """The same for a process that also writes below `home`, and reads below `source`."""
    abi = landlock_abi()
    if abi < 1:
        return False
    ruleset = _ruleset(abi)
    mask = _handled(abi)
    _allow(ruleset, home, _REPOSITORY & mask)
    _allow(ruleset, source, _READ | _LIST)
    _restrict(ruleset)
    return True


def _handled(abi: int) -> int:
    """What this version knows, up to ABI 3."""
    return _HANDLED & ((1 << (12 + min(abi, LEAST_ABI))) - 1)


def _ruleset(abi: int) -> int:
    """One that allows nothing yet."""
    handled = _handled(abi) | (_IOCTL if abi >= 5 else 0)
    attributes = struct.pack("QQQ", handled, 3, 3)  # TCP both ways; abstract sockets and signals
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    return _checked(_libc.syscall(_CREATE, attributes, ctypes.c_size_t(size), 0))


def _restrict(ruleset: int) -> None:
    _checked(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(_libc.syscall(_RESTRICT, ruleset, 0))
    os.close(ruleset)


def _landlock(abi: int, home: str, places: list[str]) -> None:
    """Raises OSError rather than leaving a gap."""
    ruleset = _ruleset(abi)
    _allow(ruleset, home, _REPOSITORY)
    for place in places:
        if os.path.exists(place):
            _allow(ruleset, place, _PROGRAMS if os.path.isdir(place) else _READ | _EXECUTE)
    for file in (*_FILES, *_DEVICES):
        if os.path.exists(file):
            _allow(ruleset, file, _READ)
    _allow(ruleset, "/dev/null", _READ | _WRITE)
    _restrict(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    _checked(_libc.syscall(_ADD, ruleset, 1, struct.pack("=Qi", access, place), 0))
    os.close(place)


# --- namespaces ---------------------------------------------------------------------------------------------


def _leave_namespaces(home: str) -> bool:
    """No network, and nothing of what is hidden: whether the system lets us."""
    uid, gid = os.geteuid(), os.getegid()
    _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _libc.unshare(_NEWUSER | _NEWNET | _NEWIPC | _NEWNS):
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    _checked(_libc.mount(b"none", b"/", None, _REC | _PRIVATE, None))
    for place in _HIDDEN:
        if os.path.isdir(place) and not f"{home}/".startswith(f"{place}/"):
            options = _NOSUID | _NODEV | _NOEXEC | _RDONLY
            _checked(_libc.mount(b"none", place.encode(), b"tmpfs", options, b"mode=0555"))
    return True


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# --- bubblewrap ---------------------------------------------------------------------------------------------


def _bubblewrap(home: str, places: list[str]) -> list[str]:
    """Its argv, without the command; [] where it is not installed or the system does not let it work."""
    program = next((one for one in ("/usr/bin/bwrap", "/usr/local/bin/bwrap") if os.access(one, os.X_OK)), "")
    if not program:
        return []
    argv = [program, "--unshare-all", "--die-with-parent", "--dev", "/dev", "--proc", "/proc"]
    for place in (*places, *_FILES):
        argv += ["--ro-bind-try", place, place]
    argv += ["--bind", home, home, "--chdir", os.path.dirname(home), "--"]
    try:
        status = os.spawnv(os.P_WAIT, program, [*argv, "true"])
    except OSError:
        return []
    return argv if status == 0 else []


if __name__ == "__main__":
    main(sys.argv[1:])
