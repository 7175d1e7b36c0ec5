"""Swift's objects have their files, and its disk holds no others."""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.violations import Picture, Violation, held, moment, rule

TRASH_DEADLINE_S = 600.0


@rule
def objects_have_their_file(picture: Picture) -> Iterator[Violation]:
    """Every object that is no manifest has a file, of its size."""
    files = {file["file"]: file["size"] for file in held(picture, "swift", "files") or []}
    if held(picture, "swift", "files") is None:
        return
    for found in held(picture, "swift", "objects") or []:
        path = f"{found['account']}/{found['container']}/{found['name']}"
        if found["file"] is None:
            continue
        if found["file"] not in files:
            yield Violation("object-bytes-missing", path, f"its file {found['file']} is not on the disk",
                            "restore the file from a backup, or delete the object")
        elif files[found["file"]] != found["size"]:
            yield Violation("object-size", path, f"it has {found['size']} bytes, its file {files[found['file']]}",
                            "restore the file from a backup, or delete the object")


@rule
def files_have_an_object(picture: Picture) -> Iterator[Violation]:
    """No file that neither an object nor the trash names; the trash is emptied."""
    objects = held(picture, "swift", "objects")
    if objects is None:
        return
    trash = {item["file"]: item["since"] for item in held(picture, "swift", "trash") or []}
    known = {found["file"] for found in objects} | trash.keys()
    for file in held(picture, "swift", "files") or []:
        if file["file"] not in known:
            yield Violation("file-without-object", file["file"], f"{file['size']} bytes that no object names",
                            "restart swift, which removes what a killed process left")
    for name, since in trash.items():
        if moment(picture) - since > TRASH_DEADLINE_S:
            yield Violation("trash-stays", name, f"it waits for its removal for {moment(picture) - since:.0f} s",
                            "see swift's log for what the disk says")
