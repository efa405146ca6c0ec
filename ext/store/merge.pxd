"""Several segments of one month to one."""
