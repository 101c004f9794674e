"""Files as both packages read and write them: bounded readers, whole or not at all, inside their folder alone."""

from mctsdialog.files._atomic import atomic_file, lock_file, sweep, sync_files, sync_folder, write_atomically
from mctsdialog.files._folders import inside, remove_file, remove_folder
from mctsdialog.files._inputs import (
    MAX_KEYS,
    check_numbers,
    check_regular,
    check_width,
    dotted,
    faults,
    first_fault,
    open_input,
    parse_foreign_json,
    parse_json,
    read_input,
)
from mctsdialog.files._marks import Mark, mark_of, seal, sealed
from mctsdialog.files._names import digested_stem, earlier_stem, file_stem, folded
from mctsdialog.files._sheets import formula_safe, sheet_rows, sheet_text, without_apostrophes
from mctsdialog.files._yaml import FileSettings, SettingsRefusal, read_document, read_settings, write_settings

__all__ = [
    "MAX_KEYS",
    "FileSettings",
    "Mark",
    "SettingsRefusal",
    "atomic_file",
    "check_numbers",
    "check_regular",
    "check_width",
    "digested_stem",
    "dotted",
    "earlier_stem",
    "faults",
    "file_stem",
    "first_fault",
    "folded",
    "formula_safe",
    "inside",
    "lock_file",
    "mark_of",
    "open_input",
    "parse_foreign_json",
    "parse_json",
    "read_document",
    "read_input",
    "read_settings",
    "remove_file",
    "remove_folder",
    "seal",
    "sealed",
    "sheet_rows",
    "sheet_text",
    "sweep",
    "sync_files",
    "sync_folder",
    "without_apostrophes",
    "write_atomically",
    "write_settings",
]
