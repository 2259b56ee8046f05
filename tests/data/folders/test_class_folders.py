"""Folders as people have them: each is understood, or says what was seen."""

import os
import pathlib

import pytest

from efficientnet_tf.data.folders import class_folders, folder_names

PNG = b"\x89PNG\r\n\x1a\n"


def grow(root, *names):
    """Writes files by paths like "train/cat/{1,2}.jpg"; "x/" is a folder."""
    for name in names:
        head, brace, rest = name.partition("{")
        inner, _, tail = rest.partition("}")
        for part in inner.split(",") if brace else [""]:
            path = pathlib.Path(root) / f"{head}{part}{tail}"
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")


def count(layout):
    """Returns {split: {class: number of images}}."""
    return {
        split: {name: len(files) for name, files in classes.items()}
        for split, classes in layout.listed.items()
    }


CLASSES = {"cat": 2, "dog": 1}
TRAIN = ("{}/cat/{{1,2}}.jpg", "{}/dog/1.jpg")


def splits(**folders):
    """Returns files of the splits' folders, and what is to be found."""
    names = [part.format(f) for f in folders.values() for part in TRAIN]
    return names, dict.fromkeys(folders, CLASSES)


# Each is (files, what is found by split, what the line about the rest says).
UNDERSTOOD = {
    "no splits": (
        ["cat/{1,2}.jpg", "dog/1.jpg"],
        {None: CLASSES},
        "",
    ),
    "upper case": (*splits(train="Train", validation="Val", test="TEST"), ""),
    "training and testing": (*splits(train="Training", test="Testing"), ""),
    "valid": (*splits(train="train", validation="valid", test="test"), ""),
    "dev": (*splits(train="TRAIN", validation="dev"), ""),
    "eval": (*splits(train="train", validation="eval"), ""),
    "sets": (*splits(train="training_set", test="test_set"), ""),
    "one word": (*splits(train="trainset", validation="valset"), ""),
    "numbered": (*splits(train="1_train", validation="2_val"), ""),
    "years": (*splits(train="train2017", validation="val2017"), ""),
    "prefix": (*splits(train="flowers_train", test="flowers_test"), ""),
    "prefix of words": (
        *splits(train="Real Cats-Train", test="Real Cats-Test"),
        "",
    ),
    "suffix": (*splits(train="train_cats", test="test_cats"), ""),
    "camel case": (*splits(train="TrainImages", test="TestImages"), ""),
    "train alone": (*splits(train="train"), ""),
    "no train": (*splits(validation="val", test="test"), ""),
    "unpacked twice": (
        *splits(train="photos/photos/train", test="photos/photos/test"),
        "",
    ),
    "nested by name": (
        *splits(train="seg_train/seg_train", test="seg_test/seg_test"),
        "",
    ),
    "images inside splits": (
        *splits(train="train/images", test="test/images"),
        "",
    ),
    "a class called train": (
        ["train/1.jpg", "bus/1.jpg", "car/1.jpg"],
        {None: {"train": 1, "bus": 1, "car": 1}},
        "",
    ),
    "classes that end in train": (
        ["bullet_train/1.jpg", "steam_train/1.jpg"],
        {None: {"bullet_train": 1, "steam_train": 1}},
        "",
    ),
    "unlabelled test": (
        [*splits(train="train")[0], "test/{1,2}.jpg"],
        {"train": CLASSES},
        "images of an unlabelled folder: 2 (test/1.jpg, test/2.jpg)",
    ),
    "unlabelled test in one folder": (
        [*splits(train="train")[0], "test/all/{1,2}.jpg"],
        {"train": CLASSES},
        "images of an unlabelled folder: 2 (test/all/1.jpg, test/all/2.jpg)",
    ),
    "unlabelled test beside classes": (
        ["cat/{1,2}.jpg", "dog/1.jpg", "test/1.jpg"],
        {None: CLASSES},
        "images of an unlabelled folder: 1 (test/1.jpg)",
    ),
    "images to predict": (
        [
            *splits(train="seg_train", test="seg_test")[0],
            "seg_pred/{1,2}.jpg",
        ],
        {"train": CLASSES, "test": CLASSES},
        "images of an unlabelled folder: 2 (seg_pred/1.jpg, seg_pred/2.jpg)",
    ),
    "empty validation": (
        [*splits(train="train")[0], "val/"],
        {"train": CLASSES},
        "empty folders: 1 (val)",
    ),
    "empty class": (
        ["cat/{1,2}.jpg", "dog/1.jpg", "emu/"],
        {None: CLASSES},
        "empty folders: 1 (emu)",
    ),
    "what systems leave": (
        [
            "cat/{1,2}.jpg",
            "dog/1.jpg",
            *("Thumbs.db", "cat/.DS_Store", "cat/._1.jpg", "dog/desktop.ini"),
            "dog/.ipynb_checkpoints/1.jpg",
            "__MACOSX/cat/._1.jpg",
            *("@eaDir/cat/1.jpg", "#recycle/1.jpg", "cat/3.jpg.part"),
            *("cat/4.tmp", "cat/5.jpg~", "cat/6.JPG.crdownload"),
        ],
        {None: CLASSES},
        "hidden, system or unfinished files: 12 (#recycle, @eaDir, Thumbs.db,"
        " ...)",
    ),
    "classes named like backups": (
        [
            *("cars.old/{1,2}.jpg", "cars.tmp/1.jpg", "x.bak/1.jpg"),
            *("y~/1.jpg", "y~/2.jpg.old", "z.download/1.jpg"),
        ],
        {
            None: {
                **{"cars.old": 2, "cars.tmp": 1, "x.bak": 1, "y~": 1},
                "z.download": 1,
            }
        },
        "hidden, system or unfinished files: 1 (y~/2.jpg.old)",
    ),
    "another encoding in each split": (
        ["train/caf\xe9/1.jpg", "val/cafe\u0301/{1,2}.jpg"],
        {"train": {"caf\xe9": 1}, "validation": {"caf\xe9": 2}},
        "",
    ),
    "a class that is not in each split": (
        [*splits(train="train")[0], "test/cat/1.jpg", "val/emu/{1,2}/1.jpg"],
        {"train": CLASSES, "test": {"cat": 1}},
        "images of an unlabelled folder: 2 (val/emu/1/1.jpg, val/emu/2/1.jpg)",
    ),
    "upper case suffixes": (
        ["cat/{1.JPG,2.Jpeg}", "dog/1.PNG"],
        {None: CLASSES},
        "",
    ),
    "rare suffixes": (
        ["cat/{1.jfif,2.TIFF}", "dog/{1.jpe,2.avif,3.heic}"],
        {None: {"cat": 2, "dog": 3}},
        "",
    ),
    "other files": (
        [
            *("cat/{1,2}.jpg", "dog/1.jpg", "labels.csv", "cat/{a,b,c,d}.txt"),
            *("dog/README", "dog/1.cr2"),
        ],
        {None: CLASSES},
        ".cr2 files: 1 (dog/1.cr2); .csv files: 1 (labels.csv); .txt files: 4 "
        "(cat/a.txt, cat/b.txt, cat/c.txt, ...); suffixless files: 1 "
        "(dog/README)",
    ),
    "loose images": (
        ["cat/{1,2}.jpg", "dog/1.jpg", "cover.jpg"],
        {None: CLASSES},
        "images outside any class folder: 1 (cover.jpg)",
    ),
    "masks beside images": (
        [
            *splits(train="images")[0],
            *("masks/cat/{1,2}.png", "masks/dog/1.png", "annotations/1.xml"),
        ],
        {None: CLASSES},
        ".xml files: 1 (annotations/1.xml); masks or annotations: 3 "
        "(masks/cat/1.png, masks/cat/2.png, masks/dog/1.png)",
    ),
    "masks beside classes": (
        ["cat/{1,2}.jpg", "dog/1.jpg", "masks/cat/1.png", "masks/dog/1.png"],
        {None: CLASSES},
        "masks or annotations: 2 (masks/cat/1.png, masks/dog/1.png)",
    ),
    "flat masks beside classes": (
        ["cat/{c1,c2}.jpg", "dog/d1.jpg", "annotations/{c1,c2,d1_mask}.png"],
        {None: CLASSES},
        "masks or annotations: 3 (annotations/c1.png, annotations/c2.png, "
        "annotations/d1_mask.png)",
    ),
    "masks in a class": (
        [
            *("cat/images/{1,2}.jpg", "cat/masks/{1,2}.png"),
            *("dog/1.jpg", "dog/Annotations/1.png"),
        ],
        {None: CLASSES},
        "masks or annotations: 3 (cat/masks/1.png, cat/masks/2.png, "
        "dog/Annotations/1.png)",
    ),
    "masks by their names": (
        ["cat/{1,2,1_mask,1_mask_1}.png", "dog/{1,1-seg}.png"],
        {None: CLASSES},
        "masks or annotations: 3 (cat/1_mask.png, cat/1_mask_1.png, "
        "dog/1-seg.png)",
    ),
    "masks with their word before": (
        [
            *("cat/{a0,b_1,mask_a0,gt-b_1_2}.png", "dog/{image_1,Mask_1}.png"),
            "dog/seg_9.png",
        ],
        {None: {"cat": 2, "dog": 2}},
        "masks or annotations: 3 (cat/gt-b_1_2.png, cat/mask_a0.png, "
        "dog/Mask_1.png)",
    ),
    "thumbnails": (
        [
            *("cat/{1,2,1_thumb,tn_2,2-150x150}.jpg", "cat/thumbs/{1,2}.jpg"),
            *("dog/1.jpg", "dog/Thumbnails/1.jpg", "dog/_thumbs/1.jpg"),
            "thumb/cat/1.jpg",
        ],
        {None: CLASSES},
        "thumbnails: 8 (thumb/cat/1.jpg, cat/1_thumb.jpg, cat/2-150x150.jpg, "
        "...)",
    ),
    "fingers, and thumbnails alone": (
        ["thumb/{1,2}.jpg", "index/{1,thumb_7,mask}.jpg", "ring/thumbs/1.jpg"],
        {None: {"thumb": 2, "index": 3, "ring": 1}},
        "",
    ),
    "people with a mask": (
        ["mask/{1,2}.jpg", "no_mask/{1,2}.jpg"],
        {None: {"mask": 2, "no_mask": 2}},
        "",
    ),
    "the same folders inside some classes": (
        [
            *("cat/{images,masks}/1.jpg", "emu/{images,masks}/1.jpg"),
            *("dog/{old/1,new/1,1}.jpg", "fox/{old/1,new/1,1}.jpg"),
            *("gnu/{2020/1,a/1}.jpg", "owl/{2020/1,b/1}.jpg"),
        ],
        {None: {"cat": 1, "dog": 3, "emu": 1, "fox": 3, "gnu": 2, "owl": 2}},
        "masks or annotations: 2 (cat/masks/1.jpg, emu/masks/1.jpg)",
    ),
    "folders inside classes": (
        ["cat/2020/1.jpg", "cat/2021/1.jpg", "dog/old/x/1.jpg"],
        {None: CLASSES},
        "",
    ),
}


@pytest.mark.parametrize(
    "names, found, left_out", UNDERSTOOD.values(), ids=UNDERSTOOD
)
def test_a_folder_is_understood(tmp_path, names, found, left_out):
    grow(tmp_path / "root", *names)
    layout = class_folders.read(tmp_path / "root")
    assert count(layout) == found
    assert str(layout.left_out) == left_out


REFUSED = {
    "flat splits": (
        ["train/{cat.1,dog.1}.jpg", "test/1.jpg"],
        "holds test and train, which hold images but no class folders",
    ),
    "splits for a detector": (
        ["images/train/1.jpg", "images/val/1.jpg", "labels/train/1.txt"],
        "holds train and val, which hold images but no class folders",
    ),
    "images and labels in each split": (
        ["train/images/1.jpg", "train/labels/1.txt", "valid/images/1.jpg"],
        "holds train and valid, which hold images but no class folders",
    ),
    "two names of a split": (
        splits(train="train", validation="val", test="dev")[0],
        "holds dev and val, both of which mean 'validation'",
    ),
    "a split of another name": (
        [*splits(train="train")[0], "extra/cat/1.jpg"],
        "the split folders train and also extra; move",
    ),
    "classes beside splits": (
        [*splits(train="train")[0], "cat/1.jpg", "dog/1.jpg"],
        "the split folders train and also cat, dog; move",
    ),
    "splits inside classes": (
        ["cat/train/1.jpg", "cat/test/2.jpg", "dog/train/1.jpg"],
        "split folders inside its class folders, such as dog/train",
    ),
    "splits in another language": (
        splits(train="treino", validation="teste")[0],
        r"holds teste, treino, which repeat the same sub-folders \(cat, dog\)",
    ),
    "splits in short": (
        ["data/tr/{cat/1,dog/1}.jpg", "data/te/{Cat/1,Dog/1,emu/1}.jpg"],
        r"holds te, tr, which repeat the same sub-folders \(cat, dog\)",
    ),
    "folds": (
        [f"fold{i}/{c}/1.jpg" for i in range(4) for c in "abcde"[i // 2 :]],
        r"holds fold0, fold1, fold2, ..., which repeat .* \(a, b, c, ...\)",
    ),
    "sensors": (splits(train="rgb", test="depth")[0], "holds depth, rgb, whic"),
    "splits of which one has few classes": (
        [*(f"tr/{c}/1.jpg" for c in "abcdef"), "te/{b/1,c/1}.jpg"],
        r"holds te, tr, which repeat the same sub-folders \(b, c\)",
    ),
    "folders around the classes": (
        splits(train="tr/images", test="te/images")[0],
        "holds te, tr, which repeat",
    ),
    "folds of a split": (
        splits(train="train/fold1", test="train/fold2")[0],
        "holds fold1, fold2, which repeat",
    ),
    "a class called valid": (
        ["valid/1.jpg", "invalid/1.jpg", "unclear/1.jpg"],
        "valid may be a class like invalid, unclear beside it, or unlabelled "
        "images for validation: rename it",
    ),
    "a department called dev": (
        ["dev/1.jpg", "design/1.jpg", "sales/1.jpg"],
        "dev may be a class like design, sales beside it",
    ),
    "a department called Training": (
        ["Training/1.jpg", "design/1.jpg"],
        "Training may be a class like design beside it, or .* for train: ",
    ),
    "images alone": (["1.jpg", "2.jpg"], "holds 2 images but no class folders"),
    "images and annotations": (
        ["images/{1,2}.jpg", "annotations/{1,2}.xml"],
        "images holds 2 images but no class folders",
    ),
    "two encodings of a class": (
        ["train/caf\xe9/1.jpg", "train/cafe\u0301/1.jpg"],
        r"holds the class 'café' twice: as 'cafe\\u0301' and 'caf\\xe9'",
    ),
    "no images": (
        ["cat/a.txt", "dog/"],
        r"holds no images: .* Seen: .txt files: 1 \(cat/a.txt\); empty "
        r"folders: 1 \(dog\)",
    ),
}


@pytest.mark.parametrize("names, message", REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused_in_a_line(tmp_path, names, message):
    grow(tmp_path / "root", *names)
    with pytest.raises(RuntimeError, match=message) as caught:
        class_folders.read(tmp_path / "root")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "root") in str(caught.value)


def test_the_bytes_of_a_file_without_a_known_suffix_decide(tmp_path):
    grow(tmp_path, "cat/1.jpg", "dog/1.jpg")
    heads = {
        "photo": b"\xff\xd8\xff\xe0",
        "img.2021": PNG,
        "a.dat": b"II*\0",
        "b.bin": b"RIFF\0\0\0\0WEBP",
        "c": b"\0\0\0\x1cftypheic",
        "d.cr2": b"II*\0",  # A raw file would be read as its preview.
        "e.txt": b"BM is how this text begins",
        "f.pdf": b"%PDF-1.7",
    }
    for name, head in heads.items():
        (tmp_path / "cat" / name).write_bytes(head + bytes(200))
    layout = class_folders.read(tmp_path)
    found = {file.name for file in layout.listed[None]["cat"]}
    assert found == {"1.jpg", "photo", "img.2021", "a.dat", "b.bin", "c"}
    for suffix in (".cr2", ".pdf", ".txt"):
        assert f"{suffix} files: 1 (cat/" in str(layout.left_out)


def test_links_are_followed_once(tmp_path):
    root, pool = tmp_path / "root", tmp_path / "pool"
    grow(root, "dog/1.jpg")
    grow(pool, "emu/{1,2}.jpg", "one.jpg", "emu/deep/3.jpg")
    links = {
        "ant": pool / "emu",  # Outside, read in place of a class.
        "dog/one.jpg": pool / "one.jpg",
        "bee": pool / "emu",  # Again.
        "again": root / "dog",  # Inside.
        "dog/me.jpg": root / "dog" / "1.jpg",
        "dog/up": root,  # A circle.
        "dog/above": tmp_path,
        "dog/gone.jpg": pool / "gone.jpg",
        "dog/through": "1.jpg/..",  # A file, which is no folder.
        "dog/by way.jpg": "../../pool/emu/../../root/dog/1.jpg",
        "dog/one more.jpg": "one.jpg",  # A link to a link.
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.symlink(pool / "emu", pool / "emu" / "deep" / "circle")
    layout = class_folders.read(root)
    assert count(layout) == {None: {"ant": 3, "dog": 2}}
    assert str(layout.left_out) == (
        "broken links: 2 (dog/gone.jpg, dog/through); links to what is read "
        "already: 8 (again, bee, dog/above, ...)"
    )


def test_a_missing_folder_and_a_file_are_told_apart(tmp_path):
    grow(tmp_path, "file.zip")
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        class_folders.read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="file.zip is a file"):
        class_folders.read(tmp_path / "file.zip")


@pytest.mark.parametrize("name", ["contest", "latest", "protest", "evaluator"])
def test_a_word_inside_a_word_names_no_split(name):
    assert folder_names.find_splits([name, "train"]) == {"train": "train"}
