import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import paths
import reported
from efficientnet_tf.commands import main, program
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder, registry
from efficientnet_tf.utils import files

# TensorFlow's libraries print these as they load; no setting stops them.
STARTUP = re.compile(
    r"WARNING: All log messages before absl|[IWE]0000 |To enable the following"
)

TUNE = ["finetune", "--workdir={tmp}/run"]
DIGITS = [*TUNE, "--task=digits"]
LITE0 = "--model=efficientnet_lite0"
GRID = ["grid", "--tasks=digits", "--workdir={tmp}/run"]
PREPARE = ["prepare", "--data_dir={tmp}/tfds"]

SEARCH = [
    "search",
    "--dataset=folder:{tmp}/good",
    "--workdir={tmp}/run",
]
STUDY = ["study", *SEARCH[1:]]
ARCHITECT = ["architect", *SEARCH[1:]]
EXPLAIN = ["explain", "--workdir={tmp}/model"]

SHARE = ["share", "--workdir={tmp}/model"]

# name: (arguments, exit code, what the one line says)
TRAIN = [
    "train",
    "--recipe=smoke",
    "--dataset=folder:{tmp}/good",
    "--eval_split=test",
    "--workdir={tmp}/run",
]
CASES = {
    "unknown model": (
        [*DIGITS, "--model=efficientnet_b9"],
        2,
        "Unknown model 'efficientnet_b9'; did you mean 'efficientnet_b8'",
    ),
    "no budget": (["choose"], 2, "Give at least one of max_params, "),
    "explorer into a folder": (
        ["explore", "--output={tmp}"],
        1,
        "{tmp} is a folder, not a file.",
    ),
    "unknown task": (
        [*TUNE, "--task=cifar"],
        2,
        "Unknown task 'cifar'; choose one of cifar10, .*, or folder:PATH",
    ),
    "unknown weights": (
        [*DIGITS, "--weights=imagnet"],
        2,
        "Unknown weights 'imagnet' .* choose one of imagenet, or the path",
    ),
    "unknown recipe": (
        [*DIGITS, "--recipe=ful"],
        2,
        "Unknown recipe 'ful'; choose one of auto, linear, full, ",
    ),
    "qat of published weights": (
        [*DIGITS, "--recipe=qat"],
        2,
        "starts from a finished fine-tuning run: weights='imagenet' must be",
    ),
    "unknown field": (
        [*DIGITS, "--set=epoch=3"],
        2,
        "Unknown field 'epoch'; did you mean 'epochs'. Choose one of epochs, ",
    ),
    "mistyped value": (
        [*DIGITS, "--set=epochs=many"],
        2,
        "epochs must be of type int, got 'many'",
    ),
    "value out of range": (
        [*DIGITS, "--set=dropout_rate=1.5"],
        2,
        r"dropout_rate=1.5 must be in \[0, 1\)",
    ),
    "training: unknown recipe": (
        [*TRAIN, "--recipe=b0"],
        2,
        "Unknown recipe 'b0'; choose one of paper, ",
    ),
    "training: unknown model": (
        [*TRAIN, "--model=b0"],
        2,
        "Unknown model 'b0'; did you mean 'efficientnet_b0'. Choose one of ",
    ),
    "training: unknown strategy": (
        [*TRAIN, "--strategy=two"],
        2,
        "Unknown strategy 'two'; choose one of auto, none, mirrored",
    ),
    "training: no TPU": ([*TRAIN, "--strategy=tpu"], 1, "TPU"),
    "training: workers without TF_CONFIG": (
        [*TRAIN, "--strategy=multi_worker"],
        2,
        "TF_CONFIG",
    ),
    "training: mistyped steps": (
        [*TRAIN, "--profile_steps=10"],
        2,
        "--profile_steps=10 must be two step numbers",
    ),
    "training: unknown teacher": (
        [*TRAIN, "--teacher=b9", "--set=batch_size=2"],
        2,
        "Unknown teacher 'b9'; give MODEL:WEIGHTS",
    ),
    "training: no images": (
        [*TRAIN, "--dataset=folder:{tmp}/none"],
        1,
        "holds no images",
    ),
    "search: empty grid": (
        [*SEARCH, "--step=0.7", "--tolerance=0.01"],
        2,
        "The grid is empty: no alpha, beta, gamma in steps of 0.7",
    ),
    "search: unknown base": (
        [*SEARCH, "--base=b0"],
        2,
        "Unknown model 'b0'; did you mean .* one of .*, vit, or a .json file",
    ),
    "search: phi that is none": (
        [*SEARCH, "--phis=0,one"],
        2,
        "--phis='0,one' must be numbers",
    ),
    "architect: unknown space": (
        [*ARCHITECT, "--space=mnasnt"],
        2,
        "Unknown space 'mnasnt'; .* or a .json file. Did you mean 'mnasnet'",
    ),
    "architect: target that no network meets": (
        [*ARCHITECT, "--target=1000"],
        2,
        "no network of the space meets the target of 0.001 M multiply-adds: "
        "the nearest comes to",
    ),
    "architect: measured cost without a target": (
        [*ARCHITECT, "--cost=latency_ms"],
        2,
        "--target is needed with --cost=latency_ms",
    ),
    "architect: benchmark that is not there": (
        [*ARCHITECT, "--evaluator=tabular", "--benchmark={tmp}/none.json"]
        + ["--target=1e6"],
        1,
        "none.json",
    ),
    "architect: tabular without a benchmark": (
        [*ARCHITECT, "--evaluator=tabular"],
        2,
        "--benchmark=FILE and --evaluator=tabular go together",
    ),
    "architect: storage of another kind": (
        [*ARCHITECT, "--storage=mysql://me:secret@host/name"],
        2,
        "Unknown kind of --storage 'mysql'; choose one of postgresql, ",
    ),
    "architect: supernet of kinds of block": (
        [*ARCHITECT, "--evaluator=supernet"],
        2,
        "stage 1 cannot share weights: it decides block .*'mbconv'",
    ),
    "architect: supernet trained several times": (
        [*ARCHITECT, "--evaluator=supernet", "--space=elastic", "--seeds=2"],
        2,
        "seeds=2: a supernet is trained once",
    ),
    "architect: supernet for another evaluator": (
        [*ARCHITECT, "--supernet={tmp}/net"],
        2,
        "--supernet=FOLDER goes with --evaluator=supernet only",
    ),
    "architect: unknown peer": (
        [*ARCHITECT, "--peers=b0"],
        2,
        "Unknown model 'b0'",
    ),
    "study: coefficient below 1": (
        [*STUDY, "--alpha=0.9"],
        2,
        "alpha must be at least 1, got 0.9",
    ),
    "study: growth that is none": (
        [*STUDY, "--growths=2,many"],
        2,
        "--growths='2,many' must be numbers",
    ),
    "training: missing variant file": (
        [*TRAIN, "--model={tmp}/nothing.json"],
        1,
        "efficientnet train: No such file or directory: {tmp}/nothing.json",
    ),
    "training: wrong variant file": (
        [*TRAIN, "--model={tmp}/other/config.json"],
        1,
        '{tmp}/other/config.json: it must be one JSON object with a "base"',
    ),
    "launching nothing": (["launch"], 2, "Nothing to run; write it"),
    "launching no workers": (
        ["launch", "--workers=0", "--", "x.py"],
        2,
        "workers.*0",
    ),
    "service: no role": (
        ["data-service"],
        2,
        "Pass --role=dispatcher or --role=worker; --role is not set",
    ),
    "service: worker alone": (
        ["data-service", "--role=worker"],
        2,
        "A worker needs --dispatcher=HOST:PORT, and only it; got "
        "--role=worker and no --dispatcher",
    ),
    "averages: of one run": (
        ["evaluate", "--workdirs={tmp}/model", "--dataset=folder:{tmp}/folder"],
        2,
        "--workdirs needs two runs or more.",
    ),
    "averages: of runs and a network": (
        ["evaluate", "--workdirs={tmp}/model,{tmp}/model", LITE0]
        + ["--dataset=folder:{tmp}/folder"],
        2,
        "Pass either --workdirs or one classifier.",
    ),
    "averages: of something else": (
        ["evaluate", "--workdir={tmp}/model", "--average=weight"],
        2,
        "Unknown average 'weight'; choose one of predictions, weights. Did you",
    ),
    "averages: of nothing": (
        ["evaluate", "--workdir={tmp}/model", "--average=weights"],
        2,
        "--average=weights goes with --workdirs.",
    ),
    "an unknown augmentation": (
        ["evaluate", "--workdir={tmp}/model", "--tta=flips"],
        2,
        "Unknown tta 'flips'; choose one of none, flip. Did you mean 'flip'?",
    ),
    "an unknown preset": (
        ["finetune", "--task=digits", "--workdir={tmp}/x", "--preset=beast"],
        2,
        "Unknown preset 'beast'; choose one of fast, good, best. Did you mean",
    ),
    "a preset and a network": (
        [
            "finetune",
            "--task=digits",
            "--workdir={tmp}/x",
            "--preset=best",
            LITE0,
        ],
        2,
        "--preset=best chooses the model; leave out --model=efficientnet_lite",
    ),
    "a time limit without a unit": (
        ["finetune", "--task=digits", "--workdir={tmp}/x", "--time_limit=30"],
        2,
        "--time_limit: '30' is no length of time such as 90s, 30m or 1h30m.",
    ),
    "a time limit of a published protocol": (
        ["finetune", "--task=digits", "--workdir={tmp}/x", "--recipe=bit"]
        + ["--time_limit=5m"],
        2,
        "time_limit=5 goes with recipes whose epochs may change, such as auto",
    ),
    "learning rates: none": (
        ["find-lr", "--task=digits", "--lowest=1", "--highest=0.1"],
        2,
        "--lowest=1 must be above 0 and below --highest=0.1.",
    ),
    "learning rates: of a linear classifier": (
        ["find-lr", "--task=digits", "--recipe=linear"],
        2,
        "A learning rate is found for recipes that train the network",
    ),
    "server: of nothing": (
        ["serve"],
        2,
        "Pass one of --model .*, --workdir and --classifier.",
    ),
    "server: of two things": (
        ["serve", LITE0, "--classifier={tmp}/model"],
        2,
        "Pass one of --model .*, --workdir and --classifier.",
    ),
    "server: a port that is no number": (
        ["serve", "--classifier={tmp}/model", "--port=80x"],
        2,
        "--port=80x must be a number.",
    ),
    "server: of a missing file": (
        ["serve", "--classifier={tmp}/nothing"],
        1,
        "There is no file or folder {tmp}/nothing.",
    ),
    "server: empty batches": (
        ["serve", "--classifier={tmp}/model", "--max_batch=0"],
        2,
        "max_batch=0 must be between 1 and 1024.",
    ),
    "server: a queue below a batch": (
        ["serve", "--classifier={tmp}/model", "--max_queue=3"],
        2,
        "max_queue=3 must be at least max_batch=32.",
    ),
    "server: no time": (
        ["serve", LITE0, "--timeout_seconds=0"],
        2,
        "timeout_seconds=0.0 must be above 0 and at most 3600.",
    ),
    "server: a name for no path": (
        ["serve", LITE0, "--name=a/b"],
        2,
        "name='a/b' must be of letters, digits, '_', '.' and '-', at most 1",
    ),
    "server: a port too high": (
        ["serve", LITE0, "--port=65536"],
        2,
        "flag --port=65536",
    ),
    "server: another machine's address": (
        ["serve", LITE0, "--weights=none", "--host=192.0.2.1"],
        1,
        "Port 8000 of 192.0.2.1 cannot be used: Cannot assign requested addr",
    ),
    "random weights for a linear classifier": (
        [*DIGITS, "--model=vit", "--weights=none", "--recipe=linear"],
        2,
        "recipe=linear trains only the classifier, but this network has random",
    ),
    "published weights of what has none": (
        [*DIGITS, "--model=resnet50"],
        2,
        "Unknown weights 'imagenet' for 'resnet50'; choose the path of a file, "
        "hf://USER/REPO, or none for random weights.",
    ),
    "predictions into another kind of file": (
        ["predict", LITE0, "--output={tmp}/x.txt", "a.jpg"],
        2,
        "{tmp}/x.txt must end in .csv, .json, .jsonl",
    ),
    "no value": ([*DIGITS, "--set=epochs"], 2, "field=value, got 'epochs'"),
    "field as a flag": (
        [*DIGITS, "--epochs=3"],
        2,
        "Unknown flag 'epochs'; did you mean --set=epochs=3\\? Choose one of ",
    ),
    "field as a flag, by the name of another library": (
        [*DIGITS, "--opt=adam"],
        2,
        "Unknown flag 'opt'; write --set=optimizer=adamw --set=weight_decay=0, "
        "or choose one of ",
    ),
    "mistyped field as a flag": (
        [*TRAIN, "--learning_rate_per256", "0.1"],
        2,
        "did you mean --set=learning_rate_per_256=VALUE\\? Choose one of ",
    ),
    "field as a flag of a grid": (
        [*GRID, "--batchsize=8"],
        2,
        "did you mean --set=batch_size=8\\?",
    ),
    "folder as a task": (
        [*TUNE, "--task={tmp}/good"],
        2,
        "is a path, not a task's name; .* write --task=folder:{tmp}/good",
    ),
    "missing folder as a task": (
        [*TUNE, "--task=./photos"],
        2,
        "write --task=folder:./photos",
    ),
    "folder as a data set": (
        ["evaluate", "--workdir={tmp}/model", "--dataset={tmp}/good"],
        2,
        "is a path, not a dataset's name; .* --dataset=folder:{tmp}/good",
    ),
    "home that has no such folder": (
        [*TUNE, "--task=folder:~/no such folder"],
        1,
        f"There is no folder {pathlib.Path.home()}/no such folder",
    ),
    "missing weights": (
        [*DIGITS, "--weights={tmp}/no.h5"],
        1,
        "There is no file {tmp}/no.h5",
    ),
    "missing weights of a grid": (
        [*GRID, "--weights=no.safetensors"],
        1,
        "There is no file no.safetensors",
    ),
    "missing run": (
        ["export", "--workdir={tmp}/nowhere", "--output={tmp}/x"],
        1,
        "There is no folder {tmp}/nowhere|{tmp}/nowhere holds no finished run",
    ),
    "mistyped flag's name": (
        [*DIGITS, "--recip=full"],
        2,
        "flag 'recip'; did you mean --recipe\\? Choose one of --class_weight, ",
    ),
    "missing flag": (
        ["finetune", "--task=digits"],
        2,
        "--workdir is required; --help says what it is.",
    ),
    "mistyped flag": (
        ["evaluate", LITE0, "--batch_size=many"],
        2,
        "batch_size.*many",
    ),
    "flag out of range": (
        ["evaluate", LITE0, "--resolution=8"],
        2,
        "resolution.*8.*32",
    ),
    "missing folder": (
        [*TUNE, "--task=folder:{tmp}/nowhere"],
        1,
        "There is no folder {tmp}/nowhere",
    ),
    "one class": ([*TUNE, "--task=folder:{tmp}/one"], 1, "one class, 'a'"),
    "no images": ([*TUNE, "--task=folder:{tmp}/none"], 1, "holds no images"),
    "splits without classes": (
        [*TUNE, "--task=folder:{tmp}/flat"],
        1,
        "{tmp}/flat holds Training and val, which hold images but no class",
    ),
    "a table of images that are not there": (
        [*TUNE, "--task=csv:{tmp}/table.csv"],
        1,
        "1 of its 2 images are not there .line 3: 'b/none.png'.; paths begin",
    ),
    "a folder for a table": (
        [*TUNE, "--task=csv:{tmp}/good"],
        1,
        "{tmp}/good is a folder, not a .csv file; .* write folder:{tmp}/good",
    ),
    "a weight of no class": (
        [*TUNE, "--task=folder:{tmp}/good", "--class_weight=c=2"],
        2,
        "class in class_weight 'c'; choose one of a, b",
    ),
    "groups that fit no image": (
        [*TUNE, "--task=folder:{tmp}/good", r"--group_by=patient\d+"],
        2,
        "gives no group to any of 20 images, such as a/000.png",
    ),
    "groups of a set that is no folder": (
        [*DIGITS, "--group_by=x"],
        2,
        "--group_by is for folder:PATH, csv:FILE",
    ),
    "unreadable images of a set that is no folder": (
        [*GRID, "--skip_bad"],
        2,
        "--skip_bad is for folder:PATH, csv:FILE",
    ),
    "groups by a bad expression": (
        [*TRAIN, "--group_by=("],
        2,
        r"--group_by=\( is neither a regular expression .* nor a .csv file",
    ),
    "unreadable file": (
        [*TUNE, "--task=folder:{tmp}/bad"],
        1,
        "1 of .* cannot be read; .*{tmp}/bad/a/text.jpg is not an image",
    ),
    "unknown data set": (
        ["evaluate", "--workdir={tmp}/model", "--dataset=cifar11"],
        2,
        "no data set 'cifar11'. Did you mean 'cifar10",
    ),
    "folder's unknown split": (
        [
            "evaluate",
            "--workdir={tmp}/model",
            "--dataset=folder:{tmp}/good",
            "--split=dev",
        ],
        2,
        "Unknown split 'dev'; choose one of train, validation, test, all",
    ),
    "set that cannot be had": (
        [*TUNE, "--task=cars196", "--data_dir={tmp}/tfds"],
        1,
        "cars196 is not in {tmp}/tfds.*its address is dead.*catalog/cars196",
    ),
    "folder task without its folder": (
        [*TUNE, "--task=birdsnap", "--data_dir={tmp}"],
        1,
        "There is no folder {tmp}/birdsnap: .*train/CLASS/IMAGE.jpg",
    ),
    "preparing what has no archive": (
        [*PREPARE, "--task=digits", "--source={tmp}"],
        2,
        "'digits' is not read from archives; choose one of cars196, ",
    ),
    "preparing from nowhere": (
        [*PREPARE, "--task=cars196", "--source={tmp}/nowhere"],
        1,
        "There is no folder {tmp}/nowhere",
    ),
    "preparing from another folder": (
        [*PREPARE, "--task=birdsnap", "--source={tmp}/good"],
        1,
        "{tmp}/good does not hold all of birdsnap: species.txt, images.txt, ",
    ),
    "workdir is a file": (
        ["finetune", "--task=digits", "--workdir={tmp}/file"],
        1,
        "{tmp}/file is a file, not a folder",
    ),
    "workdir cannot be written": (
        ["finetune", "--task=digits", "--workdir={tmp}/read_only/run"],
        1,
        "{tmp}/read_only cannot be written to",
    ),
    "workdir of another run": (
        ["finetune", "--task=digits", "--workdir={tmp}/other"],
        2,
        "{tmp}/other holds another run: task='cifar10' there, 'digits' here",
    ),
    "no image named": (
        ["predict", LITE0],
        2,
        "Name image files, folders, or pat",
    ),
    "no model named": (["predict", "a.jpg"], 2, "one of --model .* --work"),
    "two models named": (
        ["predict", LITE0, "--workdir={tmp}/model", "a.jpg"],
        2,
        "one of --model .*, --workdir",
    ),
    "unfinished run": (
        ["predict", "--workdir={tmp}", "{tmp}/cmyk.jpg"],
        1,
        "{tmp} holds no finished run: model.keras is missing",
    ),
    "missing image": (
        ["predict", "--workdir={tmp}/model", "{tmp}/nothing.jpg"],
        1,
        "There is no file {tmp}/nothing.jpg",
    ),
    "pattern without a match": (
        ["predict", "--workdir={tmp}/model", "{tmp}/good/*/*.webp"],
        2,
        "{tmp}/good/\\*/\\*.webp matches no file",
    ),
    "folder without images": (
        ["predict", "--workdir={tmp}/model", "{tmp}/none"],
        2,
        "The folder {tmp}/none holds no images",
    ),
    "bad images among good ones": (
        [
            "predict",
            "--workdir={tmp}/model",
            "{tmp}/bad",
            "{tmp}/nothing.jpg",
            "--output={tmp}/study/bad.csv",
        ],
        1,
        "2 of 22 files could not be read",
    ),
    "evaluation of a run at another size": (
        [
            "evaluate",
            "--workdir={tmp}/model",
            "--dataset=folder:{tmp}/good",
            "--resolution=64",
        ],
        2,
        "--resolution=64 goes with --model; what is trained has its own",
    ),
    "evaluation on other classes": (
        [
            "evaluate",
            "--workdir={tmp}/model",
            "--dataset=folder:{tmp}/birds",
            "--split=all",
        ],
        2,
        "no class in common: only the data have 'crow', 'gull'; only the model "
        "has 'a', 'b'",
    ),
    "predictions of a fine-tuned file as ImageNet's": (
        [
            "predict",
            "--model={tmp}/tiny.json",
            "--weights={tmp}/alone.keras",
            "{tmp}/cmyk.jpg",
        ],
        2,
        "{tmp}/alone.keras has a classifier head for 2 classes, but one for "
        "1000 classes is needed: .* name the run that it is from .--workdir",
    ),
    "text as image": (
        ["predict", "--workdir={tmp}/model", "{tmp}/bad/a/text.jpg"],
        1,
        "{tmp}/bad/a/text.jpg is not an image",
    ),
    "empty image": (
        ["predict", "--workdir={tmp}/model", "{tmp}/zero.jpg"],
        1,
        "{tmp}/zero.jpg is empty",
    ),
    "truncated image": (
        ["predict", "--workdir={tmp}/model", "{tmp}/cut.jpg"],
        1,
        "{tmp}/cut.jpg is a damaged or truncated JPEG",
    ),
    "export over other things": (
        ["export", "--workdir={tmp}/model", "--output={tmp}/good"],
        1,
        "{tmp}/good holds something other than a SavedModel",
    ),
    "export into a file": (
        ["export", "--workdir={tmp}/model", "--output={tmp}/file"],
        1,
        "{tmp}/file is a file, not a folder",
    ),
    "16 bits scaled otherwise than the run did": (
        [
            "predict",
            "--workdir={tmp}/model",
            "--deep_pixels=full",
            "{tmp}/cmyk.jpg",
        ],
        2,
        "--deep_pixels=full goes with --model; what is trained has its own",
    ),
    "16 bits scaled in an unknown way": (
        ["evaluate", LITE0, "--deep_pixels=ful"],
        2,
        "Unknown deep_pixels 'ful'; .* Did you mean 'full'",
    ),
    "a page over other things": (
        ["demo", "--workdir={tmp}/model", "--output={tmp}/good"],
        1,
        "{tmp}/good holds something other than such a page",
    ),
    "a page of nothing": (
        ["demo", "--output={tmp}/x"],
        2,
        "Pass one of --model .*, --workdir and --classifier",
    ),
    "the map of a format that has none": (
        ["export", LITE0, "--activation_map", "--output={tmp}/x"],
        2,
        "saved_model has no activation map as a second output",
    ),
    "export in an unknown format": (
        ["export", LITE0, "--format=kears", "--output={tmp}/x.keras"],
        2,
        "Unknown format 'kears'; choose one of .*Did you mean 'keras'?",
    ),
    "export to a file of another kind": (
        ["export", LITE0, "--format=keras", "--output={tmp}/x.onnx"],
        2,
        "{tmp}/x.onnx must end in .keras or be a folder's name",
    ),
    "export in an unknown precision": (
        ["export", LITE0, "--format=onnx", "--precision=int4"]
        + ["--output={tmp}/x.onnx"],
        2,
        "Unknown precision 'int4'; choose one of .*Did you mean 'int8'?",
    ),
    "export in a precision that a format lacks": (
        ["export", LITE0, "--format=onnx", "--precision=bfloat16"]
        + ["--output={tmp}/x.onnx"],
        2,
        "onnx has no bfloat16; choose from float32, float16, int8.",
    ),
    "int8 without images": (
        ["export", LITE0, "--format=litert", "--precision=int8"]
        + ["--output={tmp}/x.tflite"],
        2,
        "--precision=int8 needs images for calibration: --dataset",
    ),
    "int8 with a part in float that there is not": (
        ["export", LITE0, "--format=onnx", "--precision=int8"]
        + ["--dataset=folder:{tmp}/good", "--keep_float=first,gate"]
        + ["--output={tmp}/x.onnx"],
        2,
        "Unknown part 'gate'; choose one of .*Did you mean 'gates'?",
    ),
    "a part in float of a float file": (
        ["export", LITE0, "--keep_float=head", "--output={tmp}/x"],
        2,
        "--keep_float goes with --precision=int8",
    ),
    "export to where nobody may write": (
        ["export", LITE0, "--format=onnx", "--output={tmp}/read_only/x.onnx"],
        1,
        "{tmp}/read_only cannot be written to",
    ),
    "export of versions into a file": (
        ["export", LITE0, "--format=tf_serving", "--output={tmp}/file"],
        1,
        "{tmp}/file is a file, not a folder",
    ),
    "export: a license that the hub does not know": (
        ["export", LITE0, "--license=apache", "--output={tmp}/x"],
        2,
        "Unknown license 'apache'; did you mean 'apache-2.0'\\? Choose one of ",
    ),
    "export: a license of one file": (
        ["export", LITE0, "--license=mit", "--output={tmp}/x"],
        2,
        "--license=mit goes with a folder of files, which has a model card",
    ),
    "share: no license": (
        [*SHARE, "--repo=anna/x", "--dry_run", "--output={tmp}/x"],
        2,
        "--license is needed: the model has none until you choose one, such as",
    ),
    "share: a license that is none": (
        [*SHARE, "--repo=anna/x", "--license=unknown"],
        2,
        "Unknown license 'unknown'; ",
    ),
    "share: a name of another form": (
        [*SHARE, "--repo=flowers", "--license=mit"],
        2,
        "'flowers' must be USER/NAME, e.g. anna/flowers.",
    ),
    "share: a dry run into nowhere": (
        [*SHARE, "--repo=anna/x", "--license=mit", "--dry_run"],
        2,
        "--dry_run and --output go together.",
    ),
    "share: of no run": (
        ["share", "--workdir={tmp}/good", "--repo=anna/x", "--license=mit"]
        + ["--dry_run", "--output={tmp}/x"],
        1,
        "{tmp}/good holds no finished run: model.keras is missing.",
    ),
    "share: into a folder of other things": (
        [*SHARE, "--repo=anna/x", "--license=mit"]
        + ["--dry_run", "--output={tmp}/other"],
        1,
        "{tmp}/other holds config.json; choose another folder.",
    ),
    "a classifier on the hub without its user": (
        ["predict", "--classifier=hf://flowers", "{tmp}/cmyk.jpg"],
        2,
        "'hf://flowers' must be hf://USER/REPO or hf://USER/REPO@REVISION",
    ),
    "unknown logger": (
        [*DIGITS, "--logger=mlfow"],
        2,
        "Unknown logger 'mlfow'; choose one of mlflow, wandb. Did you mean",
    ),
    "training: unknown logger": (
        [*TRAIN, "--logger=wandb,tb"],
        2,
        "Unknown logger 'tb'; choose one of mlflow, wandb.",
    ),
    "a logged model without a logger": (
        [*DIGITS, "--log_model"],
        2,
        "--log_model goes with --logger.",
    ),
    "a classifier of no known kind": (
        ["predict", "--classifier={tmp}/cut.jpg", "{tmp}/cmyk.jpg"],
        2,
        "{tmp}/cut.jpg ends in none of .keras, .tflite, .onnx, .xml",
    ),
    "a classifier that is not there": (
        ["predict", "--classifier={tmp}/no.tflite", "{tmp}/cmyk.jpg"],
        1,
        "There is no file or folder {tmp}/no.tflite",
    ),
    "weights beside a run": (
        [
            "predict",
            "--workdir={tmp}/model",
            "--weights=x.h5",
            "{tmp}/cmyk.jpg",
        ],
        2,
        "--weights=x.h5 goes with --model",
    ),
    "a split of no data set": (
        ["export", LITE0, "--split=test", "--output={tmp}/x"],
        2,
        "--split=test goes with --dataset",
    ),
    "a classifier beside a network": (
        ["predict", LITE0, "--classifier={tmp}/model", "{tmp}/cmyk.jpg"],
        2,
        "Pass one of --model .and --weights., --workdir and --classifier",
    ),
    "converted under a wrong name": (
        ["convert", LITE0, "--source=imagenet", "--output={tmp}/a.h5"],
        2,
        "a.h5' must be a file that ends in '.weights.h5'",
    ),
    "evaluation of a run on nothing": (
        ["evaluate", "--workdir={tmp}/model"],
        2,
        "--workdir needs --dataset and --split",
    ),
    "measuring an unknown model": (
        ["measure", "--model=efficientnet_b9"],
        2,
        "Unknown model 'efficientnet_b9'",
    ),
    "grid of an unknown recipe": (
        [*GRID, "--recipes=linear,ful"],
        2,
        "Unknown recipe 'ful'; choose one of auto, linear, full, ",
    ),
    "grid that TPE cannot search": (
        [*GRID, "--sampler=tpe", "--search=head=linear,random"],
        2,
        "head=linear,random cannot be searched by TPE",
    ),
    "grid in another grid's folder": (
        [*GRID, "--workdir={tmp}/other_grid"],
        2,
        "{tmp}/other_grid holds another run: seeds=5 there, 1 here",
    ),
    "conversion of nothing": (
        [
            "convert",
            LITE0,
            "--source={tmp}/nothing.pth",
            "--output={tmp}/a.weights.h5",
        ],
        1,
        "There is no file {tmp}/nothing.pth",
    ),
    "unknown source family": (
        ["predict", LITE0, "--source_family=timm_ft", "a.jpg"],
        2,
        "Unknown source_family 'timm_ft'; choose .* Did you mean 'timm_tf'",
    ),
    "unknown normalization": (
        ["evaluate", LITE0, "--normalization=imagnet"],
        2,
        "Unknown normalization 'imagnet'; .* Did you mean 'imagenet'",
    ),
    "normalization of a run": (
        ["export", "--workdir={tmp}/model", "--normalization=lite"]
        + ["--output={tmp}/exported"],
        2,
        "--normalization=lite goes with --model; what is trained has its own",
    ),
    "grid with an unknown source family": (
        [*GRID, "--source_family=lukas"],
        2,
        "source_family='lukas' must be one of timm, timm_tf",
    ),
    "malformed name on the hub": (
        ["finetune", "--task=digits", "--workdir={tmp}/run"]
        + ["--weights=hf://timm"],
        2,
        "'hf://timm' must be hf://USER/REPO",
    ),
    "report of a missing file": (
        ["report", "--results={tmp}/nothing.jsonl"],
        1,
        "There is no {tmp}/nothing.jsonl; `efficientnet finetune` and .* write",
    ),
    "unknown images without what tells them": (
        ["predict", "--unknown", "--workdir={tmp}/model", "{tmp}/cmyk.jpg"],
        2,
        "{tmp}/model has nothing to tell unknown images by: fine-tuning runs",
    ),
    "another set without --unknown": (
        ["evaluate", LITE0, "--other=folder:{tmp}/good"],
        2,
        "--other=folder:{tmp}/good goes with --unknown",
    ),
    "neighbors of nothing": (
        ["neighbors", "--workdir={tmp}/model"],
        2,
        "Name image files, folders",
    ),
    "neighbors by an exported file": (
        ["neighbors", "--workdir={tmp}/alone.keras", "{tmp}/cmyk.jpg"],
        2,
        "--workdir={tmp}/alone.keras is a file: neighbours are looked for am",
    ),
    "neighbors in no run": (
        ["neighbors", "--workdir={tmp}/model", "{tmp}/cmyk.jpg"],
        1,
        "{tmp}/model holds no run: config.json is missing",
    ),
    "embed nothing": (
        ["embed", LITE0, "--output={tmp}/run"],
        2,
        "Name image files, folders",
    ),
    "embed a set of no split": (
        ["embed", LITE0, "--output={tmp}/run", "--dataset=cifar10"],
        2,
        "--dataset=cifar10 needs --split",
    ),
    "embed a set and images": (
        ["embed", LITE0, "--output={tmp}/run", "--dataset=cifar10", "a.jpg"],
        2,
        "Name images or --dataset=cifar10, not both: there is a.jpg, too",
    ),
    "explain nothing": (["explain", LITE0], 2, "Name image files, folders"),
    "explain a typo of a class": (
        [*EXPLAIN, "--classes=A", "{tmp}/cmyk.jpg"],
        2,
        "Unknown class 'A'; choose one of a, b. Did you mean 'a'",
    ),
    "explain too many classes": (
        [*EXPLAIN, "--top=13", "{tmp}/cmyk.jpg"],
        2,
        "13 classes are too many for a picture; show at most 12",
    ),
    "explain two kinds of classes": (
        [*EXPLAIN, "--top=1", "--classes=a", "{tmp}/cmyk.jpg"],
        2,
        "--top and --classes exclude each other",
    ),
    "explain a typo of a layer": (
        [*EXPLAIN, "--layer=top_activatoin", "{tmp}/cmyk.jpg"],
        2,
        "has no layer 'top_activatoin'; .* Did you mean 'top_activation'",
    ),
    "explain its own pictures": (
        [*EXPLAIN, "--output={tmp}/good", "{tmp}/good/a"],
        2,
        "All images are in --output={tmp}/good; choose another folder",
    ),
    "explain into a file": (
        [*EXPLAIN, "--output={tmp}/file", "{tmp}/cmyk.jpg"],
        1,
        "{tmp}/file is a file, not a folder",
    ),
    "explain one bad image": (
        [*EXPLAIN, "--output={tmp}/study/bad", "{tmp}/zero.jpg"],
        1,
        "{tmp}/zero.jpg is empty",
    ),
    "report of nothing": (
        ["report", "--output={tmp}/run"],
        2,
        "Give --workdir, one run, or --results, several, and not both",
    ),
    "report of a run that has not finished": (
        ["report", "--workdir={tmp}/other"],
        1,
        "{tmp}/other holds no finished fine-tuning run: results.jsonl is miss",
    ),
    "report into a file": (
        ["report", "--workdir={tmp}/runs/1", "--output={tmp}/file"],
        1,
        "{tmp}/file is a file, not a folder",
    ),
    "compare one run": (
        ["compare", "{tmp}/runs/1"],
        2,
        "Give two finished runs, as in `efficientnet compare RUN RUN`, not 1",
    ),
    "compare a run with itself": (
        ["compare", "{tmp}/runs/1", "{tmp}/runs/../runs/1"],
        2,
        "{tmp}/runs/1 and {tmp}/runs/../runs/1 are one run",
    ),
    "compare with nothing": (
        ["compare", "{tmp}/runs/1", "{tmp}/nothing"],
        1,
        "There is no folder {tmp}/nothing",
    ),
    "compare runs on other images": (
        ["compare", "{tmp}/runs/1", "{tmp}/runs/3", "--output={tmp}/run"],
        2,
        "{tmp}/runs/1 and {tmp}/runs/3 were scored on no image that both have",
    ),
    "report of other things": (
        ["report", "--results={tmp}/other/config.json"],
        1,
        "{tmp}/other/config.json, row 1 lacks model, recipe, metric, score",
    ),
}

# What only the images can show.
FOUND_IN_THE_DATA = ("groups that fit no image", "evaluation on other classes")

SCRIPTS = sorted(path.name for path in paths.SCRIPTS.glob("*.py"))
# The same commands by the files of a checkout.
CASES |= {
    script: ([script, "--nonsense=1"], 2, "Unknown flag 'nonsense'; choose one")
    for script in SCRIPTS
} | {
    "script: unknown task": (
        ["finetune.py", "--task=cifar", "--workdir={tmp}/run"],
        2,
        "Unknown task 'cifar'; choose one of cifar10, ",
    ),
    "script: missing flag": (
        ["transfer_grid.py", "--tasks=digits"],
        2,
        "--workdir is required; --help says what it is.",
    ),
    "script: missing image": (
        ["predict.py", "--workdir={tmp}/model", "{tmp}/nothing.jpg"],
        1,
        "There is no file {tmp}/nothing.jpg",
    ),
}

# name: (arguments, a test of the result's last line)
GOOD = {
    "evaluate": (
        [
            "evaluate",
            "--workdir={tmp}/model",
            "--dataset=folder:{tmp}/good",
            "--split=test",
            "--batch_size=3",
        ],
        lambda r: r["images"] == 4 and 0 <= r["top1"] <= r["top5"] == 1,
    ),
    "predict": (
        [
            "predict",
            "--workdir={tmp}/model",
            "{tmp}/one_pixel.png",
            "{tmp}/wide.png",
            "{tmp}/cmyk.jpg",
            "--output={tmp}/study/predictions.jsonl",
        ],
        lambda r: (
            (r["images"], r["unreadable"]) == (3, 0)
            and r["output"].endswith("predictions.jsonl")
        ),
    ),
    "explain": (
        [
            "explain",
            "--workdir={tmp}/model",
            "{tmp}/one_pixel.png",
            "{tmp}/wide.png",
            "{tmp}/cmyk.jpg",
            "{tmp}/good/a/000.png",
            "{tmp}/good/b/000.png",
            "--classes=b,a",
            "--output={tmp}/study/maps",
        ],
        lambda r: (
            (r["images"], r["unreadable"]) == (5, 0)
            and r["output"].endswith("study/maps")
        ),
    ),
    "embed": (
        [
            "embed",
            "--workdir={tmp}/model",
            "--dataset=folder:{tmp}/good",
            "--output={tmp}/study/embedded",
        ],
        lambda r: (
            (r["images"], r["shown"], r["unreadable"]) == (20, 20, 0)
            and r["features"] == 32
        ),
    ),
    "study": (
        [*STUDY, "--costs", "--workdir={tmp}/study"],
        lambda r: (
            (r["networks"], r["trained"]) == (20, 0)
            and r["results"].endswith("study/results.jsonl")
        ),
    ),
    "prepare": (
        [*PREPARE, "--task=folder:{tmp}/good", "--check_duplicates"],
        lambda r: (
            (r["train_images"], r["test_images"], r["complete"])
            == (16, 4, None)
            and r["exact_duplicates"] == 0
        ),
    ),
    "share": (
        [*SHARE, "--repo=anna/x", "--license=mit"]
        + ["--dry_run", "--output={tmp}/study/shared"],
        lambda r: r["files"] == 4 and r["url"] is None,
    ),
    "report": (
        [
            "report",
            "--results={tmp}/rows.jsonl",
            "--output={tmp}/report",
        ],
        lambda r: r["rows"] == 1 and r["compared"] == 1,
    ),
    "report of a run": (
        ["report", "--workdir={tmp}/runs/1"],
        lambda r: (
            r["page"].endswith("runs/1/report.html")
            and (r["task"], r["score"], r["left_out"]) == ("folder:/a", 0.5, 1)
        ),
    ),
    "report of a run by its results": (
        ["report", "--results={tmp}/runs/2", "--output={tmp}/study/2"],
        lambda r: r["page"].endswith("study/2/report.html"),
    ),
    "compare": (
        ["compare", "{tmp}/runs/1", "{tmp}/runs/2", "--output={tmp}/study"],
        lambda r: (
            (r["images"], r["lost"], r["gained"]) == (4, 1, 2)
            and r["difference"] == 0.25
            and r["page"].endswith("study/compare.html")
        ),
    ),
}


def _write_runs(folder):
    """Two runs on the same four images, and one on others."""
    labels = np.array([0, 0, 1, 1])
    other = reported.name_images(8).pick(np.arange(4, 8))
    runs = {"1": [0, 1, 1, 0], "2": [1, 0, 1, 1], "3": [0, 0, 1, 1]}
    for name, predicted in runs.items():
        reported.write_run(
            folder / name,
            labels,
            0.2 + 0.6 * np.eye(2, dtype="float32")[predicted],
            ("a", "b"),
            images=other if name == "3" else None,
            task="folder:/a",
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_folder, tiny_row):
    """A folder with all that the cases name."""
    tmp = tmp_path_factory.mktemp("scripts")
    make_folder(tmp / "good", {"a": 10, "b": 10})
    make_folder(tmp / "one", {"a": 10})
    make_folder(tmp / "birds", {"gull": 10, "crow": 10})
    registry.write_file(tmp / "tiny.json", tiny_row)
    make_folder(tmp / "bad", {"a": 10, "b": 10})
    (tmp / "bad" / "a" / "text.jpg").write_text("words")
    make_folder(tmp / "flat", {"Training": 3, "val": 3})
    (tmp / "table.csv").write_text(
        "path,label\ngood/a/000.png,a\nb/none.png,b\n"
    )
    for name in ("none", "tfds", "read_only"):
        (tmp / name).mkdir()
    for name in ("file", "zero.jpg"):
        (tmp / name).write_bytes(b"")
    (tmp / "other_grid").mkdir()
    plan = {"tasks": ["digits"], "models": ["efficientnet_lite0"]}
    plan |= {"recipes": ["full"], "weights": "imagenet", "seeds": 5}
    (tmp / "other_grid" / "plan.json").write_text(json.dumps(plan))
    (tmp / "other").mkdir()
    (tmp / "other" / "config.json").write_text('{"task": "cifar10"}')
    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
    Image.fromarray(noise).save(tmp / "whole.jpg")
    whole = (tmp / "whole.jpg").read_bytes()
    (tmp / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(tmp / "one_pixel.png")
    Image.new("L", (20_000, 10)).save(tmp / "wide.png")
    Image.new("CMYK", (9, 9)).save(tmp / "cmyk.jpg")
    row = {"task": "cifar10", "model": "efficientnet_lite0", "recipe": "full"}
    row |= {"metric": "top1", "score": 0.95, "published": 0.989}
    _write_runs(tmp / "runs")
    row = json.dumps(row)
    (tmp / "rows.jsonl").write_text(f'{row}\n{{"task": "ci')
    network = builder.build(tiny_row, classes=2, input_shape=(32, 32, 3))
    classifier.Classifier(network, ("a", "b"), 32, "bicubic", 0).save(
        tmp / "model"
    )
    shutil.copy(tmp / "model" / "model.keras", tmp / "alone.keras")
    return tmp


@pytest.fixture(scope="module")
def results(place):
    """{case: (exit code, standard output, standard error)} of all cases."""
    lines = {
        name: [part.replace("{tmp}", str(place)) for part in row[0]]
        for name, row in {**CASES, **GOOD}.items()
    }
    (place / "cases.json").write_text(json.dumps(lines))
    before = sorted(place.iterdir())
    # Root may write where others may not; a mount that is read-only holds.
    read_only = place / "read_only"
    os.chmod(read_only, 0o555)
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(read_only)],
            capture_output=True,
        ).returncode
    )
    # A port that nobody listens on, whether there is a network or not.
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    try:
        subprocess.run(
            [
                sys.executable,
                paths.SUPPORT / "command_cases.py",
                place / "cases.json",
                place / "results.json",
            ],
            check=True,
            env={**os.environ, **proxies},
        )
    finally:
        if mounted:
            subprocess.run(["umount", str(read_only)], check=True)
        os.chmod(read_only, 0o755)
    found = json.loads((place / "results.json").read_text())
    found["new files"] = sorted(
        path.name for path in set(place.iterdir()) - set(before)
    )
    return found


def _own_lines(stderr):
    lines = [line for line in stderr.splitlines() if not STARTUP.match(line)]
    # Progress of a download rewrites its own line.
    return [line for line in lines if line and "\r" not in line]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gives_one_line_and_its_exit_code(results, place, name):
    arguments, code, message = CASES[name]
    if name == "workdir cannot be written" and os.geteuid() == 0:
        if not results[name][0]:
            pytest.skip("needs the right to mount a file system")
    found, stdout, stderr = results[name]
    assert found == code, stderr
    assert "Traceback" not in stderr
    last = _own_lines(stderr)[-1]
    by_script = arguments[0] in SCRIPTS
    prefix = arguments[0] if by_script else f"efficientnet {arguments[0]}"
    assert last.startswith(f"{prefix}: ")
    assert re.search(message.replace("{tmp}", re.escape(str(place))), last)
    # Usage is checked before anything is begun, so there is nothing to log.
    if code == 2 and name not in FOUND_IN_THE_DATA:
        assert len(_own_lines(stderr)) == 1, stderr


@pytest.mark.parametrize("name", GOOD)
def test_good_input_ends_in_one_line_of_json(results, name):
    found, stdout, stderr = results[name]
    assert found == 0, stderr
    assert GOOD[name][1](json.loads(stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", GOOD)
def test_the_line_of_json_is_flat(results, name):
    result = json.loads(results[name][1].splitlines()[-1])
    assert all(isinstance(value, program.SCALARS) for value in result.values())


def test_a_nested_result_is_an_error_of_the_program():
    with pytest.raises(TypeError, match="numbers and texts only; rows is a li"):
        program.print_result({"images": 3, "rows": []})


def test_predictions_are_shown_and_written(results, place):
    rows = files.read_json_lines(place / "study/predictions.jsonl")
    names = [pathlib.Path(row["file"]).name for row in rows]
    assert names == ["one_pixel.png", "wide.png", "cmyk.jpg"]
    for row in rows:
        assert {best["class"] for best in row["top"]} == {"a", "b"}
        assert row["class"] == row["top"][0]["class"]
    header, *lines = results["predict"][1].splitlines()[:-1]
    assert header.split() == ["image", "class"]
    # The image stands beside its first class only.
    assert [len(line.split()) for line in lines] == [3, 2] * 3


def test_maps_are_drawn_and_listed_under_names_of_their_own(results, place):
    rows = files.read_json_lines(place / "study/maps/pictures.jsonl")
    names = [pathlib.Path(row["picture"]).name for row in rows]
    assert names == [
        "one_pixel.png",
        "wide.png",
        "cmyk.png",
        "000.png",
        "000_2.png",
    ]
    for row in rows:
        assert [shown["class"] for shown in row["maps"]] == ["b", "a"]
        total = sum(shown["probability"] for shown in row["maps"])
        assert abs(total - 1) < 1e-5
        with Image.open(row["picture"]) as image:
            assert image.width >= 3 * 240  # The image and two maps.
    header, *lines = results["explain"][1].splitlines()[:-1]
    assert header.split() == ["image", "class", "picture"]
    assert len(lines) == 10


def test_embedded_images_have_their_names_and_classes(results, place):
    folder = place / "study/embedded"
    with (folder / "features.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["a"] * 10 + ["b"] * 10
    assert rows[0]["path"].endswith("good/a/000.png")
    assert np.load(folder / "features.npy").shape == (20, 32)


def test_predictions_go_on_after_a_bad_file(results, place):
    with (place / "study/bad.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 22
    bad = [row for row in rows if row["error"]]
    assert [pathlib.Path(row["file"]).name for row in bad] == [
        "text.jpg",
        "nothing.jpg",
    ]
    assert all(row["class"] in "ab" for row in rows if row not in bad)
    code, stdout, stderr = results["bad images among good ones"]
    assert json.loads(stdout.splitlines()[-1])["images"] == 20
    assert "text.jpg is not an image" in stderr


def test_an_evaluation_is_told_with_its_interval(results):
    assert re.search(
        r"Evaluated .*/model on 4 images of folder:.*/good, test\.\n"
        r"  top-1 accuracy  \d+\.0 % \(95 % interval \d+\.\d to \d+\.\d\) on "
        r"4 test images\n",
        results["evaluate"][1],
    )


def test_a_studys_costs_are_in_its_results(results, place):
    rows = files.read_json_lines(place / "study/results.jsonl")
    assert len(rows) == 20 and rows[1]["accuracy"] is None
    assert 3.8 < rows[1]["exact_growth"] < 4.2


def test_bad_input_writes_nothing(results, place):
    # The run's folder has the list of a refused set's unreadable files.
    written = {"results.json", "report", "study", "run"}
    assert set(results["new files"]) == written
    assert os.listdir(place / "run") == ["unreadable.csv"]
    assert os.listdir(place / "tfds") == []
    assert os.listdir(place / "other") == ["config.json"]
    assert not [p for p in place.rglob("*") if p.name.startswith(".tmp-")]


def test_the_report_is_printed_and_written(results, place):
    assert "| 95.0% | 98.9% (None) | -3.9 |" in results["report"][1]
    assert "| 95.0 |" in (place / "report" / "report.md").read_text()
    assert "95.0" in (place / "report" / "report.html").read_text()


@pytest.mark.parametrize("command", [*main.COMMANDS, *SCRIPTS])
def test_every_command_and_every_script_has_a_case(command):
    assert command in {row[0][0] for row in CASES.values()}


@pytest.mark.slow
def test_of_what_tensorflow_writes_at_its_import_only_notes_are_hidden():
    lines = ["I0000 a note", "E0000 an error"]
    code = (
        "import os\n"
        "from efficientnet_tf.commands import quiet\n"
        f"quiet.quietly(os.write, 2, b'{lines[0]}\\n{lines[1]}\\n')\n"
        "import tensorflow"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    found = done.stderr.splitlines()
    assert found[0] == lines[1]
    assert not [line for line in found if line.startswith(("I0000", "WARN"))]


def test_an_unknown_flag_fails_before_tensorflow_is_loaded():
    done = subprocess.run(
        [sys.executable, paths.SCRIPTS / "finetune.py", "--nonsense=1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("finetune.py: ") and "nonsense" in line
