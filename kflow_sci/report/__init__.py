"""What a person looks at: pictures and tables of results.

The one idea: a report reads finished values and computes no science of its own.
"""
