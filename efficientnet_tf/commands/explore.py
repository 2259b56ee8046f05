"""Writes the explorer: one HTML page that scales the family live.

efficientnet explore --output=explorer.html

The page needs no other file and no network; open it in a browser.
"""

import os

from absl import flags

from efficientnet_tf.commands import program, summary

OUTPUT = flags.DEFINE_string(
    "output", "explorer.html", "The page, an HTML file."
)
MODELS = flags.DEFINE_list(
    "models", [], "More networks of MBConv blocks, by name or variant file."
)


def main(_: list[str]) -> None:
    from efficientnet_tf.search.explorer import explorer
    from efficientnet_tf.utils import files

    path = os.path.abspath(OUTPUT.value)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder, not a file.")
    files.check_folder(os.path.dirname(path))
    explorer.write(path, MODELS.value)
    size = os.path.getsize(path)
    summary.print_summary(
        "Wrote the explorer; open it in a browser.",
        {"page": path, "size": f"{size / 1000:.0f} kB"},
    )
    program.print_result({"output": path, "bytes": size})


if __name__ == "__main__":
    program.run(main)
