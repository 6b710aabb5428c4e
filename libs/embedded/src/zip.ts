import { inflateRawSync } from 'node:zlib';

const endOfDirectory = 0x06054b50;
const directoryEntry = 0x02014b50;
const localHeader = 0x04034b50;

/**
 * Reads one file out of a ZIP archive held in memory (a Python wheel is one). Throws when the archive is
 * damaged or has no such file. Format: PKWARE APPNOTE 6.3.10, without ZIP64 and encryption.
 */
export function readZipEntry(archive: Buffer, name: string): Buffer {
  const end = findEndOfDirectory(archive);
  const entries = archive.readUInt16LE(end + 10);
  let offset = archive.readUInt32LE(end + 16);
  for (let index = 0; index < entries; index += 1) {
    if (archive.readUInt32LE(offset) !== directoryEntry)
      throw new Error('the archive is damaged: bad directory entry');
    const method = archive.readUInt16LE(offset + 10);
    const compressedSize = archive.readUInt32LE(offset + 20);
    const nameLength = archive.readUInt16LE(offset + 28);
    const extraLength = archive.readUInt16LE(offset + 30);
    const commentLength = archive.readUInt16LE(offset + 32);
    const header = archive.readUInt32LE(offset + 42);
    if (archive.toString('utf8', offset + 46, offset + 46 + nameLength) === name) {
      return readData(archive, header, method, compressedSize);
    }
    offset += 46 + nameLength + extraLength + commentLength;
  }
  throw new Error(`the archive has no file "${name}"`);
}

function readData(archive: Buffer, header: number, method: number, compressedSize: number): Buffer {
  if (archive.readUInt32LE(header) !== localHeader)
    throw new Error('the archive is damaged: bad local header');
  const start = header + 30 + archive.readUInt16LE(header + 26) + archive.readUInt16LE(header + 28);
  const data = archive.subarray(start, start + compressedSize);
  if (method === 0) return data;
  if (method === 8) return inflateRawSync(data);
  throw new Error(`the archive uses compression method ${method}; only stored and deflate are known`);
}

function findEndOfDirectory(archive: Buffer): number {
  const longestComment = 65_535;
  for (let at = archive.length - 22; at >= Math.max(0, archive.length - 22 - longestComment); at -= 1) {
    if (archive.readUInt32LE(at) === endOfDirectory) return at;
  }
  throw new Error('this is not a ZIP archive');
}
