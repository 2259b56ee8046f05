"""Writes the explorer: one HTML page that scales the family live.

efficientnet explore --output=explorer.html

It needs no other file and no network; docs/explorer.html is this page.
"""

import os

from absl import flags

from efficientnet_tf.commands import program

OUTPUT = flags.DEFINE_string("output", "explorer.html", "The page's file.")


def main(_: list[str]) -> None:
    from efficientnet_tf.search.explorer import explorer
    from efficientnet_tf.utils import files

    path = os.path.abspath(OUTPUT.value)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder, not a file.")
    files.check_folder(os.path.dirname(path))
    explorer.write(path)
    program.print_result({"output": path, "bytes": os.path.getsize(path)})


if __name__ == "__main__":
    program.run(main)
