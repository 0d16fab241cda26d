"""The QEMU process of a guest: its command line, its start, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab import tools
from tests.lab.cache import cache_dir
from tests.lab.errors import CommandFailed, LabError
from tests.lab.rundir import RunDir, read_int

MEMORY_MIB = 1024
# Measured on two cores without hardware help: one is as fast as two, and leaves one for others.
CPUS = 1

# A guest without hardware help says it is there within 3 s; a broken /dev/kvm never does.
PROBE_TIMEOUT = 20.0
END_TIMEOUT = 10.0

READY = "ZBORG-LAB READY"
FAILED = ("ZBORG-LAB FAILED", "Kernel panic")

_ACCELERATORS = {
    "kvm": ["-accel", "kvm", "-cpu", "host"],
    "tcg": ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max"],
}
# A kernel or ZFS that is broken ends at once, and QEMU with it (-no-reboot): what is left only times out.
_PANIC = "panic=-1 oops=panic spl.spl_panic_halt=1"
# TCG knows translated code by its address: where libraries lie elsewhere in each process, it translates them
# again for each. A start of /bin/true takes 7 ms like this, and 39 ms with random addresses.
_FIXED = "nokaslr norandmaps"
# No sound, no random waits, no checks a test guest has no use for: 12 s to boot instead of 20.
_KERNEL_WORDS = (
    f"console=ttyS0 quiet {_PANIC} {_FIXED} mitigations=off random.trust_cpu=on net.ifnames=0 "
    # An emulated kernel on a busy machine may measure its TSC wrong: its clock ran eight times too fast.
    "no_timer_check tsc=unstable clocksource=hpet cryptomgr.notests audit=0"
)


def launch(run: RunDir) -> None:
    """Start QEMU in the background, detached from the caller's terminal and files.

    Raises CommandFailed when QEMU refuses, with what it said.
    """
    for stale in (run.console, run.pid_file, run.socket("mon")):
        stale.unlink(missing_ok=True)
    tools.run([*_machine(accelerator(run)), *_guest(run)], timeout=60)


def _machine(accel: str) -> list[str]:
    base = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
    size = ["-M", "q35", "-smp", str(CPUS), "-m", str(MEMORY_MIB), "-no-reboot", "-daemonize"]
    return [*base, *size, *_ACCELERATORS[accel]]


def _boot(kernel: Path, initrd: Path, console: Path, words: str) -> list[str]:
    log = ["-chardev", f"file,id=c0,path={console}", "-serial", "chardev:c0"]
    append = f"{_KERNEL_WORDS} {words}"
    return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", append, *log]


def _guest(run: RunDir) -> list[str]:
    forward = f"user,id=n0,hostfwd=tcp:127.0.0.1:{run.port()}-:22"
    return [
        *("-name", _mark(run)),
        *("-pidfile", str(run.pid_file)),
        *_boot(run.kernel, run.initrd, run.console, f"lab.now={time.time():.0f}"),
        # In this order: they become vda, vdb and vdc.
        *_disk("root", run.overlay, "qcow2", "cache=unsafe"),
        *_disk("d1", run.data_disk, "qcow2", "cache=unsafe,discard=unmap"),
        *_disk("identity", run.identity, "raw", "readonly=on"),
        *("-netdev", forward, "-device", "virtio-net-pci,netdev=n0,romfile="),
        *("-object", "rng-random,id=r0,filename=/dev/urandom"),
        *("-device", "virtio-rng-pci,rng=r0"),
        *("-monitor", f"unix:{run.socket('mon')},server=on,wait=off"),
    ]


def _disk(name: str, path: Path, form: str, options: str) -> list[str]:
    # cache=unsafe: what the guest has flushed is in the host's page cache, which outlives a
    # killed QEMU; only a crash of the host itself would lose it.
    drive = f"if=none,id={name},file={path},format={form},{options}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]


def _mark(run: RunDir) -> str:
    return f"zborg-lab-{run.name},debug-threads=off"


def running_pid(run: RunDir) -> int | None:
    """The process id of the guest's QEMU, or None when it is dead.

    A number in a file is not enough: the process may have ended and another one have its
    number, so its command line must name this guest's own folder. A zombie has none.
    """
    pid = read_int(run.pid_file)
    if pid is None:
        return None
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return pid if str(run.pid_file).encode() in words else None


def wait_ready(run: RunDir, timeout: float) -> None:
    """Wait until the guest's start script is through; LabError when it fails or is too slow."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        text = tools.tail(run.console, 400)
        if READY in text:
            return
        if running_pid(run) is None or any(word in text for word in FAILED):
            raise LabError(f"{run.name}: the guest ended while it booted")
        time.sleep(0.1)
    raise LabError(f"{run.name}: not ready after {timeout:.0f} s")


def kill(run: RunDir) -> None:
    """End QEMU as a power cut does, and return when it is gone."""
    _signal(run, signal.SIGKILL)
    if not _gone(run):
        raise LabError(f"{run.name}: QEMU (process {running_pid(run)}) does not end")


def stop(run: RunDir) -> None:
    """End QEMU: by its monitor, else SIGTERM, else SIGKILL. LabError if it is still there."""
    _quit(run)
    if not _gone(run):
        _signal(run, signal.SIGTERM)
    if not _gone(run):
        kill(run)
    run.socket("mon").unlink(missing_ok=True)


def _quit(run: RunDir) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(5)
        monitor.connect(str(run.socket("mon")))
        monitor.sendall(b"quit\n")
        while monitor.recv(4096):
            pass


def _signal(run: RunDir, number: signal.Signals) -> None:
    pid = running_pid(run)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _gone(run: RunDir) -> bool:
    return _within(END_TIMEOUT, lambda: running_pid(run) is None)


def _within(seconds: float, done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def accelerator(run: RunDir) -> str:
    """kvm if a guest boots with it here, else tcg; tried once per boot of this machine."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    verdict = cache_dir() / "accelerator"
    with tools.locked(cache_dir() / ".accelerator.lock", timeout=3 * PROBE_TIMEOUT):
        known = verdict.read_text() if verdict.exists() else ""
        for name in _ACCELERATORS:
            if known == f"{boot} {name}\n":
                return name
        found = "kvm" if _kvm_works(run.kernel, run.initrd) else "tcg"
        verdict.write_text(f"{boot} {found}\n")
    return found


def _kvm_works(kernel: Path, initrd: Path) -> bool:
    # /dev/kvm may exist and be usable by nobody, or start a guest that never runs.
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory(prefix="zborg-lab-") as folder:
        probe = RunDir(Path(folder))
        files = ["-pidfile", str(probe.pid_file)]
        boot = _boot(kernel, initrd, probe.console, "lab.probe")
        try:
            tools.run([*_machine("kvm"), *files, *boot], timeout=PROBE_TIMEOUT)
        except CommandFailed:
            return False
        try:
            return _within(PROBE_TIMEOUT, lambda: "ZBORG-LAB PROBE" in tools.tail(probe.console, 400))
        finally:
            kill(probe)
