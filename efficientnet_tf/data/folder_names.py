"""What the names of files and folders say: splits, masks, no images at all."""

import collections
import re
from collections.abc import Collection

SPLITS = ("train", "validation", "test")

# What people call the splits, in any case: after "the_training-set 2" has lost
# its other words.
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(
        ("validation", "val", "valid", "validate", "dev", "devel", "eval"),
        "validation",
    ),
    **dict.fromkeys(("evaluation", "minival"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "tests", "holdout"), "test"),
}
_FILLERS = {
    *("set", "data", "dataset", "images", "image", "imgs", "img", "photos"),
    *("split", "folder", "dir", "samples", "jpg", "jpeg", "png", "the"),
}
# "trainset", "valimages", "test2".
_COMPOUND = re.compile(
    rf"({'|'.join(sorted(_SPLIT_WORDS, key=len, reverse=True))})"
    r"(set|data|images|imgs|img)?\d*"
)

# Names of folders that hold what belongs to photographs beside them.
IMAGES = {
    *("images", "image", "imgs", "img", "photos", "pictures", "pics", "rgb"),
    *("jpegimages", "jpg", "jpeg", "png", "original", "originals"),
}
MASKS = {
    *("mask", "masks", "annotation", "annotations", "annots", "label"),
    *("labels", "segmentation", "segmentations", "segs", "groundtruth"),
    *("ground_truth", "gt", "trimap", "trimaps", "bbox", "bboxes", "boxes"),
    *("xml", "xmls", "json", "landmarks", "segmentationclass"),
}
# Of these, the names that are no class of photographs, as "mask" may be.
PLAIN_MASKS = MASKS - {"mask", "label", "gt", "boxes", "segs", "landmarks"}

# "x_mask.png" or "x_mask_1.png" beside "x.png".
_MASK_SUFFIX = re.compile(
    r"(.+?)[ _.-](masks?|seg|segmentation|gt|ground_?truth|labels?"
    r"|annotations?|trimap|matte)([ _.-]?\d+)?",
    re.IGNORECASE,
)

# Folders that publishers name for images without labels.
UNLABELLED = re.compile(
    r"(.*[ _-])?(pred|predict|prediction|predictions|unlabell?ed|unknown"
    r"|inference|submission)([ _-].*)?",
    re.IGNORECASE,
)

# What systems, file servers and editors leave; names that begin with a dot are
# hidden, "._x.jpg" among them, which archives of a Mac hold.
_SYSTEM = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"),
    *("@eadir", "#recycle", "@recycle", "#snapshot", "@recently-snapshot"),
    *("$recycle.bin", "lost+found", "system volume information"),
    *("__pycache__", "network trash folder", "temporary items"),
}
_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download")
_BACKUPS = ("~", ".bak", ".orig", ".swp", ".old")


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden, unfinished or not the user's own."""
    low = name.lower()
    return (
        low.startswith((".", "~$"))
        or low in _SYSTEM
        or low.endswith(_UNFINISHED + _BACKUPS)
    )


def find_splits(names: Collection[str]) -> dict[str, str]:
    """Returns {name: split} of the names that name splits.

    A word that is not about splits counts only where several names share it,
    as in "seg_train" and "seg_test": "bullet_train" is a class.
    """
    named: dict[str, str] = {}
    shared: dict[tuple, dict[str, str]] = collections.defaultdict(dict)
    for name in names:
        split, rest = _split_of(name)
        if split is None:
            continue
        if rest:
            shared[rest][name] = split
        else:
            named[name] = split
    for group in shared.values():
        if len(set(group.values())) > 1 or group.keys() >= set(names):
            named |= group
    return named


def mask_owner(stem: str) -> str | None:
    """Returns the image's stem that a mask's belongs to; None: it is none."""
    match = _MASK_SUFFIX.fullmatch(stem)
    return match[1] if match else None


def _split_of(name):
    """Returns (split or None, the words that are not about splits)."""
    # "TrainImages" is two words, "VOC2012" one.
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W_]+", spaced.lower())
    rest = [w for w in words if w not in _FILLERS and not w.isdigit()]
    # The split is the first or the last word.
    for place in (-1, 0):
        match = rest and _COMPOUND.fullmatch(rest[place])
        if match:
            others = rest[:-1] if place else rest[1:]
            return _SPLIT_WORDS[match[1]], tuple(others)
    return None, ()
