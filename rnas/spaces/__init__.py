"""What can be searched, one package a family: `cell_space` (DARTS, DSARA), `width_space` (RNAS-CL), `nasbench201`."""
