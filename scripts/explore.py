"""Writes the explorer: one HTML page that scales the family live.

python scripts/explore.py --output=explorer.html

It needs no other file and no network; docs/explorer.html is this page.
"""

import os

import cli
from absl import flags

OUTPUT = flags.DEFINE_string("output", "explorer.html", "The page's file.")


def main(_):
    from efficientnet_tf.search.explorer import explorer
    from efficientnet_tf.utils import files

    path = os.path.abspath(OUTPUT.value)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder, not a file.")
    files.check_folder(os.path.dirname(path))
    explorer.write(path)
    cli.print_result({"output": path, "bytes": os.path.getsize(path)})


if __name__ == "__main__":
    cli.run(main)
