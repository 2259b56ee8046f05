import subprocess
import sys

import paths
from efficientnet_tf.utils import files, scratch

# Makes a folder with something in it, says so, and waits to be killed.
PROGRAM = """
import sys
from efficientnet_tf.utils import scratch
with scratch.make(sys.argv[1]) as folder:
    (folder / "half").write_text("written")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_folder_is_gone_afterwards_and_others_are_left_alone(tmp_path):
    # As `files.atomic` leaves it: a run in the same folder removes it.
    other = tmp_path / f"{files.PREFIX}1-x"
    other.mkdir()
    with scratch.make(tmp_path) as folder:
        (folder / "half").write_text("written")
        with scratch.make(tmp_path) as second:
            assert folder.is_dir() and second != folder
    assert list(tmp_path.iterdir()) == [other]


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(
    tmp_path,
):
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=paths.ROOT,
        text=True,
    )
    with started:
        place = started.stdout.readline().strip()
        scratch.remove_abandoned(tmp_path)
        assert [str(path) for path in tmp_path.iterdir()] == [place]
        started.kill()
        started.wait()
    assert [str(path) for path in tmp_path.iterdir()] == [place]
    with scratch.make(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
