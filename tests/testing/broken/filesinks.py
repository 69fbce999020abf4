"""Sinks of files that are broken on purpose: all they do to the disk goes by the seam, so that it can fail, and lose
power. `BROKEN` says which law each of them breaks: one of those that are parted by "|".
"""

import json

import trio
from testing.broken.labelled import Broken

from agora import seam


def rows_of(place):
    return lines_of(place / "out")


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class File:
    """By the rules, in a file: `prepare` writes the next one beside it, and the commit puts that in its place."""

    def __init__(self, place):
        self.place, self.out, self.next = place, place / "out", place / "next"
        self.files = seam.current().files
        self.rows = lines_of(self.out)
        self.base = self.there = len(self.rows)

    async def write(self, records):
        await trio.lowlevel.checkpoint()
        self.rows += records

    async def prepare(self):
        await trio.lowlevel.checkpoint()
        if len(self.rows) > self.there:
            self.put(self.next, self.rows, "w+b")
            self.there = len(self.rows)
        return {"total": len(self.rows), "base": self.base}

    async def commit(self, token):
        await trio.lowlevel.checkpoint()
        if len(lines_of(self.out)) < token["total"]:
            self.move()

    async def recover(self, token):
        await self.commit(token)
        self.files.unlink(self.next)
        self.__init__(self.place)
        self.base = token["base"]

    async def restart(self, token):
        await self.recover(token)
        del self.rows[token["base"] :]
        self.there = len(self.rows)
        self.put(self.next, self.rows, "w+b")
        self.move()

    def put(self, path, rows, mode):
        with self.files.open(path, mode) as file:
            self.files.write(file, "".join(json.dumps(row) + "\n" for row in rows).encode())
            self.sync(file)
        self.sync_name()

    def move(self):
        self.files.replace(self.next, self.out)
        self.sync_name()

    def sync(self, file):
        self.files.fsync(file)

    def sync_name(self):
        self.files.sync_directory(self.place)


class Appender:
    """By the rules, without transactions: durable is what was flushed."""

    def __init__(self, place):
        self.place, self.files = place, seam.current().files

    async def open(self, context):
        await trio.lowlevel.checkpoint()
        self.file = self.files.open(self.place / "out", "ab")
        self.files.sync_directory(self.place)

    async def write(self, records):
        await trio.lowlevel.checkpoint()
        self.files.write(self.file, "".join(json.dumps(row) + "\n" for row in records).encode())

    async def flush(self):
        await trio.lowlevel.checkpoint()
        self.files.fsync(self.file)

    async def close(self):
        self.file.close()


# once


class AddsInPlace(File):
    """Adds to the file that is there; half of that is none of it to a recovery."""

    def move(self):
        rows = lines_of(self.next)
        self.put(self.out, rows[len(lines_of(self.out)) :], "ab")
        self.files.unlink(self.next)

    async def restart(self, token):
        await self.recover(token)
        del self.rows[token["base"] :]
        self.there = len(self.rows)
        self.put(self.out, self.rows, "w+b")


# durable


class NeverSyncs(File):
    """Leaves it to the operating system when its files are durable."""

    def sync(self, file):
        pass


class NeverSyncsNames(File):
    """Its files are durable; that they are there isn't."""

    def sync_name(self):
        pass


class NeverSyncsWhatItAppends(Appender):
    async def flush(self):
        await trio.lowlevel.checkpoint()


BROKEN = [
    Broken(AddsInPlace, "once|recover"),
    Broken(NeverSyncs, "durable"),
    Broken(NeverSyncsNames, "durable"),
    Broken(NeverSyncsWhatItAppends, "durable"),
]
