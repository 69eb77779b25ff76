"""Networks that see lesions as pictures: the pictures, the networks, their training and their evaluation."""
