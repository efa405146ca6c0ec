"""Tests of floor 1: blocks of integers and numbers, and the checksum."""
