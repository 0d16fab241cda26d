"""How a host samples: the functions of the agent, by sh and by busybox, without a host."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.checkout import CHECKOUT

MODULES = [CHECKOUT / f"zborg/hosts/agent/{name}.sh" for name in ("61-sample", "62-drill")]
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\/"))
PATHS = st.lists(NAMES.map(lambda name: f"/data/{name}x"), min_size=1, max_size=20, unique=True)


def run(script: str, stdin: str, shell: tuple[str, ...] = ("sh",)) -> str:
    argv = [*shell, "-c", "".join(f". {one}\n" for one in MODULES) + script]
    env = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, input=stdin.encode(), env=env, capture_output=True, check=True, timeout=120)
    return done.stdout.decode()


@given(PATHS)
@settings(max_examples=25, deadline=None)
def test_a_key_is_what_borg_s_log_has(paths: list[str]) -> None:
    """JSON in ASCII, without the first slash; whatever letters, and names that only look like patterns."""
    paths = ["/canary", *paths]
    digest = "ab" * 32
    sizes = "\n".join(f"{number + 1} {path}" for number, path in enumerate(paths))
    sums = "\n".join(f"{digest}  {path}" for path in paths)
    text = f"{sizes}\n\n{chr(10).join(paths[1:])}\n\n{sums}\n"
    lines = run("sample_lines /canary", text).splitlines()
    expected = []
    for number, path in enumerate(paths):
        key = json.dumps(path[1:])[1:-1]
        expected += [f"#{'=' if number else '!'} {number + 1} {digest} {key}", f"+ pf:{path[1:]}"]
    assert lines == expected


def test_what_changed_or_has_no_digest_is_left_out() -> None:
    digest = "ab" * 32
    sizes, same = "4096 /canary\n1 /a\n2 /b\n3 /c", "/a\n/c"
    sums = f"{digest}  /canary\n{digest}  /a\n{digest}  /b"
    lines = run("sample_lines /canary", f"{sizes}\n\n{same}\n\n{sums}\n").splitlines()
    assert lines[1::2] == ["+ pf:canary", "+ pf:a"]
    with pytest.raises(subprocess.CalledProcessError):
        run("sample_lines /canary", f"{sizes}\n\n{same}\n\n{digest}  /a\n")


@pytest.mark.parametrize("shell", [("sh",), ("busybox", "sh")])
def test_each_file_has_the_same_chance(shell: tuple[str, ...]) -> None:
    """200 times five of twenty: each comes 50 times, with a deviation of 6.1; here within six of these."""
    names = [f"/data/{number:02}" for number in range(20)]
    text = "\n".join([*names, "= 1"])
    script = f"drill_files=5; n=0; while [ $n -lt 200 ]; do n=$((n + 1)); echo '{text}' | pick; done"
    lines = run(script, "", shell).split()
    assert lines.count("20") == 200
    found = Counter(line for line in lines if line != "20")
    assert sum(found.values()) == 1000 and set(found) == set(names)
    assert all(13 <= count <= 87 for count in found.values()), found
    assert len(set(lines[1::6])) > 10, "the order is of chance, too"


def test_a_search_that_was_stopped_is_no_sample() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run("drill_files=5; pick", "/data/1\n= 124\n")
    assert run("drill_files=5; pick", "/data/1\n/data/a\\b\n/data/blank \n= 1\n") == "1\n/data/1\n"


def test_as_many_as_fit_in_the_order_of_chance() -> None:
    text = "  60 /a\n 101 /too-large\n  30 /b c\n  20 /d\n  1 /e\n 212 total\n"
    assert run("drill_bytes=100; within_bytes", text) == "60 /a\n30 /b c\n"


@pytest.mark.parametrize("shell", [("sh",), ("busybox", "sh")])
def test_no_byte_of_the_next_file_is_taken(tmp_path: Path, shell: tuple[str, ...]) -> None:
    sizes = [1, 1048575, 1048576, 1048577, 3 << 20, 7]
    script = f"cd {tmp_path}; for size in {' '.join(map(str, sizes))}; do take $size | wc -c; done; cat"
    feeding = "".join(chr(97 + n) * size for n, size in enumerate(sizes)) + "rest"
    assert [*run(script, feeding, shell).split()] == [*map(str, sizes), "rest"]
