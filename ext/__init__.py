"""The compiled core: everything below runs in C and touches Python objects once a batch."""
