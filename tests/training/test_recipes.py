import dataclasses

import pytest

import paths
from efficientnet_tf.training import progression, recipes, train_config

FIELDS = [field.name for field in dataclasses.fields(train_config.TrainConfig)]

# A value of the right type outside its range, and what the message says.
OUTSIDE = [
    ("epochs", 0, "epochs=0 must be between 1 and"),
    ("batch_size", 0, "batch_size=0 must be at least 1"),
    ("accumulation_steps", 0, "accumulation_steps=0 must be at least 1"),
    ("accumulation_steps", 3, "batch_size=4096 must be a multiple of accum"),
    ("resolution", 31, "resolution=31 must be 0 or between 32"),
    ("resolution", -1, "resolution=-1 must be 0 or between 32"),
    ("optimizer", "adam", "optimizer='adam' must be one of rmsprop, sgd, ad"),
    ("eval_resolution", 31, "eval_resolution=31 must be 0 or between 32"),
    ("adam_beta_1", 1.0, r"adam_beta_1=1.0 must be in \[0, 1\)"),
    ("adam_epsilon", 0.0, "adam_epsilon=0.0 must be above 0"),
    ("decayed", "biases", "decayed='biases' must be one of all, kernels"),
    ("randaugment_noise", -0.1, "noise=-0.1 must be between 0 and 30"),
    ("randaugment_probability", 0.0, "=0.0 must be above 0 and at most 1"),
    ("progression", "code2", "'code2' must be one of none, paper, code"),
    ("stage_mixups", (-0.1,), r"\(-0.1,\) must be between 0 and 1000"),
    ("stage_cutmixes", (1001.0,), r"\(1001.0,\) must be between 0 and 1000"),
    ("stage_dropouts", (0.1, 1.0), r"\(0.1, 1.0\) must be in \[0, 1\)"),
    ("learning_rate_per_256", 0.0, "learning_rate_per_256=0.0 must be above"),
    ("learning_rate_per_256", float("nan"), "per_256=nan must be above 0"),
    ("schedule", "steps", "schedule='steps' must be one of stairs, cosine"),
    ("decay_rate", 1.1, "decay_rate=1.1 must be above 0 and at most 1"),
    ("decay_rate", 0.0, "decay_rate=0.0 must be above 0"),
    ("decay_epochs", 0.0, "decay_epochs=0.0 must be between 0.001"),
    ("warmup_epochs", -1.0, "warmup_epochs=-1.0 must be between 0 and"),
    ("warmup_epochs", 350.0, "warmup_epochs=350.0 must be less than epochs"),
    ("weight_decay", float("inf"), "weight_decay=inf must be finite"),
    ("label_smoothing", 1.0, r"label_smoothing=1.0 must be in \[0, 1\)"),
    ("dropout_rate", 1.0, r"dropout_rate=1.0 must be in \[0, 1\)"),
    ("drop_path_rate", -0.1, r"drop_path_rate=-0.1 must be in \[0, 1\)"),
    ("ema_decay", 1.0, r"ema_decay=1.0 must be in \[0, 1\)"),
    ("augment", "auto", "augment='auto' must be one of none, autoaugment, r"),
    ("augment", "randaugment", "augment='randaugment' needs randaugment_mag"),
    ("randaugment_layers", 0, "randaugment_layers=0 must be between 1"),
    ("randaugment_magnitude", -1.0, "=-1.0 must be between 0 and 30"),
    ("randaugment_magnitude", 9.0, "=9.0 .* need augment='randaugment', not"),
    ("mixup_alpha", -0.1, "mixup_alpha=-0.1 must be between 0 and"),
    ("cutmix_alpha", -0.1, "cutmix_alpha=-0.1 must be between 0 and"),
    ("random_erasing", 1.0, r"random_erasing=1.0 must be in \[0, 1\)"),
    ("min_area", 0.0, "min_area=0.0 must be above 0"),
    ("min_area", 1.01, "min_area=1.01 must be above 0 and at most 1"),
    ("crop_padding", -1, "crop_padding=-1 must be between 0 and"),
    ("deep_pixels", "half", "deep_pixels='half' must be one of used, full"),
    ("flip", "yes", "flip='yes' must be of type bool"),
    ("batch_norm", "global", "batch_norm='global' must be one of local, syn"),
    ("stage_resolutions", (64, 31), r"\(64, 31\) must be 0 or between 32"),
    ("stage_resolutions", (32,) * 351, "epochs=350 must be at least the num"),
    ("stage_magnitudes", (-1.0,), r"\(-1.0,\) must be between 0 and 30"),
    ("stage_magnitudes", (31.0,), r"\(31.0,\) must be between 0 and 30"),
    ("randaugment_magnitude", 99.0, "=99.0 must be between 0 and 30"),
    ("stage_magnitudes", (5.0,), r"=\(5.0,\) need augment='randaugment'"),
    ("precision", "float8", "precision='float8' must be one of float32, mi"),
    ("steps_per_execution", 0, "steps_per_execution=0 must be at least 1"),
    ("minival_images", -1, "minival_images=-1 must be finite and not neg"),
    ("max_corrupt_share", 1.0, r"max_corrupt_share=1.0 must be in \[0, 1\)"),
    ("teacher", 3, "teacher=3 must be of type str"),
    ("distill_temperature", 0.0, "distill_temperature=0.0 must be above 0"),
    ("distill_weight", 1.1, "distill_weight=1.1 must be between 0 and 1"),
    ("checkpoint_minutes", -1.0, "checkpoint_minutes=-1.0 must be finite"),
    ("keep_checkpoints", 0, "keep_checkpoints=0 must be at least 1"),
    ("seed", -1, "seed=-1 must be finite and not negative"),
    ("seed", 2**31, "seed=2147483648 must be between -2147483647 and"),
    ("epochs", 10**400, "epochs=an integer of 1329 bits must be between"),
    ("resolution", 10**30, "resolution=10+ must be 0 or between 32 and 16384"),
    ("warmup_epochs", 1e308, r"warmup_epochs=1e\+308 must be between 0 and"),
    ("decay_epochs", 1e-300, "decay_epochs=1e-300 must be between 0.001"),
    ("weight_decay", 10**400, "weight_decay=inf must be 0, or a finite"),
    ("weight_decay", 1e300, r"weight_decay=1e\+300 must be 0, or a finite"),
    ("distill_temperature", 1e-320, "=1e-320 must be 0, or a finite number"),
    ("randaugment_layers", 10**9, "=1000000000 must be between 1 and 100"),
]


@pytest.mark.parametrize("field,value,message", OUTSIDE)
def test_a_value_outside_its_range_is_refused_in_one_line(
    field, value, message
):
    with pytest.raises(ValueError, match=message) as caught:
        dataclasses.replace(recipes.RECIPES["paper"], **{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_checked_for_range_and_type(field):
    assert field in {field for field, *_ in OUTSIDE}
    with pytest.raises(ValueError, match=f"{field}=.* must be"):
        train_config.TrainConfig(**{field: object()})


def test_evaluation_crops_as_the_official_code_does():
    from efficientnet_tf.data import shapes

    assert recipes.RECIPES["paper"].crop_padding == shapes.CROP_PADDING


def test_stages_of_different_numbers_are_refused():
    with pytest.raises(ValueError, match=r"\(32, 64\) and .*\(5.0,\) must"):
        train_config.TrainConfig(
            augment="randaugment",
            stage_resolutions=(32, 64),
            stage_magnitudes=(5.0,),
        )


def test_a_teacher_without_weight_is_refused():
    with pytest.raises(ValueError, match="distill_weight=0.0 leaves teacher='"):
        recipes.get_recipe("paper", ["teacher=a:b", "distill_weight=0"])


@pytest.mark.parametrize("name", recipes.RECIPES)
@pytest.mark.parametrize(
    "override,message",
    [
        (
            "epoch=3",
            "Unknown field 'epoch'; did you mean .* one of epochs, batch_size",
        ),
        ("batch_size=many", "batch_size must be of type int, got 'many'"),
        ("augment=autoaugmnet", "'autoaugmnet' must be one of none, autoau"),
        ("augment=autoaugmnet", "Did you mean 'autoaugment'[?]"),
        ("epoch=3", "did you mean 'epochs'[?] Choose one of"),
    ],
)
def test_a_mistyped_override_is_refused(name, override, message):
    with pytest.raises(ValueError, match=message):
        recipes.get_recipe(name, [override])


def test_an_unknown_recipe_names_the_choices():
    with pytest.raises(
        ValueError,
        match="'papr'; choose one of paper, tpu_v3.* Did you mean 'paper'[?]",
    ):
        recipes.get_recipe("papr")


# Peak learning rate, images per step, epochs.
SIZES = {
    # https://arxiv.org/abs/1905.11946, §5.2: a rate of 0.256.
    "paper": (0.256, 4096, 350),
    "randaugment": (0.256, 4096, 350),
    "progressive": (0.256, 4096, 350),
    # The official code, main.py: 2048 images, 0.016 per 256.
    "tpu_v3_32": (0.128, 2048, 350),
    "tpu_v3_32_autoaugment": (0.128, 2048, 350),
    "one_gpu": (0.016, 256, 350),
    "v2": (0.256, 4096, 350),
    "v2_paper": (0.256, 4096, 350),
    "v2_21k": (0.128, 4096, 60),
    # timm's training examples: `--lr .048`.
    "timm_ra": (0.048, 768, 450),
    "timm_ra4": (0.002, 4096, 3600),
    # pycls, EN-B0_dds_8gpu.yaml.
    "sgd_cosine": (0.4, 256, 100),
    "smoke": (0.001, 32, 3),
}


def test_every_recipe_has_its_size():
    found = {
        name: (pytest.approx(row.learning_rate), row.batch_size, row.epochs)
        for name, row in recipes.RECIPES.items()
    }
    assert SIZES == found


def test_the_documented_table_of_recipes_is_the_recipes():
    page = (paths.DOCS / "training.md").read_text()
    table = page.partition("| `--recipe=` |")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert [row[:3] for row in rows] == [
        [f"| `{name}`", str(row.epochs), str(row.batch_size)]
        for name, row in recipes.RECIPES.items()
    ]


def test_the_paper_recipe_is_the_papers():
    # https://arxiv.org/abs/1905.11946, §5.2, and main.py of the official code.
    row = recipes.RECIPES["paper"]
    assert (row.decay_rate, row.decay_epochs, row.warmup_epochs) == (
        0.97,
        2.4,
        5.0,
    )
    assert (row.weight_decay, row.label_smoothing) == (1e-5, 0.1)
    assert (row.ema_decay, row.minival_images) == (0.9999, 25_000)
    assert (row.optimizer, row.schedule) == ("rmsprop", "stairs")
    assert (row.augment, row.min_area, row.flip) == ("autoaugment", 0.08, True)
    # Both are the variant's: 0.2 to 0.5, and 0.2.
    assert row.dropout_rate is None and row.drop_path_rate is None
    assert row.mixup_alpha == row.cutmix_alpha == row.random_erasing == 0
    assert row.teacher == ""


def test_the_official_run_takes_as_many_steps_as_published():
    row = recipes.RECIPES["tpu_v3_32"]
    # main.py of the official code: 218,949 steps over 1,281,167 images.
    assert int(row.epochs * 1_281_167 / row.batch_size) == 218_949


def test_the_official_default_augments_no_more_than_crops_and_flips():
    # main.py: augment_name=None, moving_average_decay=0.9999 and so on.
    row = recipes.RECIPES["tpu_v3_32"]
    assert (row.augment, row.min_area, row.flip) == ("none", 0.08, True)
    assert (row.ema_decay, row.weight_decay) == (0.9999, 1e-5)
    assert (row.label_smoothing, row.mixup_alpha) == (0.1, 0.0)
    changed = dataclasses.replace(row, augment="autoaugment")
    assert recipes.RECIPES["tpu_v3_32_autoaugment"] == changed


def test_a_micro_batch_is_a_share_of_the_batch():
    row = recipes.get_recipe("paper", ["accumulation_steps=16"])
    assert (row.batch_size, row.micro_batch_size) == (4096, 256)
    assert row.learning_rate == pytest.approx(0.256)


def test_stages_share_the_epochs_and_follow_each_other():
    found = progression.stages(recipes.RECIPES["progressive"])
    assert [(s.resolution, s.magnitude) for s in found] == [
        (128, 5.0),
        (160, 8.0),
        (192, 12.0),
        (224, 15.0),
    ]
    assert [(s.begin, s.end) for s in found] == [
        (0, 88),
        (88, 175),
        (175, 262),
        (262, 350),
    ]


def test_a_run_without_stages_is_one_stage():
    row = recipes.get_recipe("randaugment", ["resolution=96"])
    assert progression.stages(row) == (
        progression.TrainStage(0, 350, 96, 17.0),
    )


def test_a_stage_takes_what_the_other_tuple_leaves_out():
    row = recipes.get_recipe("smoke", ["stage_resolutions=32,48,64"])
    assert [
        (stage.begin, stage.end, stage.resolution, stage.magnitude)
        for stage in progression.stages(row)
    ] == [(0, 1, 32, 0.0), (1, 2, 48, 0.0), (2, 3, 64, 0.0)]
    row = recipes.get_recipe(
        "randaugment", ["stage_magnitudes=1,2", "epochs=9"]
    )
    assert [
        (stage.begin, stage.end, stage.resolution, stage.magnitude)
        for stage in progression.stages(row)
    ] == [(0, 4, 0, 1.0), (4, 9, 0, 2.0)]
