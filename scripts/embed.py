"""`efficientnet embed` from a checkout, installed or not."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from efficientnet_tf.commands import main  # noqa: E402

if __name__ == "__main__":
    main.run("embed", sys.argv)
