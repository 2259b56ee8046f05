"""What other libraries call the fields of a run and their values.

Those of fastai, torchvision, timm, ultralytics, Keras, scikit-learn and Pillow;
where ours means the same, or nearly.
"""

from efficientnet_tf.training import synonyms

_SQUASH = ("stretch", "squish", "warp", "whole", "none")
_LETTERBOX = ("pad", "contain", "resize with pad", "pad to aspect ratio")
_CROP = ("cover", "center crop", "crop to aspect ratio")

# As utils/synonyms.py takes them.
OF_FINETUNING = {
    **synonyms.COMMON,
    **dict.fromkeys(synonyms.SIZES, "image_size"),
    **dict.fromkeys(("lr", "lr0", "base lr"), "learning_rate"),
    **dict.fromkeys(("freeze", "freeze layers"), "frozen_stages"),
    **dict.fromkeys(("llrd", "layer wise decay"), "layer_decay"),
    **dict.fromkeys(("early stopping", "early stop"), "patience"),
    **dict.fromkeys(("max steps", "iterations"), "steps"),
    **{f"resize={word}": "resize=squash" for word in _SQUASH},
    **{f"crop={word}": "resize=squash" for word in (*_SQUASH, "squash")},
    **{f"resize={word}": "resize=letterbox" for word in _LETTERBOX},
    **{f"crop={word}": "resize=letterbox" for word in _LETTERBOX},
    **{f"resize={word}": "resize=crop" for word in _CROP},
    "crop=letterbox": "resize=letterbox",
    "crop=center crop": "crop=center",
    "resize=#": "image_size=#",
    "optimizer=nesterov": "optimizer=sgd",
    "schedule=none": "schedule=constant",
    "schedule=flat": "schedule=constant",
    "schedule=step": "schedule=tenths and decay_at=0.33,0.67",
    "schedule=multistep": "schedule=tenths and decay_at=0.33,0.67",
    "loss=mse": "loss=squared",
    "loss=l2": "loss=squared",
    "loss=asl": "loss=asymmetric",
    "loss=ce": "loss=standard",
    "loss=cross entropy": "loss=standard",
    "loss=categorical crossentropy": "loss=standard",
    "loss=bce": "loss=standard, which it is of several labels",
    "loss=binary crossentropy": "loss=standard, which it is of several labels",
    "loss=huber": "loss=standard, which it is of numbers",
    **{
        f"train_crop={word}": "train_crop=inception"
        for word in ("rrc", "random resized crop", "resized")
    },
    "train_crop=none": "min_area=1",
    "train_crop=whole": "min_area=1",
    **{
        f"sampling={word}": "sampling=balanced"
        for word in ("weighted", "weighted random", "oversample", "auto")
    },
    "sampling=random": "sampling=shuffled",
    "sampling=none": "sampling=shuffled",
    **{
        f"batch_norm={word}": "batch_norm=frozen"
        for word in ("eval", "false", "inference", "freeze")
    },
    "batch_norm=true": "batch_norm=train",
    "batch_norm=training": "batch_norm=train",
    "head=logistic": "head=linear",
    "head=logistic regression": "head=linear",
    "head=nearest mean": "head=prototypes",
    "head=new": "head=random",
    "head=none": "head=random",
    **{
        f"train_on={word}": "train_on=train+validation"
        for word in ("trainval", "train+val", "train+valid")
    },
    **{
        f"evaluate_on={word}": "evaluate_on=validation and train_on=train"
        for word in ("val", "valid", "dev")
    },
    "cutout_fill=random": "cutout_fill=noise",
}
