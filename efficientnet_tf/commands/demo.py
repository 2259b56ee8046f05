r"""Writes a page that runs a classifier in the browser.

efficientnet demo --workdir=RUN --output=site --serve
efficientnet demo --model=efficientnet_lite0 --output=site cat.jpg dog.jpg

People drop, paste or photograph an image and see what the network says and
what speaks for it; no image leaves their machine. Any web server can serve the
folder; --serve does on 127.0.0.1. Images that are named are examples on the
page; by default a run's own. LiteRT.js comes from npm's registry, or that of
$EFFICIENTNET_TF_NPM_REGISTRY.
"""

import pathlib

from absl import flags

from efficientnet_tf.commands import (
    classifier_flags,
    image_arguments,
    program,
    summary,
)
from efficientnet_tf.deploy import formats
from efficientnet_tf.utils import (
    addresses,
    extras,
    image_sizes,
    run_folder,
    targets,
    watchdog,
    words,
)
from efficientnet_tf.weights import hub

CLASSIFIER = classifier_flags.ClassifierFlags(
    exported="In place of --model: a run, a .keras file, or hf://USER/REPO."
)
OUTPUT = flags.DEFINE_string("output", None, "The page's folder.")
TITLE = flags.DEFINE_string(
    "title", None, "The page's title; by default what the network is called."
)
SERVE = flags.DEFINE_bool(
    "serve", False, "Then serve the page on 127.0.0.1, until Ctrl-C."
)
PORT = flags.DEFINE_integer(
    "port",
    8080,
    "Port of --serve; 0: any free one.",
    0,
    addresses.LAST_PORT,
)
flags.mark_flag_as_required("output")


def main(argv: list[str]) -> None:
    CLASSIFIER.check()
    _check_kind()
    extras.require("The page's files", "ai_edge_litert")
    examples = _find_examples(argv[1:])
    folder = pathlib.Path(OUTPUT.value).absolute()
    # First: the port may be taken.
    server = _bind(folder) if SERVE.value else None

    from efficientnet_tf.deploy.demo import site

    site.check_replaceable(folder)
    classifier = CLASSIFIER.load()
    name = _name()
    word = {targets.CLASS: "class", targets.LABELS: "label"}
    count = words.count(
        len(classifier.class_names), word.get(classifier.target, "number")
    )
    written = site.write(
        classifier,
        folder,
        title=TITLE.value or name,
        footer=f"{name}: {count}, {image_sizes.show(classifier.size)} pixels.",
        examples=examples,
    )
    if server:
        _listen(server)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    summary.print_summary(
        f"Wrote the page of {name}; any web server can serve it.",
        {
            "in": str(folder),
            "size": f"{size / 1e6:.1f} MB",
            "examples": str(written.examples),
            "activation map": "yes" if written.activation_map else "no",
        },
    )
    address = server and f"http://127.0.0.1:{server.server_port}/"
    program.print_result(
        {
            "output": str(folder),
            "bytes": size,
            "examples": written.examples,
            "activation_map": written.activation_map,
            "address": address,
        }
    )
    if server:
        _serve(server, address)


def _check_kind():
    if not CLASSIFIER.exported or hub.is_name(CLASSIFIER.exported):
        return
    path = formats.find(CLASSIFIER.exported)
    if not (path.suffix == ".keras" or formats.is_run(path)):
        raise ValueError(
            f"--classifier={CLASSIFIER.exported} is exported already; the page "
            "is made of a run or a .keras file."
        )


def _find_examples(arguments):
    """Returns the image files that are named, or a run's own."""
    if arguments:
        return image_arguments.find(arguments)
    run = CLASSIFIER.trained
    if not run:
        return []
    path = pathlib.Path(run).expanduser()
    path = path if path.is_dir() else path.parent
    return sorted((path / run_folder.EXAMPLES).glob("*.png"))[:8]


def _name():
    """Returns what the page calls the network."""
    path = pathlib.Path(CLASSIFIER.name)
    return path.resolve().stem if CLASSIFIER.trained else path.stem


def _bind(folder):
    from efficientnet_tf.deploy.demo import server

    return server.bind(folder, PORT.value)


def _listen(bound):
    from efficientnet_tf.deploy.demo import server

    server.listen(bound)


def _serve(bound, address):
    from efficientnet_tf.deploy.demo import server

    program.print_error(f"serving at {address}; Ctrl-C ends it.")
    with watchdog.guarded():
        server.serve(bound)


if __name__ == "__main__":
    program.run(main)
