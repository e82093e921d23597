"""What `benchmarks/close.py` is made of: data as large as asked for, the plain statements to compare with, and the measuring."""
