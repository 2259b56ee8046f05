"""`python -m efficientnet_tf` is the command `efficientnet`."""

from efficientnet_tf.commands import main

if __name__ == "__main__":
    main.main()
