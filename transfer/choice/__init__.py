"""What a run chooses by held-out images or by time: `auto`, limits, rates."""
