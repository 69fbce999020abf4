"""What the options mean that several file sinks share: said once, read by documentation, schema and
errors."""

__all__ = ["COMPRESSION", "IF_EXISTS", "NAN", "PATH", "PUBLISH"]

PATH = {"doc": "The file to write; missing directories are made."}
IF_EXISTS = {
    "doc": 'What to do with a target that is there before the first run: "error", "append" or "replace". '
    'Default: "error" with checkpoints, "replace" without.'
}
COMPRESSION = {"doc": '"none", "gzip", "zstd", or "auto": by the name\'s suffix, .gz or .zst.'}
NAN = {"doc": 'NaN and infinities: "reject" refuses the record, "null" writes null in their place.'}
PUBLISH = {
    "doc": 'Without checkpoints: "end" makes the file appear whole at the end of a successful run; "live" '
    "appends in place as the run goes on, for sources that never end."
}
