"""What tests of several kinds share: servers to run against, and how a skipped test is treated."""
