from efficientnet_tf.data import imagenet, tfds


def test_wordnet_ids_stand_in_the_order_of_tfds(data_dir):
    examples = tfds.load("imagenet2012", "train", data_dir)
    assert imagenet.wordnet_ids() == examples.class_names
