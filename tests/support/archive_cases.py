"""Tiny archives in the layouts of the publishers, for tests."""

import hashlib

import numpy as np
import scipy.io
from PIL import Image

# Labels from 0 on, in each split's order.
CARS = {"train": [195, 0, 0, 1, 1], "test": [195, 1]}
FLOWERS = {"train": [101, 0], "validation": [0, 7], "test": [3, 101, 0]}
AIRCRAFT = {"train": [2, 0], "validation": [1, 2], "test": [0, 1, 2]}
BIRDS = {"train": [1, 0, 0, 1, 1, 0, 0, 1, 1, 0], "test": [0, 1]}
PETS = {"train": [36, *range(36)], "test": [2, 1, 0]}
FOOD = {"train": [1, 1, 0, 0, 100], "validation": [0, 1]}
CIFAR10 = {"train": [9, 0, 3, 1, 1], "test": [0, 9]}
CIFAR100 = {"train": [99, 0, 5, 1, 1], "test": [42]}
DISHES = tuple(f"dish_{i}" for i in range(101))
VARIANTS = ("707-320", "F/A-18", "Cessna 172")
SPECIES = ("Acadian Flycatcher", "Blue Jay")


def write_cars(root):
    devkit = root / "devkit"
    devkit.mkdir(parents=True)
    names = np.array([[f"Car {i}" for i in range(196)]], dtype=object)
    scipy.io.savemat(devkit / "cars_meta.mat", {"class_names": names})
    for split, labels in CARS.items():
        rows = []
        for i, label in enumerate(labels):
            name = f"{i + 1:05d}.jpg"
            write_image(root / f"cars_{split}" / name, i, split)
            # Of 40 x 20 pixels; the last one ends outside.
            rows.append((4, 5, 20, 10 if i else 21, label + 1, name))
        write_annotations(cars_list(root, split), rows)
    rows = [row[:4] + row[5:] for row in rows]
    write_annotations(devkit / "cars_test_annos.mat", rows)


def cars_list(root, split):
    if split == "test":
        return root / "cars_test_annos_withlabels.mat"
    return root / "devkit" / "cars_train_annos.mat"


def write_annotations(path, rows):
    names = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    if len(rows[0]) == 5:
        names.remove("class")
    table = np.array([rows], dtype=[(name, "O") for name in names])
    scipy.io.savemat(path, {"annotations": table})


def write_flowers(root):
    numbers, labels = {}, [1] * 9  # Two are in no split.
    for split, members in FLOWERS.items():
        key = {"train": "trnid", "validation": "valid", "test": "tstid"}[split]
        # The numbers fall, so that an order by name would be wrong.
        first = 9 - sum(map(len, numbers.values()))
        numbers[key] = [first - i for i in range(len(members))]
        for number, label in zip(numbers[key], members, strict=True):
            labels[number - 1] = label + 1
            write_image(root / "jpg" / f"image_{number:05d}.jpg", number, split)
    labels = {"labels": np.array([labels], "uint8")}
    scipy.io.savemat(root / "imagelabels.mat", labels)
    numbers = {k: np.array([v], "uint16") for k, v in numbers.items()}
    scipy.io.savemat(root / "setid.mat", numbers)


def write_aircraft(root):
    data, number = root / "fgvc-aircraft-2013b" / "data", 34309
    data.mkdir(parents=True)
    (data / "variants.txt").write_text("\n".join(VARIANTS) + "\n")
    for split, labels in AIRCRAFT.items():
        lines = []
        for label in labels:
            write_image(data / "images" / f"{number:07d}.jpg", number, split)
            lines.append(f"{number:07d} {VARIANTS[label]}\n")
            number += 1
        name = f"images_variant_{split.replace('idation', '')}.txt"
        (data / name).write_text("".join(lines))


def write_birds(root):
    lines = ["url\tmd5\tpath\tspecies_id\tbb_x1"]
    tests = ["path"]
    for split, labels in BIRDS.items():
        for i, label in enumerate(labels):
            path = f"{SPECIES[label].replace(' ', '_')}/{split}{i}.jpg"
            file = write_image(root / "images" / path, i, split)
            digest = hashlib.md5(file.read_bytes()).hexdigest()
            lines.append(f"http://x\t{digest}\t{path}\t{label + 1}\t3")
            if split == "test":
                tests.append(path)
    (root / "images.txt").write_text("\n".join(lines))
    (root / "test_images.txt").write_text("\n".join(tests))
    rows = [f"{i}\t{n}\tLatin\tdir" for i, n in enumerate(SPECIES, start=1)]
    # Not in the order of the ids.
    lines = ["id\tcommon\tscientific\tdir", *reversed(rows)]
    (root / "species.txt").write_text("\n".join(lines))


def write_pets(root):
    folder = root / "annotations"
    for name in ("trimaps", "xmls"):
        (folder / name).mkdir(parents=True)
    for split, labels in PETS.items():
        lines = []
        for i, label in enumerate(labels):
            name = f"breed_{label}_{i if split == 'train' else 50 + i}"
            write_image(root / "images" / f"{name}.jpg", i, split)
            mask = Image.fromarray(np.full((20, 40), 1 + i % 3, np.uint8))
            mask.save(folder / "trimaps" / f"{name}.png")
            if split == "train":
                write_box(folder / "xmls" / f"{name}.xml", (4, 5, 20, 10))
            lines.append(f"{name} {label + 1} {2 if label else 1} 1\n")
        name = {"train": "trainval.txt", "test": "test.txt"}[split]
        (folder / name).write_text("".join(lines))


def write_box(path, box):
    names = ("xmin", "ymin", "xmax", "ymax")
    ends = "".join(
        f"<{name}>{end}</{name}>" for name, end in zip(names, box, strict=True)
    )
    path.write_text(
        f"<annotation><object><bndbox>{ends}</bndbox></object></annotation>"
    )


def write_food(root):
    meta = root / "food-101" / "meta"
    meta.mkdir(parents=True)
    (meta / "classes.txt").write_text("\n".join(DISHES))
    for split, labels in FOOD.items():
        lines = []
        for i, label in enumerate(labels):
            name = f"{DISHES[label]}/{i}{len(split)}"
            write_image(meta.parent / "images" / f"{name}.jpg", i, split)
            lines.append(name)
        name = {"train": "train.txt", "validation": "test.txt"}[split]
        (meta / name).write_text("\n".join(lines))


def write_cifar10(root):
    folder = root / "cifar-10-batches-bin"
    for i, label in enumerate(CIFAR10["train"], start=1):
        write_batch(folder / f"data_batch_{i}.bin", [(label,)], i)
    tests = [(label,) for label in CIFAR10["test"]]
    write_batch(folder / "test_batch.bin", tests, 9)
    names = "".join(f"thing {i}\n" for i in range(10))
    (folder / "batches.meta.txt").write_text(f"{names}\n")


def write_cifar100(root):
    folder = root / "cifar-100-binary"
    for split, labels in CIFAR100.items():
        rows = [(label // 5, label) for label in labels]
        write_batch(folder / f"{split}.bin", rows, len(split))
    for name, classes in (("coarse", 20), ("fine", 100)):
        names = "\n".join(f"{name} {i}" for i in range(classes))
        (folder / f"{name}_label_names.txt").write_text(names)


def write_batch(path, labels, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = cifar_pixels(len(labels), seed)
    rows = [
        [*row, *image.transpose(2, 0, 1).ravel()]
        for row, image in zip(labels, pixels, strict=True)
    ]
    path.write_bytes(np.array(rows, np.uint8).tobytes())


def cifar_pixels(count, seed):
    """uint8 [count, 32, 32, 3]."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8)


def write_image(path, number, split):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([number, len(split)]).integers(
        0, 256, (20, 40, 3), np.uint8
    )
    Image.fromarray(pixels).save(path)
    return path


# name: (what writes it, labels, classes)
SETS = {
    "cars196": (write_cars, CARS, 196),
    "oxford_flowers102": (write_flowers, FLOWERS, 102),
    "fgvc_aircraft": (write_aircraft, AIRCRAFT, 3),
    "birdsnap": (write_birds, BIRDS, 2),
    "oxford_iiit_pet": (write_pets, PETS, 37),
    "food101": (write_food, FOOD, 101),
    "cifar10": (write_cifar10, CIFAR10, 10),
    "cifar100": (write_cifar100, CIFAR100, 100),
}
