"""What a read means, answered from the stores: readers, buckets, conditions, kept last values, downsampling."""
