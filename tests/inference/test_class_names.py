import unicodedata

import pytest

from efficientnet_tf.data import imagenet
from efficientnet_tf.inference import class_names

IDS, NAMES = imagenet.wordnet_ids(), imagenet.class_names()
FLOWERS = ("daisy", "rose", "Sun flower")

# name: (the model's classes, the data's, outputs, absent, words of the note)
MATCHED = {
    "equal": (FLOWERS, FLOWERS, (0, 1, 2), (), ""),
    "another order": (
        FLOWERS,
        ("rose", "Sun flower", "daisy"),
        (1, 2, 0),
        (),
        "in another order",
    ),
    "a subset": (
        FLOWERS,
        ("daisy", "Sun flower"),
        (0, 2),
        ("rose",),
        "the data have 2 of the model's 3 classes",
    ),
    "one class": (FLOWERS, ("rose",), (1,), ("daisy", "Sun flower"), "1 of"),
    "capitals and underscores": (
        FLOWERS,
        ("DAISY", "Rose", "sun_flower"),
        (0, 1, 2),
        (),
        "3 named otherwise, such as 'DAISY' for 'daisy'",
    ),
    "another encoding of an accent": (
        ("a", "ros\u00e9"),
        ("a", unicodedata.normalize("NFD", "ros\u00e9")),
        (0, 1),
        (),
        "1 named otherwise",
    ),
    "names that differ in capitals only": (
        ("a", "A", "b"),
        ("A", "a"),
        (1, 0),
        ("b",),
        "in another order",
    ),
    "hyphens that tell classes apart": (
        ("1-2", "1 2"),
        ("1 2", "1-2"),
        (1, 0),
        (),
        "in another order",
    ),
    "ImageNet by WordNet ids": (NAMES, IDS, tuple(range(1000)), (), "1,000"),
    "ImageNet by names": (IDS, NAMES, tuple(range(1000)), (), "1,000"),
    "two folders of ImageNet": (
        NAMES,
        ("n01443537", "n01440764"),
        (1, 0),
        NAMES[2:],
        "2 of the model's 1,000 classes; in another order",
    ),
    "ImageNet's names as folders": (
        NAMES,
        ("great_white_shark", "Tench"),
        (2, 0),
        (NAMES[1], *NAMES[3:]),
        "'great_white_shark' for 'great white shark'",
    ),
    "ids of a class that has a twin by name": (
        NAMES,
        ("n03126707",),
        (IDS.index("n03126707"),),
        tuple(n for i, n in enumerate(NAMES) if IDS[i] != "n03126707"),
        "1 of",
    ),
    "a run's English names on WordNet ids": (
        ("goldfish", "tench"),
        ("n01440764", "n01443537"),
        (1, 0),
        (),
        "in another order",
    ),
    "hyphens between words of any script": (
        ("St._Bernard", "COVID-19", "\u0939\u093f\u0928\u094d_\u092d\u093e"),
        ("covid_19", "st. bernard", "\u0939\u093f\u0928\u094d-\u092d\u093e"),
        (1, 0, 2),
        (),
        "3 named otherwise",
    ),
    "signs, otherwise respelled": (
        ("grade_-1", "Grade_+1"),
        ("grade +1", "Grade -1"),
        (1, 0),
        (),
        "in another order",
    ),
    "Stanford Dogs' folders": (
        NAMES,
        ("n02085936-Maltese_dog", "n02085620-Chihuahua"),
        (IDS.index("n02085936"), IDS.index("n02085620")),
        tuple(n for n in NAMES if n not in ("Maltese dog", "Chihuahua")),
        "2 named otherwise",
    ),
    "an id before or behind a name": (
        ("goldfish", "tench (n01440764)", "n02012849_crane"),
        ("n02012849", "n01440764.tench", "n01443537"),
        (2, 1, 0),
        (),
        "in another order",
    ),
}


@pytest.mark.parametrize(
    "model, data, outputs, absent, note", MATCHED.values(), ids=MATCHED
)
def test_classes_are_matched_by_name(model, data, outputs, absent, note):
    found = class_names.match(model, data)
    assert found.outputs == outputs
    assert found.absent == absent
    assert note in found.note and bool(note) == bool(found.note)


REFUSED = {
    "other names, equally many": (
        FLOWERS,
        ("cat", "dog", "horse"),
        "no class in common: only the data have 'cat', 'dog', 'horse'; only "
        "the model has 'daisy', 'rose', 'Sun flower'",
    ),
    "one more": (
        FLOWERS,
        (*FLOWERS, "tulip"),
        "does not know 1 of the data's 4 classes: only the data have 'tulip'; "
        "only the model has none",
    ),
    "one other": (
        FLOWERS,
        ("daisy", "rose", "tulip"),
        "only the data have 'tulip'; only the model has 'Sun flower'",
    ),
    "numbers for names": (FLOWERS, ("0", "1", "2"), "no class in common"),
    "many": (
        tuple(map(str, range(20))),
        tuple(map(str, range(10, 40))),
        "20 of the data's 30 classes: only the data have '20', '21', '22', "
        "'23', '24' and 15 more",
    ),
    "a name of two ImageNet classes": (
        NAMES,
        ("crane", "tench"),
        "'crane' stands for 2 classes of ImageNet; name it by its WordNet id, "
        "n02012849 or n03126707",
    ),
    "a minus": (
        ("-30", "0"),
        ("30", "0"),
        "only the data have '30'; only the model has '-30'. '30' is not '-30'",
    ),
    "a minus behind": (("A", "B"), ("A-", "B"), "'A-' is not 'A': signs and"),
    "a minus inside": (
        ("grade_-1", "x"),
        ("grade_1",),
        "'grade_1' is not 'grade_-1'",
    ),
    "a minus after a colon": (("yaw: -3",), ("yaw: 3",), "'yaw: 3' is not"),
    "a minus beside a plus": (
        ("yaw-30", "yaw+30"),
        ("yaw_30",),
        "no class in common",
    ),
    "two spellings of one class": (
        NAMES,
        ("n01440764", "tench"),
        "'n01440764' and 'tench' are one class of the model's, 'tench'",
    ),
    "one spelling of two classes": (
        ("Cat", "cat"),
        ("CAT",),
        "'CAT' stands for 2 of the model's: 'Cat', 'cat'; name it",
    ),
    "an id beside the name of another": (
        NAMES,
        ("n01440764-goldfish", "tench"),
        "only the data have 'n01440764-goldfish'",
    ),
    "a name of two classes in another order": (
        NAMES[::-1],
        ("crane",),
        "'crane' stands for 2",
    ),
    "own photographs for an ImageNet network": (
        NAMES,
        ("grandma", "grandpa"),
        "no class in common",
    ),
}


@pytest.mark.parametrize("model, data, message", REFUSED.values(), ids=REFUSED)
def test_other_classes_are_refused_with_the_differences(model, data, message):
    with pytest.raises(ValueError, match=message):
        class_names.match(model, data)
