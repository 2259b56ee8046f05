"""What the publishers of known data sets say of their use, for model cards."""

import dataclasses

NOT_KNOWN = "its publisher's terms are not known here; look at its page"


@dataclasses.dataclass(frozen=True)
class Terms:
    """A data set's name for people, its page, and its terms.

    `hub` is its name among the hub's data sets; None: not known to be there.
    `terms` is what the page, or a file in the archive, says; nothing is
    concluded from how others use a set.
    """

    title: str
    page: str
    terms: str = NOT_KNOWN
    hub: str | None = None


IMAGENET = Terms(
    "ImageNet-1k",
    "https://www.image-net.org/download.php",
    "for non-commercial research and education only, by its terms of access; "
    "what that means for weights trained on it is not settled",
    "ILSVRC/imagenet-1k",
)
_VGG = "https://www.robots.ox.ac.uk/~vgg/data"

# Name of TFDS, or of a task -> its terms.
TERMS = {
    "imagenet2012": IMAGENET,
    "cifar10": Terms(
        "CIFAR-10",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        hub="uoft-cs/cifar10",
    ),
    "cifar100": Terms(
        "CIFAR-100",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        hub="uoft-cs/cifar100",
    ),
    "birdsnap": Terms("Birdsnap", "https://thomasberg.org/"),
    "cars196": Terms(
        "Stanford Cars",
        "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    ),
    "oxford_flowers102": Terms("Oxford 102 Flowers", f"{_VGG}/flowers/102/"),
    # README of the archive.
    "fgvc_aircraft": Terms(
        "FGVC-Aircraft",
        f"{_VGG}/fgvc-aircraft/",
        "images are available for non-commercial research only; their authors "
        "keep the copyright",
    ),
    "oxford_iiit_pet": Terms(
        "Oxford-IIIT Pet",
        f"{_VGG}/pets/",
        "CC BY-SA 4.0; the owners of the images keep the copyright",
    ),
    # license_agreement.txt of the archive.
    "food101": Terms(
        "Food-101",
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        "images are not the publisher's; any use beyond scientific fair use "
        "must be agreed with the owners of the pictures",
        "ethz/food101",
    ),
    "digits": Terms(
        "UCI handwritten digits",
        "https://archive.ics.uci.edu/dataset/80/"
        "optical+recognition+of+handwritten+digits",
        "CC BY 4.0",
    ),
}
