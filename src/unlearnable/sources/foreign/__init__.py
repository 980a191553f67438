"""Files that others publish, read in a child process that may use little memory and write nothing.

Only ``python -m unlearnable.sources.foreign.convert`` opens them. Its readers build arrays of numbers and nothing else.
"""

# Each format, and how the release's own loader makes levels of its values: "none" where they are whole levels already.
FORMATS = {
    "png_folder": "none",
    "em_tensor": "truncate",
    "rem_pickle": "none",
    "ops_array": "truncate",
    "lsp_array": "truncate",
    "ntga_arrays": "truncate",
}
ROUNDINGS = ("truncate", "nearest")
NORMS = ("linf", "l2", "l0")
FAR = 0.15  # mean absolute difference, in units of [0, 1]: no release is so far from its clean images, another image mostly is
