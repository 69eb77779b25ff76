"""Sources of training images beside the trainer: the pool that shows each of them several times, and the processes
that make them. What an image is made of, and how, is `strokelabel.synthesis`."""
