r"""Names what is in image files.

efficientnet predict --model=efficientnet_lite0 --weights=imagenet \
    IMAGE.jpg ...
"""

from absl import flags

from efficientnet_tf.commands import program, shared

MODEL = flags.DEFINE_string("model", None, "A network over 1,000 classes.")
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "A name or a file.")
WORKDIR = flags.DEFINE_string("workdir", None, "Or: a fine-tuning run.")
TOP = flags.DEFINE_integer("top", 5, "How many classes to name.", 1)


def main(argv: list[str]) -> None:
    paths = argv[1:]
    if not paths:
        raise ValueError("Name one or more image files.")
    classifier = shared.load_classifier(
        MODEL.value, WEIGHTS.value, WORKDIR.value
    )
    results = []
    for path in paths:
        scores = classifier.predict([path])[0]
        best = scores.argsort()[::-1][: TOP.value]
        names = {classifier.class_names[i]: float(scores[i]) for i in best}
        print(path)
        for name, probability in names.items():
            print(f"  {probability:6.1%}  {name}")
        results.append({"image": path, "predictions": names})
    program.print_result({"results": results})


if __name__ == "__main__":
    program.run(main)
