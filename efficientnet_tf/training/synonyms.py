"""What other libraries call the fields of a recipe and their values.

Those of fastai, torchvision, timm, ultralytics and Keras; where ours means the
same, or nearly.
"""

SIZES = ("imgsz", "size", "img size", "image size", "input size")

# Of all recipes, as utils/synonyms.py takes them.
COMMON = {
    **dict.fromkeys(("bs", "batch"), "batch_size"),
    **dict.fromkeys(("wd", "l2"), "weight_decay"),
    **dict.fromkeys(("opt", "optim"), "optimizer"),
    **dict.fromkeys(
        ("sched", "scheduler", "lr scheduler", "lr schedule"), "schedule"
    ),
    **dict.fromkeys(("n epochs", "num epochs", "max epochs"), "epochs"),
    **dict.fromkeys(("warmup", "num warmup epochs"), "warmup_epochs"),
    **dict.fromkeys(("amp", "dtype", "fp16", "half"), "precision"),
    **dict.fromkeys(("smoothing", "ls"), "label_smoothing"),
    **dict.fromkeys(("ema", "model ema", "model ema decay"), "ema_decay"),
    **dict.fromkeys(("dropout", "drop", "drop rate"), "dropout_rate"),
    **dict.fromkeys(("drop path", "stochastic depth"), "drop_path_rate"),
    "mixup": "mixup_alpha",
    "cutmix": "cutmix_alpha",
    "random seed": "seed",
    "optimizer=adam": "optimizer=adamw and weight_decay=0",
    "optimizer=rmsproptf": "optimizer=rmsprop",
    **{
        f"schedule={word}": "schedule=cosine"
        for word in ("onecycle", "onecycle lr", "fit one cycle")
        + ("cos", "cosine annealing", "cosine annealing lr", "cosine decay")
    },
    **{
        f"schedule={word}": "schedule=stairs"
        for word in ("exponential", "exponential decay")
    },
    **{
        f"precision={word}": "precision=mixed_float16"
        for word in ("fp16", "float16", "half", "16", "amp", "true", "1")
    },
    **{
        f"precision={word}": "precision=mixed_bfloat16"
        for word in ("bf16", "bfloat16")
    },
    **{
        f"precision={word}": "precision=float32"
        for word in ("fp32", "32", "full", "false", "0")
    },
}

OF_TRAINING = {
    **COMMON,
    **dict.fromkeys(SIZES, "resolution"),
    **dict.fromkeys(("aug", "aa", "auto augment"), "augment"),
    **dict.fromkeys(("reprob", "re prob", "erasing"), "random_erasing"),
    "augment=aa": "augment=autoaugment",
    "augment=ra": "augment=randaugment and randaugment_magnitude=9",
    "augment=randaug": "augment=randaugment and randaugment_magnitude=9",
    "batch_norm=sync": "batch_norm=synchronized",
    "batch_norm=syncbn": "batch_norm=synchronized",
}
