"""What the names of files and folders say: splits, masks, no images at all."""

import collections
import re
from collections.abc import Collection, Iterable

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
THUMBNAILS = {
    *("thumb", "thumbs", "thumbnail", "thumbnails", "_thumb", "_thumbs"),
    *("preview", "previews"),
}
# {name of a folder: what it holds} that is left out beside photographs.
BESIDE = {
    **dict.fromkeys(MASKS, "masks or annotations"),
    **dict.fromkeys(THUMBNAILS, "thumbnails"),
}
# Of these, the names that are no class of photographs, as "mask" may be.
PLAIN = BESIDE.keys() - {
    *("mask", "label", "gt", "boxes", "segs", "landmarks"),
    *("thumb", "thumbs", "preview", "previews"),
}

# "x_mask.png", "x_mask_1.png", "mask_x.png" or "mask_x_1.png" beside "x.png".
_COPY_WORDS = {
    "masks or annotations": r"masks?|segm?|segmentation|gt|ground_?truth"
    r"|labels?|annot|annotations?|trimap|matte",
    "thumbnails": r"thumbs?|thumbnails?|preview|tn",
}
_COPIES = {
    what: re.compile(
        rf"(?P<before>.+?)[ _.-]({words})([ _.-]?\d+)?"
        rf"|({words})[ _.-](?P<after>.+)",
        re.IGNORECASE,
    )
    for what, words in _COPY_WORDS.items()
}
_NUMBER = re.compile(r"[ _.-]\d+$")
# "x-150x150.jpg", as web sites write.
_SIZED = re.compile(r"(?P<before>.+)[_-]\d+x\d+")
# "image_1.png" beside "mask_1.png", "x_rgb.png" beside "x_mask.png".
_IMAGE_WORD = re.compile(
    r"(images?|img|photo|pic|picture|rgb|orig|original)[ _.-](?P<after>.+)"
    r"|(?P<before>.+)[ _.-](images?|img|photo|pic|picture|rgb|orig|original)",
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
    """Whether a file or folder is hidden, or not the user's own."""
    low = name.lower()
    return low.startswith((".", "~$")) or low in _SYSTEM


def is_unfinished(name: str) -> bool:
    """Whether a file is half of a download, or an editor's backup.

    A folder may be called so: "cars.old" is a class.
    """
    return name.lower().endswith(_UNFINISHED + _BACKUPS)


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


def bare_stems(stems: Iterable[str]) -> set[str]:
    """Returns the stems, in small letters, with and without "image_"."""
    found = set()
    for stem in stems:
        found.add(stem.casefold())
        match = _IMAGE_WORD.fullmatch(stem)
        if match:
            found.add((match["before"] or match["after"]).casefold())
    return found


def describe_copy(stem: str, others: Collection[str]) -> str | None:
    """Returns what an image is of another: its mask or thumbnail; None: none.

    Args:
      stem: the image's.
      others: `bare_stems` of the images that it may belong to.
    """
    for what, pattern in _COPIES.items():
        match = pattern.fullmatch(stem)
        if match:
            owner = (match["before"] or match["after"]).casefold()
            if owner in others or _NUMBER.sub("", owner) in others:
                return what
    sized = _SIZED.fullmatch(stem)
    if sized and sized["before"].casefold() in others:
        return "thumbnails"
    return None


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
