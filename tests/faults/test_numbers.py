"""Flags at the edges of numbers, and empty ones: one line, before any work."""

import subprocess
import sys

import pytest

from efficientnet_tf.commands import program

flags = program.flags
HUGE = "1" + 400 * "0"
# Flag, what follows its name in the message.
REFUSED = [
    ("--seconds=nan", "seconds=nan must be 0, or a finite number"),
    ("--seconds=inf", "seconds=inf must be 0, or a finite number"),
    ("--seconds=1e308", r"seconds=1e\+308 must be 0, or a finite number"),
    ("--seconds=1e-320", "seconds=1e-320 must be 0, or a finite number"),
    (f"--seconds={HUGE}", "seconds=inf must be 0, or a finite number"),
    (f"--count={HUGE}", "count=an integer of 1329 bits must be between"),
    (f"--count={10**30}", "count=10+ must be between"),
    ("--workdir=", "workdir= is empty"),
    ("--names=", "names= is empty"),
]


@pytest.mark.parametrize("argument,message", REFUSED)
def test_a_flag_out_of_all_bounds_is_refused(argument, message, monkeypatch):
    values = flags.FlagValues()
    module = {"module_name": "command", "flag_values": values}
    flags.DEFINE_float("seconds", 1.0, "", 0, **module)
    flags.DEFINE_integer("count", 1, "", **module)
    flags.DEFINE_string("workdir", None, "", **module)
    flags.DEFINE_list("names", ["a"], "", **module)
    flags.DEFINE_bool("quick", True, "", **module)
    monkeypatch.setattr(program.flags, "FLAGS", values)
    monkeypatch.setattr(sys, "argv", ["command"])
    values(["command"])
    program._check_flags()  # The defaults are fine.
    values(["command", argument])
    with pytest.raises(ValueError, match=f"^--{message}"):
        program._check_flags()


def test_a_command_refuses_them_in_one_line():
    command = [sys.executable, "-m", "efficientnet_tf", "launch"]
    done = subprocess.run(
        [*command, "--grace_seconds=nan", "--", "train"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == program.USAGE
    (line,) = done.stderr.splitlines()
    assert line.startswith("efficientnet launch: --grace_seconds=nan must be")
