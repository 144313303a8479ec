"""Random walks over microstates: graphs of posts, transition matrices, Markov stability, drift and diffusion."""
